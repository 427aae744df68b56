"""The command line `laion`: the list of its commands.

Libraries are imported in the commands that use them, so that `laion --help` answers at once.
"""

from __future__ import annotations

import click

from laion_assets.cli.care import backup, doctor, purge, restore, status, upgrade
from laion_assets.cli.exports import export, publish
from laion_assets.cli.pictures import pictures
from laion_assets.cli.projects import demo, init
from laion_assets.cli.reading import search, serve, sql
from laion_assets.cli.releases import release
from laion_assets.cli.shards import backfill, discover, remove
from laion_assets.cli.stopping import OneLineErrors

COMMANDS = (
    init,
    demo,
    discover,
    backfill,
    remove,
    pictures,
    search,
    serve,
    sql,
    release,
    export,
    publish,
    status,
    doctor,
    backup,
    restore,
    upgrade,
    purge,
)


@click.group(cls=OneLineErrors)
@click.version_option(package_name="laion-assets")
def main() -> None:
    """LAION parquet shards as a cleaned DuckDB table, exact counts and a searchable Lance table."""


for each in COMMANDS:
    main.add_command(each)


if __name__ == "__main__":
    main()
