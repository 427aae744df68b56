"""The commands that look after what is there: status, doctor, backup, restore, upgrade, purge."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from laion_assets.amounts import say_amount
from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.cli.stopping import command


@command()
@click.option("--json", "is_json", is_flag=True, help="Print an object: is_sound, shards, ….")
def status(is_json: bool) -> None:
    """Shows each shard, the counts and the last release.

    The exit status is 1 if a shard failed or is missing, if counts or release are behind, or if a
    list could not be read or a release not be published.
    """
    from laion_assets.cli.output import print_json, print_status
    from laion_assets.errors import HistoryError
    from laion_assets.operations.status_report import read_status

    settings = load_settings()
    with ExitStack() as stack:
        try:
            instance, problem = stack.enter_context(open_instance(is_reading=True)), None
        except HistoryError as error:
            instance, problem = None, f"{error}; the states above are those of the tables alone"
        found = read_status(settings, instance, problem)
    (print_json if is_json else print_status)(found)
    if not found.is_sound:
        sys.exit(1)


@command()
@click.option("--json", "is_json", is_flag=True, help="Print an object: is_sound, findings.")
@click.option("--hash", "is_hashing", is_flag=True, help="Read the raw files and compare SHA-256.")
def doctor(is_json: bool, is_hashing: bool) -> None:
    """Looks for what is wrong, and says what to do about it.

    It looks at settings, versions, locks, disks, DuckDB against Lance, raw files, releases, lists
    of names, the encoder, the daemon, and the size of the history. It changes nothing, and can
    run beside loads. The exit status is 1 if something is wrong.
    """
    from laion_assets.cli.output import print_diagnosis, print_json
    from laion_assets.operations.doctor import diagnose
    from laion_assets.settings import SettingsError

    try:
        settings, problem = load_settings(), None
    except SettingsError as error:
        settings, problem = None, str(error)
    found = diagnose(settings, problem, is_hashing=is_hashing)
    (print_json if is_json else print_diagnosis)(found)
    if not found.is_sound:
        sys.exit(1)


@command()
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
def backup(destination: Path) -> None:
    """Copies the database, the releases, the raw files and the lists to the folder DEST.

    Loads and searches go on. An existing DEST is replaced only if it is such a backup.
    """
    from laion_assets.operations.backup import back_up

    destination = destination.absolute()
    made = back_up(load_settings(), destination)
    click.echo(
        f"{destination}: {say_amount(len(made.files), 'file')}, {made.total_bytes / 1e6:,.1f} MB, "
        f"{say_amount(len(made.releases), 'release')}, "
        f"{made.copied_bytes / 1e6:,.1f} MB of it copied now, verified"
    )


@command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--replace", "is_replacing", is_flag=True, help="Lose the data that are there.")
def restore(source: Path, is_replacing: bool) -> None:
    """Restores the backup SOURCE into the data folder, and verifies it.

    It is refused if the data folder has a database, Lance tables or raw files, unless --replace is
    given, and while a run has not ended. Nothing is lost before the copy of the backup is whole
    and verified. Dagster's history stays as it is; shards that it does not know become partitions.
    """
    from laion_assets.errors import LaionError
    from laion_assets.operations.restore import restore as restore_backup
    from laion_assets.orchestration.dead_runs import list_unfinished
    from laion_assets.partitions import SHARDS_NAME

    source = source.absolute()
    settings = load_settings()
    with open_instance() as instance:
        if runs := list_unfinished(instance):
            raise LaionError(
                f"run {runs[0].run_id} of {runs[0].job_name} has not ended; wait for it or "
                "terminate it in the web UI, then restore again",
                code="restore-during-run",
            )
        done = restore_backup(settings, source, is_replacing=is_replacing)
        instance.add_dynamic_partitions(SHARDS_NAME, list(done.shards))
    click.echo(
        f"{settings.data_dir}: restored {say_amount(len(done.shards), 'shard')} and "
        f"{say_amount(len(done.backup.releases), 'release')} "
        f"of {done.backup.made_at:%Y-%m-%d %H:%M} UTC, verified"
    )


@command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--reload", "is_reloading", is_flag=True, help="Load shards of older rules again.")
def upgrade(dry_run: bool, is_reloading: bool) -> None:
    """Brings the data and Dagster's history to this version of the program.

    DuckDB and Lance get the tables and columns that they lack, and Dagster's own databases are
    migrated as by `dagster instance migrate`. Make a backup before, and stop the daemon. Shards
    that older cleaning rules loaded are named; --reload loads them again, then refreshes.
    """
    from laion_assets.cli.shards import load_shards
    from laion_assets.operations.upgrade import plan_upgrade
    from laion_assets.operations.upgrade import upgrade as upgrade_all

    settings = load_settings()
    with open_instance() as instance:
        plan = plan_upgrade(settings, instance) if dry_run else upgrade_all(settings, instance)
        done = "would be migrated" if dry_run else "migrated"
        for line in plan.migrations:
            click.echo(f"{done}: {line}")
        if not plan.migrations:
            click.echo("nothing to migrate: data and history are of this version")
        if plan.outdated and not (is_reloading and not dry_run):
            click.echo(
                f"loaded by older rules: {say_amount(len(plan.outdated), 'shard')}, "
                f"{plan.outdated[0]} first; "
                "`laion upgrade --reload` or `laion backfill --missing` loads them again"
            )
            return
        if plan.outdated and not load_shards(
            settings, instance, list(plan.outdated), is_refreshing=True
        ):
            sys.exit(1)


@command()
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
def purge(tags: tuple[str, ...], is_sure: bool) -> None:
    """Deletes old releases that hold removed rows, and what else is left of these rows.

    It first shows what goes, and asks. Without a TAG no release is deleted: it shows which of them
    hold removed rows, and cleans up what no release holds. Stop the web UI and the daemon before.
    """
    from laion_assets.cli.output import print_holders_of_removed, print_purge_plan, print_purged
    from laion_assets.operations.purge import choose_holders, find_holders
    from laion_assets.operations.purge import purge as purge_all
    from laion_assets.stores.lance_store import LanceStore

    settings = load_settings()
    store = LanceStore.of(settings)
    chosen = choose_holders(store, tags)
    print_holders_of_removed(find_holders(store))
    print_purge_plan(chosen)
    if not is_sure:
        click.confirm("Delete all of this for good?", abort=True, err=True)
    with open_instance() as instance:
        print_purged(purge_all(settings, instance, tags))
