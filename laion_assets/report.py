"""What `laion` prints: progress, the status table, search answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.backfill import Outcome
    from laion_assets.lib.search import SearchAnswer
    from laion_assets.settings import Settings

# The parent of every logger of the package.
LOGGER = logging.getLogger("laion_assets")
STATE_STYLES = {"done": "green", "failed": "red", "running": "yellow"}


class RunProgress:
    """A progress bar over runs, with a line for each that has ended."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def follow(self, name: str, run: Callable[[], Outcome]) -> Outcome:
        """Shows the run's name while it runs, and then how it ended."""
        self._progress.update(self._task, description=escape(name))
        outcome = run()
        self._progress.advance(self._task)
        self._progress.console.print(_describe(name, outcome), highlight=False, soft_wrap=True)
        return outcome

    def tell(self, record: logging.LogRecord) -> None:
        """Shows how far the run has come in place of its name, and a warning as a line."""
        text = escape(record.getMessage())
        if record.levelno >= logging.WARNING:
            self._progress.console.print(text, highlight=False, soft_wrap=True)
        else:
            self._progress.update(self._task, description=text)


class _Listener(logging.Handler):
    """Passes on what is logged."""

    def __init__(self, tell: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.INFO)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Passes on a record."""
        self._tell(record)


@contextmanager
def listen(tell: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Tells what the package logs, until the block is left."""
    listener, level = _Listener(tell), LOGGER.level
    LOGGER.addHandler(listener)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(listener)


@contextmanager
def show_progress(total: int) -> Iterator[RunProgress]:
    """Shows a progress bar on standard error, over so many runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        runs = RunProgress(progress, total)
        with listen(runs.tell):
            yield runs


def print_status(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Prints a table of the shards, and below it the counts and the last release."""
    from laion_assets.lib.release import newest_release
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.status import read_loads, read_states, read_totals

    shards = sorted(instance.get_dynamic_partitions(SHARDS_NAME))
    loads = read_loads(settings)
    states = read_states(instance, shards, loads)
    table = Table("shard", "rows", "rejected", "when (UTC)", "state", box=None)
    table.columns[0].no_wrap = True
    for number in (1, 2):
        table.columns[number].justify = "right"
    for shard in shards:
        load = loads.get(shard)
        style = STATE_STYLES.get(states[shard], "")
        table.add_row(
            escape(shard),
            f"{load.image_count:,}" if load else "",
            f"{load.rejected_count:,}" if load else "",
            f"{load.loaded_at:%Y-%m-%d %H:%M:%S}" if load else "",
            f"[{style}]{states[shard]}[/]" if style else states[shard],
        )
    console = _open_console()
    console.print(table)
    totals = ", ".join(f"{count:,} {what}" for what, count in read_totals(settings).items())
    console.print(f"\nTotal: {totals or 'nothing yet'}", highlight=False)
    release = newest_release(settings.lance_dir)
    console.print(
        f"Last release: {release.tag}, {release.image_count:,} images of "
        f"{release.shard_count} shards, Lance version {release.version}"
        if release
        else "Last release: none",
        highlight=False,
    )


def print_answer(answer: SearchAnswer) -> None:
    """Prints the hits of a search, the best first."""
    console = _open_console()
    more = "more than " if answer.is_more else ""
    console.print(
        f"{more}{answer.total:,} captions in release {answer.release} ({answer.took_ms:.1f} ms)",
        highlight=False,
    )
    for hit in answer.hits:
        console.print(f"\n{escape(str(hit['caption']))}", highlight=False, soft_wrap=True)
        console.print(f"  {escape(str(hit['url']))}", style="dim", highlight=False, soft_wrap=True)


def print_answer_json(answer: SearchAnswer) -> None:
    """Prints the answer as one JSON object."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(answer), ensure_ascii=False, indent=2))


def _open_console() -> Console:
    console = Console()
    if not console.is_terminal:
        # A program that reads a table wants a line for each row, however long.
        console.width = 10_000
    return console


def _describe(name: str, outcome: Outcome) -> str:
    if outcome.reason:
        return f"[red]failed[/] {escape(name)}: {escape(outcome.reason)}"
    images = outcome.metadata.get("images")
    release = outcome.metadata.get("release")
    facts = ""
    if images:
        facts = f" {images['dagster/row_count']:,} images, {images['rejected']:,} rejected,"
    elif release:
        facts = f" release {release['tag']},"
    return f"[green]done[/]   {escape(name)}:{facts} {outcome.duration_s:.1f} s"
