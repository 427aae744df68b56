"""The commands that load shards and remove them: discover, backfill, remove."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.cli.stopping import command
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.cli.output import RunProgress
    from laion_assets.raw_shards.discovery import Discovery
    from laion_assets.runs.backfill import Order, Outcome
    from laion_assets.settings import Settings


@command()
def discover() -> None:
    """Registers the shards that LAION_SHARDS names as partitions.

    Prints the new ones, then on standard error the changed ones, which `laion backfill --missing`
    fetches again, and those that no source has any more, which stay.
    """
    from laion_assets.partitions import SHARDS_NAME

    settings = load_settings()
    with open_instance() as instance:
        found = register_shards(settings, instance)
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


@command()
@click.argument("shards", nargs=-1, metavar="[SHARD]...")
@click.option("--all", "is_all", is_flag=True, help="Every shard.")
@click.option("--missing", "is_missing", is_flag=True, help="The shards that are not done.")
@click.option("--no-refresh", is_flag=True, help="Leave counts and release as they are.")
@click.option(
    "--pictures",
    "is_picturing",
    is_flag=True,
    help="Add the pictures of these shards too; with --missing, of those that lack them.",
)
def backfill(
    shards: tuple[str, ...],
    is_all: bool,
    is_missing: bool,
    no_refresh: bool,
    is_picturing: bool,
) -> None:
    """Materializes shards, one run each, then counts and release once.

    A shard that fails does not stop the others; the exit status is then 1.
    """
    if bool(shards) + is_all + is_missing != 1:
        raise click.UsageError("name the shards, or give one of --all and --missing")
    from laion_assets.raw_shards.sources.listing import hold_listing

    settings = load_settings()
    with open_instance() as instance, hold_listing():
        found = register_shards(settings, instance, is_asking=is_missing)
        chosen = _choose(settings, instance, shards, found if is_missing else None)
        pictured = chosen if is_picturing else []
        if is_picturing and is_missing:
            pictured = _add_unpictured(settings, instance, chosen, found)
        if not (chosen or pictured):
            reason = "no shard is missing" if is_missing else "LAION_SHARDS names no shard"
            click.echo(f"laion: nothing to load: {reason}", err=True)
        is_done = load_shards(
            settings, instance, chosen, is_refreshing=not no_refresh, pictured=pictured
        )
    # Who names shards asks for no others.
    if not is_done or (found.problems and not shards):
        sys.exit(1)


@command()
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...")
@click.option("--no-refresh", is_flag=True, help="Leave counts and release as they are.")
def remove(shards: tuple[str, ...], no_refresh: bool) -> None:
    """Removes shards from DuckDB, Lance, the raw copies and the partitions.

    Then refreshes counts and release once. The files at the sources stay. If the command is
    stopped, run it again: it goes on from there.
    """
    from laion_assets.operations.removal import find_places

    settings = load_settings()
    with open_instance() as instance:
        places = find_places(settings, instance)
        found = [shard for shard in dict.fromkeys(shards) if shard in places]
        is_done = remove_and_refresh(settings, instance, found, is_refreshing=not no_refresh)
    # The others are removed all the same: a removal that was cut off may have been done for some.
    if unknown := [shard for shard in shards if shard not in places]:
        raise click.UsageError(f"no shard {unknown[0]!r}; `laion status` lists what there is")
    if not is_done:
        sys.exit(1)


def register_shards(
    settings: Settings, instance: dg.DagsterInstance, *, is_asking: bool = True
) -> Discovery:
    """Registers the shards, and says what is wrong with the sources."""
    from laion_assets.runs.backfill import discover_shards

    found = discover_shards(settings, instance, is_asking=is_asking)
    for line in (*found.warnings, *found.problems):
        click.echo(f"laion: {line}", err=True)
    return found


def load_shards(
    settings: Settings,
    instance: dg.DagsterInstance,
    shards: list[str],
    *,
    is_refreshing: bool,
    pictured: Sequence[str] = (),
    is_retry: bool = False,
    variables: Mapping[str, str] | None = None,
) -> bool:
    """Runs the shards and the refresh with a progress bar; returns whether all went well.

    Args:
        settings: where everything is.
        instance: Dagster's history.
        shards: to be loaded.
        is_refreshing: whether to count and release after them.
        pictured: shards whose pictures are added, unless their load failed.
        is_retry: whether to ask again for pictures that may be had now.
        variables: the same settings, for runs on Ray; None: those of the environment.
    """
    from laion_assets.cli.output import show_progress
    from laion_assets.definitions import build_defs
    from laion_assets.removals.apply_list import find_pending, list_returning
    from laion_assets.runs.backfill import Order, find_missing, find_without_pictures
    from laion_assets.stores.database import Database
    from laion_assets.stores.raw_store import RawStore

    defs = build_defs(settings)
    ingest = defs.resolve_job_def("ingest_shards")
    add_pictures = defs.resolve_job_def("add_pictures")
    refresh = Order("refresh_counts", defs.resolve_job_def("refresh_counts"))
    with show_progress(len(shards) + len(pictured) + is_refreshing) as progress:
        run_all = _find_runner(settings, instance, progress, variables)
        outcomes = run_all([Order(shard, ingest, shard) for shard in shards])
        by_shard = dict(zip(shards, outcomes, strict=True))
        config = {"ops": {"pictures": {"config": {"is_retry": is_retry}}}}
        outcomes += run_all(
            [
                Order(f"{shard} (pictures)", add_pictures, shard, config)
                for shard in pictured
                if shard not in by_shard or by_shard[shard].reason is None
            ]
        )
        if is_refreshing and _is_refresh_due(settings, instance, outcomes):
            outcomes += run_all([refresh])
            # The refresh reads the list of removals; these shards have rows on it, or lack some
            # that came off it.
            pending = find_pending(Database.of(settings), LanceStore.of(settings))
            returning = list_returning(RawStore(settings.raw_dir))
            pending += find_missing(settings, instance, sorted({*returning} - {*pending}))
            without = find_without_pictures(settings, pending)
            for shard in pending:
                outcomes += run_all([Order(f"{shard} (removals)", ingest, shard)])
                # The pictures that it had are not looked at yet for this load.
                if shard not in without and find_without_pictures(settings, [shard]):
                    outcomes += run_all([Order(f"{shard} (pictures)", add_pictures, shard)])
            if pending:
                outcomes += run_all([refresh])
    return all(outcome.reason is None for outcome in outcomes)


def _find_runner(
    settings: Settings,
    instance: dg.DagsterInstance,
    progress: RunProgress,
    variables: Mapping[str, str] | None,
) -> Callable[[Sequence[Order]], list[Outcome]]:
    """Returns what runs runs to their ends: one after the other here, or side by side on Ray."""
    if settings.ray is not None:
        from laion_assets.runs.queued_runs import RunFollower, check_queue

        check_queue(instance)
        follower = RunFollower(instance, settings.ray, variables)
        return partial(follower.run_all, start=progress.show, end=progress.end)
    from laion_assets.runs.backfill import run_job

    def run_all(orders: Sequence[Order]) -> list[Outcome]:
        return [
            progress.follow(o.name, partial(run_job, o.job, instance, o.shard, o.config))
            for o in orders
        ]

    return run_all


def remove_and_refresh(
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
    is_done = not is_refreshing or load_shards(settings, instance, [], is_refreshing=True)
    print_holders(LanceStore.of(settings), shards)
    return is_done


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


def _add_unpictured(
    settings: Settings, instance: dg.DagsterInstance, chosen: list[str], found: Discovery
) -> list[str]:
    """Returns the chosen shards, and all that lack pictures."""
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.runs.backfill import find_without_pictures

    known = sorted(instance.get_dynamic_partitions(SHARDS_NAME))
    return sorted({*chosen, *find_without_pictures(settings, known, found)})


def _is_refresh_due(
    settings: Settings, instance: dg.DagsterInstance, outcomes: list[Outcome]
) -> bool:
    """Returns whether release, columns or subsets may be behind, or a list unread.

    So it is if the newest release is not published where it is to be.
    """
    from laion_assets.curation.resource import CurationFile
    from laion_assets.declared_columns.origin import list_dropped
    from laion_assets.publishing.resource import PublishRules
    from laion_assets.releases.coverage import find_unreleased
    from laion_assets.runs.status import find_unpublished, find_unread_lists
    from laion_assets.stores.database import Database
    from laion_assets.subsets.subset_states import name_behind

    if settings.removals is not None or any(outcome.reason is None for outcome in outcomes):
        return True
    database, kinds = Database.of(settings), tuple(settings.sheets)
    store, curation = LanceStore.of(settings), CurationFile.build(settings).read()
    if find_unread_lists(instance, kinds):
        return True
    if find_unpublished(instance, store, PublishRules.for_releases(settings)):
        return True
    unreleased = find_unreleased(database, store, kinds)
    dropped = list_dropped(database, curation)
    return (unreleased or dropped or name_behind(store, curation.subsets)) is not None
