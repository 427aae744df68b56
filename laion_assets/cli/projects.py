"""The commands that begin a project: init, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.cli.shards import load_shards, register_shards, remove_and_refresh
from laion_assets.cli.stopping import command

if TYPE_CHECKING:
    from laion_assets.settings import Settings


@command()
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


@command()
@click.option("--remove", "is_removing", is_flag=True, help="Remove the sample shards alone.")
def demo(is_removing: bool) -> None:
    """Makes seven sample shards and materializes every asset over them.

    With --remove, removes these shards and their files again, and leaves all others.
    """
    if is_removing:
        _remove_samples(load_settings())
    else:
        _make_samples(load_settings())


def _remove_samples(settings: Settings) -> None:
    from laion_assets.demo.installed_samples import (
        find_sample_files,
        find_sample_shards,
        unshare_samples,
    )
    from laion_assets.operations.removal import find_places

    with open_instance() as instance:
        found = find_sample_shards(settings) & find_places(settings, instance).keys()
        files = find_sample_files(settings)
        unshare_samples(settings)
        is_done = remove_and_refresh(settings, instance, sorted(found), files)
    if not (found or files):
        click.echo("laion: there are no sample shards to remove", err=True)
    if not is_done:
        sys.exit(1)


def _make_samples(settings: Settings) -> None:
    from dataclasses import replace

    from laion_assets.demo.installed_samples import describe_samples, share_samples
    from laion_assets.demo.report import print_report
    from laion_assets.demo.sample_shards import write_sample_shards
    from laion_assets.settings import Settings

    samples = replace(
        Settings.default(settings.data_dir),
        bucket=settings.bucket,
        bucket_endpoint=settings.bucket_endpoint,
        catalog=settings.catalog,
        ray=settings.ray,
    )
    settings = _choose_encoder(samples)
    names = _read_sample_names(settings)
    paths = write_sample_shards(settings.data_dir / "shards", names)
    shards = [path.stem for path in paths]
    variables = None
    if settings.ray is not None:
        settings = share_samples(settings, paths)
        variables = describe_samples(settings)
    with open_instance() as instance:
        register_shards(settings, instance)
        is_done = load_shards(
            settings,
            instance,
            shards,
            is_refreshing=True,
            pictured=shards,
            variables=variables,
        )
    if not is_done:
        sys.exit(1)
    print_report(settings)


def _choose_encoder(settings: Settings) -> Settings:
    """Returns settings by which vectors are computed, if the libraries for that are here."""
    from dataclasses import replace

    from laion_assets.embeddings.encoder import find_missing_library
    from laion_assets.embeddings.model_files import DEMO

    if missing := find_missing_library():
        click.echo(
            f"laion: without {missing} the pictures get no vectors; for a search by meaning, "
            "`pip install 'laion-assets[clip]'` and run it again",
            err=True,
        )
        return settings
    return replace(settings, embeddings="compute", encoder=DEMO)


def _read_sample_names(settings: Settings) -> list[str]:
    from laion_assets.names.sheets import read_sheet

    sheets = [read_sheet(kind, location) for kind, location in settings.sheets.items()]
    return [row[0] for sheet in sheets for row in sheet.rows]
