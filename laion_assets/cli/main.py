"""The command line `laion`.

Libraries are imported in the commands that use them, so that `laion --help` answers at once.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from laion_assets.orchestration.interrupts import StoppedError, raise_signals, watch_signals
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.raw_shards.discovery import Discovery
    from laion_assets.runs.backfill import Outcome
    from laion_assets.settings import Settings


class StoppableCommand(click.Command):
    """Ends at a signal, after the step that is under way, and at once at a second one."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        with ExitStack() as stack:
            if watch := stack.enter_context(watch_signals(is_second_final=True)):
                stack.enter_context(watch.before_hard_end(_say_stopped))
            stack.enter_context(raise_signals())
            return super().invoke(ctx)


class StoppableGroup(click.Group):
    """A group of such commands."""

    command_class = StoppableCommand


class OneLineErrors(StoppableGroup):
    """Says why a command failed in one line on standard error, with exit status 1.

    A command that was stopped has exit status 130 after Ctrl-C, and 143 after SIGTERM.
    """

    group_class = StoppableGroup

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Runs the command; if it is that of this process, the process ends with it.

        A library's thread that never ends would keep the interpreter, and taking it apart takes
        half a second after a backfill.
        """
        if args is not None:
            return super().main(args, *rest, **options)
        try:
            return super().main(None, *rest, **options)
        except SystemExit as end:
            _end_process(end.code if isinstance(end.code, int) else int(end.code is not None))

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command."""
        _accept_any_text()
        try:
            result = super().invoke(ctx)
            # Else a reader that has gone is noticed when nobody can say anything about it.
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as stop:
            _say_stopped()
            ctx.exit(stop.exit_status if isinstance(stop, StoppedError) else 128 + signal.SIGINT)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(128 + signal.SIGPIPE)
        except Exception as error:  # noqa: BLE001 - a person gets a reason, never a traceback
            from laion_assets.stores.reasons import give_reason

            click.echo(f"laion: {give_reason(error)}", err=True)
            ctx.exit(1)


@click.group(cls=OneLineErrors)
@click.version_option(package_name="laion-assets")
def main() -> None:
    """LAION parquet shards as a cleaned DuckDB table, exact counts and a searchable Lance table."""


@main.command()
@click.option("--remove", "is_removing", is_flag=True, help="Remove the sample shards alone.")
def demo(is_removing: bool) -> None:
    """Makes seven sample shards and materializes every asset over them.

    With --remove, removes these shards and their files again, and leaves all others.
    """
    if is_removing:
        _remove_samples(_load_settings())
    else:
        _make_samples(_load_settings())


def _remove_samples(settings: Settings) -> None:
    from laion_assets.demo.installed_samples import find_sample_files, find_sample_shards
    from laion_assets.operations.removal import find_places

    with _open_instance() as instance:
        found = find_sample_shards(settings) & find_places(settings, instance).keys()
        files = find_sample_files(settings)
        is_done = _remove(settings, instance, sorted(found), files)
    if not (found or files):
        click.echo("laion: there are no sample shards to remove", err=True)
    if not is_done:
        sys.exit(1)


def _make_samples(settings: Settings) -> None:
    from laion_assets.demo.report import print_report
    from laion_assets.demo.sample_shards import write_sample_shards
    from laion_assets.settings import Settings

    settings = Settings.default(settings.data_dir)
    names = _read_sample_names(settings)
    paths = write_sample_shards(settings.data_dir / "shards", names)
    shards = [path.stem for path in paths]
    with _open_instance() as instance:
        _discover(settings, instance)
        is_done = _backfill(settings, instance, shards, is_refreshing=True)
    if not is_done:
        sys.exit(1)
    print_report(settings)


@main.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Writes an editable project to FOLDER: settings, Dagster's instance, lists of names.

    Commands that are run in FOLDER then use it. FOLDER may exist; it may have no other files of
    these names.
    """
    from laion_assets.project import init_project

    for path in init_project(folder):
        click.echo(path)
    click.echo(f"laion: {folder} is a project; run `laion demo` in it", err=True)


@main.command()
def discover() -> None:
    """Registers the shards that LAION_SHARDS names as partitions.

    Prints the new ones, then on standard error the changed ones, which `laion backfill --missing`
    fetches again, and those that no source has any more, which stay.
    """
    from laion_assets.partitions import SHARDS_NAME

    settings = _load_settings()
    with _open_instance() as instance:
        found = _discover(settings, instance)
        known = instance.get_dynamic_partitions(SHARDS_NAME)
    for shard in found.new:
        click.echo(shard)
    for state, shards in (("changed", found.changed), ("gone from the source", found.gone)):
        for shard in shards:
            click.echo(f"{state}: {shard}", err=True)
    click.echo(
        f"{len(found.new)} new shards, {len(found.changed)} changed, {len(found.gone)} gone, "
        f"{len(known)} in all",
        err=True,
    )
    if found.problems:
        sys.exit(1)


@main.command()
@click.argument("shards", nargs=-1, metavar="[SHARD]...")
@click.option("--all", "is_all", is_flag=True, help="Every shard.")
@click.option("--missing", "is_missing", is_flag=True, help="The shards that are not done.")
@click.option("--no-refresh", is_flag=True, help="Leave counts and release as they are.")
def backfill(shards: tuple[str, ...], is_all: bool, is_missing: bool, no_refresh: bool) -> None:
    """Materializes shards, one run each, then counts and release once.

    A shard that fails does not stop the others; the exit status is then 1.
    """
    if bool(shards) + is_all + is_missing != 1:
        raise click.UsageError("name the shards, or give one of --all and --missing")
    from laion_assets.raw_shards.sources.listing import hold_listing

    settings = _load_settings()
    with _open_instance() as instance, hold_listing():
        found = _discover(settings, instance, is_asking=is_missing)
        chosen = _choose(settings, instance, shards, found if is_missing else None)
        if not chosen:
            reason = "no shard is missing" if is_missing else "LAION_SHARDS names no shard"
            click.echo(f"laion: nothing to load: {reason}", err=True)
        is_done = _backfill(settings, instance, chosen, is_refreshing=not no_refresh)
    # Who names shards asks for no others.
    if not is_done or (found.problems and not shards):
        sys.exit(1)


@main.command()
@click.option("--json", "is_json", is_flag=True, help="Print an object: is_sound, shards, ….")
def status(is_json: bool) -> None:
    """Shows each shard, the counts and the last release.

    The exit status is 1 if a shard failed or is missing, or if counts or release are behind.
    """
    from laion_assets.cli.output import print_json, print_status
    from laion_assets.errors import HistoryError
    from laion_assets.operations.status_report import read_status

    settings = _load_settings()
    with ExitStack() as stack:
        try:
            instance, problem = stack.enter_context(_open_instance(is_reading=True)), None
        except HistoryError as error:
            instance, problem = None, f"{error}; the states above are those of the tables alone"
        found = read_status(settings, instance, problem)
    (print_json if is_json else print_status)(found)
    if not found.is_sound:
        sys.exit(1)


@main.command()
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
def backup(destination: Path) -> None:
    """Copies the database, the releases, the raw files and the lists to the folder DEST.

    Loads and searches go on. An existing DEST is replaced only if it is such a backup.
    """
    from laion_assets.operations.backup import back_up

    destination = destination.absolute()
    made = back_up(_load_settings(), destination)
    click.echo(
        f"{destination}: {len(made.files):,} files, {made.total_bytes / 1e6:,.1f} MB, "
        f"{len(made.releases)} releases, verified"
    )


@main.command()
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...")
@click.option("--no-refresh", is_flag=True, help="Leave counts and release as they are.")
def remove(shards: tuple[str, ...], no_refresh: bool) -> None:
    """Removes shards from DuckDB, Lance, the raw copies and the partitions.

    Then refreshes counts and release once. The files at the sources stay. If the command is
    stopped, run it again: it goes on from there.
    """
    from laion_assets.operations.removal import find_places

    settings = _load_settings()
    with _open_instance() as instance:
        places = find_places(settings, instance)
        found = [shard for shard in dict.fromkeys(shards) if shard in places]
        is_done = _remove(settings, instance, found, is_refreshing=not no_refresh)
    # The others are removed all the same: a removal that was cut off may have been done for some.
    if unknown := [shard for shard in shards if shard not in places]:
        raise click.UsageError(f"no shard {unknown[0]!r}; `laion status` lists what there is")
    if not is_done:
        sys.exit(1)


@main.command()
@click.argument("query")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--domain", help="The whole host of the image.")
@click.option("--site", help="A registered domain with all of its hosts, *.host, or an address.")
@click.option("--shard", help="The shard that it came from.")
@click.option("--min-aesthetic", type=float, help="Aesthetic score, 0 to 10.")
@click.option("--max-punsafe", type=float, help="Probability of being unsafe, 0 to 1.")
@click.option("--min-width", type=int, help="Pixels.")
@click.option("--min-height", type=int, help="Pixels.")
@click.option(
    "--hide-unsafe",
    "is_hiding",
    is_flag=True,
    help="Hide images that are unsafe with a probability above 0.5 or, without one, are labelled "
    "NSFW or UNSURE, as the search page does.",
)
@click.option(
    "--sort",
    default="relevance",
    show_default=True,
    metavar="COLUMN",
    help="relevance, aesthetic, similarity, watermark, unsafe, width, height or area.",
)
@click.option(
    "--ascending", "is_ascending", is_flag=True, help="The lowest value first, not the highest."
)
@click.option("--count", "is_count", is_flag=True, help="Print only how many captions match.")
@click.option("--release", help="A tag; the newest release if none is named.")
@click.option("--newest", "is_newest", is_flag=True, help="Also search rows loaded after it.")
@click.option("--json", "is_json", is_flag=True, help="Print an object: total, hidden, hits, ….")
def search(
    query: str,
    limit: int,
    is_count: bool,
    release: str | None,
    is_newest: bool,
    is_json: bool,
    **chosen: Any,
) -> None:
    """Searches the captions of a release for all words of QUERY, or a "quoted phrase".

    QUERY may also have -word, one OR other, begin* and site:example.org.
    """
    if release and is_newest:
        raise click.UsageError("give one of --release and --newest")
    from laion_assets.cli.output import print_answer, print_answer_json
    from laion_assets.search.filter import SearchFilter
    from laion_assets.search.order import SORT_COLUMNS, Order
    from laion_assets.search.safety import PUNSAFE_THRESHOLD
    from laion_assets.search.search import open_search

    order = Order(chosen.pop("sort"), chosen.pop("is_ascending"))
    if order.by not in SORT_COLUMNS:
        raise click.UsageError(f"--sort takes one of {', '.join(SORT_COLUMNS)}, not {order.by!r}")
    hide_above = PUNSAFE_THRESHOLD if chosen.pop("is_hiding") else None
    search = open_search(LanceStore(_load_settings().lance_dir), release, is_newest=is_newest)
    answer = search.find(
        query,
        only=SearchFilter(**chosen, hide_punsafe_above=hide_above),
        limit=0 if is_count else limit,
        order=order,
    )
    if answer.unscored:
        click.echo(
            f"laion: {answer.unscored:,} of the {answer.shown:,} that are shown have no score: "
            "nobody knows whether they are unsafe",
            err=True,
        )
    for note in answer.notes:
        click.echo(f"laion: {note}", err=True)
    if is_count and not is_json:
        click.echo(answer.shown)
    else:
        (print_answer_json if is_json else print_answer)(answer)


# Its web server heeds signals itself, and lets visitors finish.
@main.command(cls=click.Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--release", help="A tag; the newest release at any time if none is named.")
@click.option(
    "--public-url",
    help="Where visitors find the page, for citations; behind a proxy, such as https://example.org.",
)
def serve(host: str, port: int, release: str | None, public_url: str | None) -> None:
    """Opens the search page: a release as web pages, JSON and CSV."""
    from laion_assets.web.current_release import Shelf
    from laion_assets.web.server import serve as run

    run(Shelf(LanceStore(_load_settings().lance_dir), release), host, port, public_url)


@main.group()
def release() -> None:
    """Lists, shows, compares and deletes releases."""


@release.command("list")
@click.option("--json", "is_json", is_flag=True, help="Print the whole records, the newest first.")
def list_(is_json: bool) -> None:
    """Lists the releases, the newest first."""
    from laion_assets.cli.output import print_json, print_releases
    from laion_assets.releases.catalog import list_releases

    manifests = list(list_releases(LanceStore(_load_settings().lance_dir)))
    if not manifests:
        click.echo("laion: no release yet; `laion backfill --all` makes one", err=True)
    (print_json if is_json else print_releases)(manifests)


@release.command()
@click.argument("tag", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print the whole record.")
def show(tag: str | None, is_json: bool) -> None:
    """Shows the shards, sheets, versions and code behind a release, the newest if none is named."""
    from laion_assets.cli.output import print_json, print_manifest
    from laion_assets.releases.catalog import find_release

    (print_json if is_json else print_manifest)(
        find_release(LanceStore(_load_settings().lance_dir), tag)
    )


@release.command()
@click.argument("before")
@click.argument("after")
@click.option("--top", default=10, show_default=True, type=click.IntRange(0), help="Moves to name.")
@click.option("--json", "is_json", is_flag=True, help="Print an object.")
def diff(before: str, after: str, top: int, is_json: bool) -> None:
    """Says which shards came, went and changed, and how counts moved, from BEFORE to AFTER."""
    from laion_assets.cli.output import print_diff, print_json
    from laion_assets.releases.diff import compare_releases

    compared = compare_releases(LanceStore(_load_settings().lance_dir), before, after, top)
    (print_json if is_json else print_diff)(compared)


@release.command()
@click.argument("tag")
@click.option(
    "--keep-days",
    default=7.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Clean up all versions without a name that are older; 0 disturbs who reads one.",
)
def delete(tag: str, keep_days: float) -> None:
    """Removes a release; its data goes when it is old enough and nothing else holds it."""
    from laion_assets.cli.output import print_deletion
    from laion_assets.releases.cleanup import delete_release

    cleaning = delete_release(LanceStore(_load_settings().lance_dir), tag, keep_days)
    print_deletion(tag, cleaning)


def _say_stopped() -> None:
    click.echo("laion: stopped; `laion backfill --missing` goes on from here", err=True)


def _end_process(status: int) -> NoReturn:
    """Ends the process, with what is registered for its end, but without waiting for threads."""
    # All files and tables were closed when the command was left.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _accept_any_text() -> None:
    """Lets a terminal that has no such letters show their numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Sends what is left to nobody: whoever read it has gone, as `head` does."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
        with suppress(OSError, ValueError):
            os.dup2(nobody, stream.fileno())


def _load_settings() -> Settings:
    from laion_assets.runs.instance import load_environment

    return load_environment()


@contextmanager
def _open_instance(*, is_reading: bool = False) -> Iterator[dg.DagsterInstance]:
    from laion_assets.orchestration.dead_runs import end_dead_runs
    from laion_assets.runs.instance import name_history_errors, open_instance, open_instance_to_read

    with (open_instance_to_read if is_reading else open_instance)() as instance:
        with name_history_errors():
            end_dead_runs(instance)
        yield instance


def _read_sample_names(settings: Settings) -> list[str]:
    from laion_assets.names.sheets import read_sheet

    sheets = [read_sheet(kind, location) for kind, location in settings.sheets.items()]
    return [row[0] for sheet in sheets for row in sheet.rows]


def _discover(
    settings: Settings, instance: dg.DagsterInstance, *, is_asking: bool = True
) -> Discovery:
    """Registers the shards, and says what is wrong with the sources."""
    from laion_assets.runs.backfill import discover_shards

    found = discover_shards(settings, instance, is_asking=is_asking)
    for line in (*found.warnings, *found.problems):
        click.echo(f"laion: {line}", err=True)
    return found


def _choose(
    settings: Settings,
    instance: dg.DagsterInstance,
    named: tuple[str, ...],
    missing_by: Discovery | None,
) -> list[str]:
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.runs.backfill import find_missing

    known = sorted(instance.get_dynamic_partitions(SHARDS_NAME))
    unknown = [shard for shard in named if shard not in known]
    if unknown:
        raise click.UsageError(
            f"no shard {unknown[0]!r}; `laion status` lists the {len(known)} that there are"
        )
    if missing_by:
        return find_missing(settings, instance, known, missing_by)
    return list(dict.fromkeys(named)) or known


def _backfill(
    settings: Settings, instance: dg.DagsterInstance, shards: list[str], *, is_refreshing: bool
) -> bool:
    """Runs the shards and the refresh with a progress bar; returns whether all went well."""
    from laion_assets.cli.output import show_progress
    from laion_assets.definitions import build_defs
    from laion_assets.runs.backfill import run_job

    defs = build_defs(settings)
    with show_progress(len(shards) + is_refreshing) as progress:
        ingest = defs.resolve_job_def("ingest_shards")
        outcomes = [
            progress.follow(shard, partial(run_job, ingest, instance, shard)) for shard in shards
        ]
        if is_refreshing and _is_refresh_due(settings, outcomes):
            refresh = defs.resolve_job_def("refresh_counts")
            outcomes.append(progress.follow("refresh_counts", partial(run_job, refresh, instance)))
    return all(outcome.reason is None for outcome in outcomes)


def _remove(
    settings: Settings,
    instance: dg.DagsterInstance,
    shards: list[str],
    files: Iterable[Path] = (),
    *,
    is_refreshing: bool = True,
) -> bool:
    """Removes shards and files, refreshes, and says what still has them.

    Returns whether all went well.
    """
    from laion_assets.cli.output import print_holders, print_removal
    from laion_assets.operations.removal import find_sources, remove_shards

    remove_shards(settings, instance, shards, files)
    if not shards:
        return True
    print_removal(shards, *find_sources(settings, shards))
    is_done = not is_refreshing or _backfill(settings, instance, [], is_refreshing=True)
    print_holders(LanceStore(settings.lance_dir), shards)
    return is_done


def _is_refresh_due(settings: Settings, outcomes: list[Outcome]) -> bool:
    """Returns whether a shard was done, or one of before is not counted or released yet."""
    from laion_assets.releases.coverage import find_unreleased
    from laion_assets.stores.database import Database

    if any(outcome.reason is None for outcome in outcomes):
        return True
    kinds = tuple(settings.sheets)
    return (
        find_unreleased(Database(settings.database), LanceStore(settings.lance_dir), kinds)
        is not None
    )


if __name__ == "__main__":
    main()
