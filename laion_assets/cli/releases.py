"""The commands about releases: list, show, diff, delete."""

from __future__ import annotations

import click

from laion_assets.cli.environment import load_settings
from laion_assets.cli.stopping import StoppableGroup
from laion_assets.stores.lance_store import LanceStore


@click.group(cls=StoppableGroup)
def release() -> None:
    """Lists, shows, compares and deletes releases."""


@release.command("list")
@click.option("--json", "is_json", is_flag=True, help="Print the whole records, the newest first.")
def list_(is_json: bool) -> None:
    """Lists the releases, the newest first."""
    from laion_assets.cli.output import print_json, print_releases
    from laion_assets.releases.catalog import list_releases

    manifests = list(list_releases(LanceStore.of(load_settings())))
    if not manifests:
        click.echo("laion: no release yet; `laion backfill --all` makes one", err=True)
    (print_json if is_json else print_releases)(manifests)


@release.command()
@click.argument("tag", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print the whole records.")
def show(tag: str | None, is_json: bool) -> None:
    """Shows the shards, sheets, versions and code behind a release, the newest if none is named.

    The subsets that were made of it follow.
    """
    from laion_assets.cli.output import print_json, print_manifest
    from laion_assets.releases.catalog import find_release
    from laion_assets.subsets.subset_record import add_subsets

    store = LanceStore.of(load_settings())
    (print_json if is_json else print_manifest)(add_subsets(store, find_release(store, tag)))


@release.command()
@click.argument("before")
@click.argument("after")
@click.option("--top", default=10, show_default=True, type=click.IntRange(0), help="Moves to name.")
@click.option("--json", "is_json", is_flag=True, help="Print an object.")
def diff(before: str, after: str, top: int, is_json: bool) -> None:
    """Says which shards came, went and changed, and how counts moved, from BEFORE to AFTER."""
    from laion_assets.cli.output import print_diff, print_json
    from laion_assets.releases.diff import compare_releases

    compared = compare_releases(LanceStore.of(load_settings()), before, after, top)
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

    cleaning = delete_release(LanceStore.of(load_settings()), tag, keep_days)
    print_deletion(tag, cleaning)
