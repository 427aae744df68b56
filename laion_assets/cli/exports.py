"""The commands that write a release for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from laion_assets.cli.environment import load_settings
from laion_assets.cli.stopping import StoppableGroup
from laion_assets.stores.lance_store import LanceStore

without_unsafe = click.option(
    "--without-unsafe",
    "is_safe",
    is_flag=True,
    help="Leave out images that are unsafe with a probability above 0.5 or, without one, are "
    "labelled NSFW or UNSURE.",
)


@click.group(cls=StoppableGroup)
def export() -> None:
    """Writes a release for other programs."""


@export.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--release", help="A tag; the newest release if none is named.")
@without_unsafe
def datasette(path: Path | None, release: str | None, is_safe: bool) -> None:
    """Writes a release as one SQLite file for Datasette, with full-text search.

    PATH is the file, or a folder that gets it as laion.db; it is <data dir>/datasette/laion.db if
    none is given. metadata.yaml and inspect.json are written beside it. An existing file is
    replaced only if it is such an export, and only by a new one that is whole.
    """
    from laion_assets.exports.datasette import export_datasette

    settings = load_settings()
    target = (path or settings.datasette_file).absolute()
    made = export_datasette(LanceStore(settings.lance_dir), target, release, is_safe=is_safe)
    hidden = f", {made.hidden_count:,} unsafe ones left out" if is_safe else ""
    click.echo(
        f"{made.path}: release {made.release}, {made.image_count:,} images{hidden}, "
        f"{made.file_bytes / 1e6:,.1f} MB, verified"
    )


@export.command()
@click.argument("folder", metavar="[DEST]", required=False, type=click.Path(path_type=Path))
@click.option("--release", help="A tag; the newest release if none is named.")
@without_unsafe
def parquet(folder: Path | None, release: str | None, is_safe: bool) -> None:
    """Writes a release as parquet files, a folder for each shard.

    DEST is a folder, <data dir>/parquet if none is given. It gets DEST/shard=NAME/images.parquet
    for each shard, packed with zstd, and _release.json, which says what they are. An existing
    folder is replaced only if it is such an export, and only by a new one that is whole. Pictures
    and vectors stay in Lance.
    """
    from laion_assets.exports.parquet_files import export_parquet

    settings = load_settings()
    target = (folder or settings.parquet_dir).absolute()
    made = export_parquet(LanceStore(settings.lance_dir), target, release, is_safe=is_safe)
    hidden = f", {made.hidden_count:,} unsafe ones left out" if is_safe else ""
    click.echo(
        f"{made.folder}: release {made.record.release}, {made.image_count:,} images{hidden}, "
        f"{len(made.record.shards):,} shards, {made.total_bytes / 1e6:,.1f} MB, verified"
    )
