"""The commands that look after what is there: status, backup."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.cli.stopping import command


@command()
@click.option("--json", "is_json", is_flag=True, help="Print an object: is_sound, shards, ….")
def status(is_json: bool) -> None:
    """Shows each shard, the counts and the last release.

    The exit status is 1 if a shard failed or is missing, or if counts or release are behind.
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
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
def backup(destination: Path) -> None:
    """Copies the database, the releases, the raw files and the lists to the folder DEST.

    Loads and searches go on. An existing DEST is replaced only if it is such a backup.
    """
    from laion_assets.operations.backup import back_up

    destination = destination.absolute()
    made = back_up(load_settings(), destination)
    click.echo(
        f"{destination}: {len(made.files):,} files, {made.total_bytes / 1e6:,.1f} MB, "
        f"{len(made.releases)} releases, verified"
    )
