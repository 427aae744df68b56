"""What `laion` prints: progress, the status table, search answers."""

from __future__ import annotations

import codecs
import logging
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from laion_assets.amounts import say_amount
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    from laion_assets.operations.finding import Diagnosis
    from laion_assets.operations.purge import Holder, Purged
    from laion_assets.operations.status_report import ReleaseStatus, Status
    from laion_assets.releases.cleanup import Cleaning
    from laion_assets.releases.diff import ReleaseDiff
    from laion_assets.releases.manifest import Manifest, Record, ReleasedDeclaration
    from laion_assets.runs.backfill import Outcome
    from laion_assets.search.search import SearchAnswer
    from laion_assets.stores.rows import Rows
    from laion_assets.subsets.subset_record import ReleaseWithSubsets

# The parent of every logger of the package.
LOGGER = logging.getLogger("laion_assets")
STATE_STYLES = {"done": "green", "failed": "red", "running": "yellow", "no partition": "red"}


class _Console(Console):
    """A console that leaves it to the command what to do when its reader has gone."""

    def on_broken_pipe(self) -> None:
        """Raises BrokenPipeError again, where rich would end the program with exit status 1."""
        raise  # noqa: PLE0704 - rich calls it while it handles the error


class RunProgress:
    """A progress bar over runs, with a line for each that has ended."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def follow(self, name: str, run: Callable[[], Outcome]) -> Outcome:
        """Shows the run's name while it runs, and then how it ended."""
        self.show(name)
        outcome = run()
        self.end(name, outcome)
        return outcome

    def show(self, text: str) -> None:
        """Shows what is running."""
        self._progress.update(self._task, description=escape(text))

    def end(self, name: str, outcome: Outcome) -> None:
        """Shows how a run has ended."""
        self._progress.advance(self._task)
        self._progress.console.print(_describe(name, outcome), highlight=False, soft_wrap=True)

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
    with Progress(*columns, console=_Console(stderr=True), transient=True) as progress:
        runs = RunProgress(progress, total)
        with listen(runs.tell):
            yield runs


def print_status(status: Status) -> None:
    """Prints a table of the shards, and below it the counts and the last release."""
    table = Table("shard", "rows", "rejected", "when (UTC)", "sample", "state", box=None)
    table.columns[0].no_wrap = True
    for number in (1, 2):
        table.columns[number].justify = "right"
    for shard in status.shards:
        style = STATE_STYLES.get(shard.state, "")
        table.add_row(
            escape(shard.shard),
            "" if shard.image_count is None else f"{shard.image_count:,}",
            "" if shard.rejected_count is None else f"{shard.rejected_count:,}",
            f"{shard.loaded_at:%Y-%m-%d %H:%M:%S}" if shard.loaded_at else "",
            "sample" if shard.is_sample else "",
            f"[{style}]{shard.state}[/]" if style else shard.state,
        )
    console = _open_console()
    console.print(table)
    for line in _describe_status(status):
        console.print(escape(line), highlight=False, soft_wrap=True)


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Prints a line for each finding."""
    console = _open_console()
    for finding in diagnosis.findings:
        mark = "[green]ok   [/]" if finding.is_sound else "[red]wrong[/]"
        line = f"{mark} {escape(finding.part)}: {escape(finding.text)}"
        console.print(line, highlight=False, soft_wrap=True)


def _describe_status(status: Status) -> Iterator[str]:
    """Yields what stands below the table of the shards."""
    for shard in status.shards:
        if shard.left_in:
            yield (
                f"{shard.shard} has no partition, but is still in: {', '.join(shard.left_in)}; "
                f"`laion remove {shlex.quote(shard.shard)}` removes it"
            )
    totals = ", ".join(f"{count:,} {what}" for what, count in status.totals.items())
    yield f"\nTotal: {totals or 'nothing yet'}"
    for names in status.lists:
        yield (
            f"{names.kind}: {say_amount(names.name_count, 'name')} "
            f"from the column {names.name_header!r}, "
            f"{names.unmatched_count:,} of them in no caption"
        )
    yield _describe_release(status.release)
    if status.release:
        for outdated in status.release.outdated:
            yield f"The release has {outdated.describe()}"
        for gap in status.release.gaps:
            yield f"In the release, {gap}"
    for subset in status.subsets:
        yield subset.describe()
    free = (
        f"{free_bytes / 1e9:,.1f} GB ({what})" for what, free_bytes in status.free_bytes.items()
    )
    yield f"Free space: {', '.join(free)}"
    yield from _describe_behind(status)
    yield from (*status.delays, *status.problems)


def _describe_behind(status: Status) -> Iterator[str]:
    """Yields what is to be done, and by which command."""
    if status.is_release_behind:
        yield "Counts and release are behind the shards: `laion backfill --missing`"
    elif any(subset.state in {"behind", "missing"} for subset in status.subsets):
        yield "Subsets are not of the newest release: `laion backfill --missing`"
    if status.unpublished:
        yield f"Release {status.unpublished} is not published yet: `laion backfill --missing`"
    for name, reason in status.unread.items():
        yield f"The list {name} could not be read, and is that of before: {reason}"
    if status.without_pictures:
        yield (
            f"Pictures of {say_amount(len(status.without_pictures), 'shard')} "
            "are not in Lance yet: `laion backfill --missing --pictures`, "
            "or set LAION_PICTURES=none"
        )
    if status.new_count:
        yield f"New in the sources: {say_amount(status.new_count, 'shard')}; `laion discover`"


def _describe_release(release: ReleaseStatus | None) -> str:
    if release is None:
        return "Last release: none"
    samples = f" ({release.sample_count:,} of them samples)" if release.sample_count else ""
    return (
        f"Last release: {release.release}, {say_amount(release.image_count, 'image')} of "
        f"{say_amount(release.shard_count, 'shard')}{samples}, "
        f"Lance version {release.lance_version}"
    )


def print_answer(answer: SearchAnswer) -> None:
    """Prints the hits of a search, in their order."""
    console = _open_console()
    hidden = f", {answer.hidden:,} of them hidden as unsafe" if answer.hidden else ""
    place = f"in release {answer.release}" if answer.release else "in the newest version"
    if answer.ranked is None:
        found = f"{answer.total:,} captions {place}"
    else:
        found = f"The nearest of {answer.total:,} images {place}"
    console.print(f"{found}{hidden} ({answer.took_ms:.1f} ms)", highlight=False)
    for hit in answer.hits:
        more = f" (and {hit['more']:,} more like it)" if hit.get("more") else ""
        console.print(f"\n{escape(str(hit['caption']))}{more}", highlight=False, soft_wrap=True)
        console.print(f"  {escape(str(hit['url']))}", style="dim", highlight=False, soft_wrap=True)


def print_answer_json(answer: SearchAnswer) -> None:
    """Prints the answer as one JSON object."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(answer), ensure_ascii=not _has_all_letters(), indent=2))


def print_rows(rows: Rows, *, is_json: bool) -> None:
    """Prints the answer of a query, as CSV with a line of names or as a JSON list of objects."""
    if is_json:
        import json

        records = [dict(record) for record in rows.records]
        letters = not _has_all_letters()
        print(json.dumps(records, ensure_ascii=letters, indent=2, default=str))
        return
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows(record.values() for record in rows.records)


def print_json(records: Record | list[Manifest]) -> None:
    """Prints a record, or several, as JSON."""
    import json

    if isinstance(records, list):
        dumped: object = [record.model_dump(mode="json") for record in records]
    else:
        dumped = records.model_dump(mode="json")
    print(json.dumps(dumped, ensure_ascii=not _has_all_letters(), indent=2))


def print_releases(manifests: Sequence[Manifest]) -> None:
    """Prints a line for each release."""
    table = Table("release", "when (UTC)", "shards", "images", "content SHA-256", box=None)
    for number in (2, 3):
        table.columns[number].justify = "right"
    for manifest in manifests:
        table.add_row(
            manifest.release,
            f"{manifest.released_at:%Y-%m-%d %H:%M:%S}",
            f"{len(manifest.shards):,}",
            f"{manifest.row_counts['images']:,}",
            manifest.content_sha256,
        )
    _open_console().print(table)


def _describe_vectors(manifest: Manifest) -> str:
    found = manifest.vectors
    if found is None:
        return "none"
    parts = [f"{found.vector_count:,} of {found.dimension} numbers", f"index {found.index}"]
    if found.sample_count:
        parts.append(f"recall@10 {found.recall_at_10:.3f} of {found.sample_count} rows")
    return "; ".join(parts)


def print_manifest(manifest: ReleaseWithSubsets) -> None:
    """Prints what is behind a release, and what was made of it."""
    console = _open_console()
    facts = {
        "Release": manifest.release,
        "When": f"{manifest.released_at:%Y-%m-%d %H:%M:%S} UTC",
        "Content SHA-256": manifest.content_sha256,
        "Columns SHA-256": manifest.columns_sha256 or "none",
        "Pictures": f"{manifest.picture_count:,} ({manifest.picture_bytes / 1e6:,.1f} MB)",
        "Vectors": _describe_vectors(manifest),
        "Removed": f"{manifest.removed_count:,} rows",
        "Rows": _join(manifest.row_counts, "{name} {value:,}"),
        "Lance versions": _join(manifest.lance_versions, "{name} {value}"),
        "Made with": _join(manifest.versions, "{name} {value}"),
        "Dagster run": manifest.run_id,
    }
    for name, fact in facts.items():
        console.print(f"{name + ':':<17}{escape(fact)}", highlight=False, soft_wrap=True)
    for outdated in manifest.outdated:
        console.print(f"It has {escape(outdated.describe())}", highlight=False, soft_wrap=True)
    for declared in manifest.declared:
        console.print(escape(_describe_declared(declared)), highlight=False, soft_wrap=True)
    for table in _tabulate_manifest(manifest):
        for column in table.columns:
            # A digest that is cut is none.
            column.overflow = "fold"
        console.print()
        console.print(table)


def _tabulate_manifest(manifest: ReleaseWithSubsets) -> Iterator[Table]:
    """Yields the tables of what is behind a release, and of what was made of it if there is any."""
    shards = Table(
        "shard", "images", "rejected", "SHA-256 of the file", "sample", "source", box=None
    )
    for shard in manifest.shards:
        counts = f"{shard.image_count:,}", f"{shard.rejected_count:,}"
        mark = "sample" if shard.is_sample else ""
        shards.add_row(escape(shard.shard), *counts, shard.sha256, mark, escape(shard.source))
    sheets = Table("kind", "names", "SHA-256 of the sheet", "location", box=None)
    for sheet in manifest.sheets:
        sheets.add_row(sheet.kind, f"{sheet.name_count:,}", sheet.sha256, escape(sheet.location))
    subsets = Table("subset", "rows", "SHA-256 of the values", "definition", box=None)
    for subset in manifest.subsets:
        definition = ", ".join(f"{key} = {value!r}" for key, value in subset.definition.items())
        subsets.add_row(subset.subset, f"{subset.row_count:,}", subset.digest, escape(definition))
    yield from (shards, sheets)
    if manifest.subsets:
        yield subsets


def _describe_declared(column: ReleasedDeclaration) -> str:
    definition = ", ".join(f"{key} = {value!r}" for key, value in column.definition.items())
    gap = column.describe_gap()
    return (
        f"Column {column.column}: {column.value_count:,} values of {column.type}; {definition}"
        + (f"; {gap}" if gap else "")
    )


def print_diff(diff: ReleaseDiff) -> None:
    """Prints what changed between two releases."""
    console = _open_console()
    say = partial(console.print, highlight=False, soft_wrap=True)
    same = ", the same content" if diff.is_same_content else ""
    say(f"{diff.before} -> {diff.after}{same}")
    say(f"images: {diff.image_count_before:,} -> {diff.image_count_after:,}")
    for what, names in (
        ("shards added", diff.shards_added),
        ("shards removed", diff.shards_removed),
        ("shards changed", diff.shards_changed),
        ("sheets changed", diff.sheets_changed),
    ):
        say(escape(f"{what}: {len(names)}{': ' if names else ''}{', '.join(names)}"))
    for moved in diff.columns_changed:
        say(escape(moved.describe()))
    for what, moves in (("domains", diff.domains), ("names", diff.names)):
        say(f"\n{what} whose count moved: {moves.changed_count:,}")
        for move in (*moves.risers, *moves.fallers):
            kind = f" ({move.kind})" if move.kind else ""
            change = f"{move.after - move.before:+,}"
            say(escape(f"{change:>12}  {move.name}{kind}: {move.before:,} -> {move.after:,}"))


def print_deletion(tag: str, cleaning: Cleaning) -> None:
    """Prints what the deletion of a release freed."""
    print(
        f"{tag} is no release any more; {cleaning.version_count:,} old versions removed, "
        f"{cleaning.freed_bytes / 1e6:,.1f} MB freed"
    )


def print_removal(
    shards: Sequence[str], sources: Mapping[str, str], unlisted: Sequence[str]
) -> None:
    """Prints the shards that were removed, and on standard error which of them may come back.

    Args:
        shards: what was removed.
        sources: where `LAION_SHARDS` still has some of them.
        unlisted: why locations of `LAION_SHARDS` could not be listed.
    """
    for shard in shards:
        print(f"removed {shard}")
    for shard, source in sources.items():
        print(f"still at the source: {shard} ({source})", file=sys.stderr)
    if sources:
        print(
            "laion: `laion discover`, `laion backfill` and the sensor register again what "
            "LAION_SHARDS still names; delete them there or take them out of LAION_SHARDS",
            file=sys.stderr,
        )
    for problem in unlisted:
        print(f"laion: not known whether it still has these shards: {problem}", file=sys.stderr)


def print_holders(store: LanceStore, shards: Collection[str]) -> None:
    """Prints on standard error which releases still have some of these shards."""
    from laion_assets.releases.catalog import list_releases

    tags = [
        manifest.release
        for manifest in list_releases(store)
        if any(shard.shard in shards for shard in manifest.shards)
    ]
    if tags:
        print(
            f"laion: still in {', '.join(tags)}, as releases never change; "
            "`laion release delete TAG` deletes one",
            file=sys.stderr,
        )


def _join(values: Mapping[str, object], form: str) -> str:
    return ", ".join(form.format(name=name, value=value) for name, value in values.items())


def _has_all_letters() -> bool:
    """Returns whether standard output can show any letter."""
    return codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf")


def _open_console() -> Console:
    console = _Console()
    if not console.is_terminal:
        # A program that reads a table wants a line for each row, however long.
        console.width = 10_000
    return console


def _describe(name: str, outcome: Outcome) -> str:
    if outcome.reason:
        return f"[red]failed[/] {escape(name)}: {escape(outcome.reason)}"
    images = outcome.metadata.get("images")
    release = outcome.metadata.get("release")
    pictures = outcome.metadata.get("pictures")
    facts = ""
    if images:
        facts = (
            f" {images['dagster/partition_row_count']:,} images, {images['rejected']:,} rejected,"
        )
        if reason := images.get("mostly_rejected_as"):
            facts += f" [yellow]over half of the rows as {reason}[/],"
        lost = outcome.metadata.get("lance_images", {}).get("own_columns")
        if lost not in (None, "none"):
            facts += f" [yellow]{escape(str(lost))}[/],"
        odd = outcome.metadata.get("declared_columns", {}).get("oddities")
        if odd not in (None, "none"):
            facts += f" [yellow]{escape(str(odd))}[/],"
    elif release:
        facts = f" release {release['tag']},"
    elif pictures:
        facts = f" {pictures['pictures']:,} pictures ({pictures['percent_with_picture']:g} %),"
    return f"[green]done[/]   {escape(name)}:{facts} {outcome.duration_s:.1f} s"


def print_holders_of_removed(holders: Sequence[Holder]) -> None:
    """Prints which releases hold rows that were removed."""
    if not holders:
        print("no release holds a removed row")
        return
    table = Table("release", "when", "images", "removed rows", box=None)
    for holder in holders:
        manifest = holder.manifest
        table.add_row(
            manifest.release,
            f"{manifest.released_at:%Y-%m-%d %H:%M}",
            f"{manifest.row_counts['images']:,}",
            f"{holder.row_count:,}",
        )
    _open_console().print(table)


def print_purge_plan(chosen: Sequence[Holder]) -> None:
    """Prints what a purge deletes."""
    tags = ", ".join(holder.manifest.release for holder in chosen) or "none"
    print(
        f"To be deleted: the releases {tags}; all versions of the Lance tables that no release "
        "holds, those of subsets included; runs of Dagster from before the removal; exports in the "
        "data folder from before it. The DuckDB file, Dagster's history and the cache of pictures "
        "are written anew."
    )


_MAKE_AGAIN = {"datasette": "materialize `datasette`", "parquet": "run `laion export parquet`"}


def print_purged(purged: Purged) -> None:
    """Prints what a purge deleted."""
    print(
        f"deleted {say_amount(len(purged.releases), 'release')}, "
        f"{purged.freed_bytes / 1e6:,.1f} MB of Lance, {say_amount(purged.run_count, 'run')}, "
        f"{say_amount(purged.picture_count, 'cached picture')}"
        + "".join(f"; {_MAKE_AGAIN[export]} again" for export in purged.exports)
    )
    for holder in purged.holders:
        print(
            f"laion: release {holder.manifest.release} still holds {holder.row_count:,} removed "
            f"rows; `laion purge {holder.manifest.release}` deletes it",
            file=sys.stderr,
        )
    for subset in purged.subsets:
        print(
            f"laion: the subset {subset} still holds removed rows, or does not tell; make it again "
            f"(`laion backfill --missing`), or remove it with "
            f'`lancedb.connect(…).drop_table("{subset}")`, and purge again',
            file=sys.stderr,
        )
