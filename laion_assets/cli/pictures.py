"""The commands about pictures: retry."""

from __future__ import annotations

import sys

import click

from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.cli.shards import load_shards
from laion_assets.cli.stopping import StoppableGroup


@click.group(cls=StoppableGroup)
def pictures() -> None:
    """Fetches again the pictures that may be had now."""


@pictures.command()
@click.argument("shards", nargs=-1, metavar="[SHARD]...")
@click.option("--no-refresh", is_flag=True, help="Leave counts and release as they are.")
def retry(shards: tuple[str, ...], no_refresh: bool) -> None:
    """Asks again for the pictures whose server did not answer, of all shards or of some.

    What a server said is gone, or may not be used, is not asked for again. It needs
    LAION_PICTURES=fetch.
    """
    from laion_assets.errors import LaionError
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.pictures.fetch_missing import find_passing
    from laion_assets.stores.database import Database

    settings = load_settings()
    if settings.pictures != "fetch":
        raise LaionError(
            "nothing is fetched; set LAION_PICTURES=fetch and LAION_FETCH_CONTACT",
            code="fetch-is-off",
        )
    with open_instance() as instance:
        known = instance.get_dynamic_partitions(SHARDS_NAME)
    if unknown := [shard for shard in shards if shard not in known]:
        raise click.UsageError(f"no shard {unknown[0]!r}; `laion status` lists what there is")
    passing = find_passing(Database.of(settings))
    chosen = [shard for shard in shards or passing if shard in passing]
    if not chosen:
        click.echo("laion: no picture is left that may be had now", err=True)
        return
    with open_instance() as instance:
        is_done = load_shards(
            settings,
            instance,
            [],
            is_refreshing=not no_refresh,
            pictured=chosen,
            is_retry=True,
        )
    if not is_done:
        sys.exit(1)
