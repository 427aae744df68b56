"""The commands that write a release for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from laion_assets.amounts import say_amount
from laion_assets.cli.environment import load_settings
from laion_assets.cli.stopping import StoppableGroup, command
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
    made = export_datasette(LanceStore.of(settings), target, release, is_safe=is_safe)
    hidden = f", {made.hidden_count:,} unsafe ones left out" if is_safe else ""
    click.echo(
        f"{made.path}: release {made.release}, {say_amount(made.image_count, 'image')}{hidden}, "
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
    made = export_parquet(LanceStore.of(settings), target, release, is_safe=is_safe)
    hidden = f", {made.hidden_count:,} unsafe ones left out" if is_safe else ""
    click.echo(
        f"{made.folder}: release {made.record.release}, "
        f"{say_amount(made.image_count, 'image')}{hidden}, "
        f"{say_amount(len(made.record.shards), 'shard')}, {made.total_bytes / 1e6:,.1f} MB, "
        "verified"
    )


@command()
@click.argument("destination", metavar="DEST")
@click.option("--release", help="A tag; the newest release if none is named.")
def publish(destination: str, release: str | None) -> None:
    """Publishes a release as a dataset with a card, for everybody to load.

    DEST is a folder, or hf://datasets/<org>/<name>, for which HF_TOKEN has to be set. Licence and
    contact come from the table [publish] of curation.toml; without them nothing goes to the Hub.
    Readers see the release before or this one, never half of it. What was cut off is taken up by
    the same command, and what is there already is not sent again.
    """
    from laion_assets.publishing.publication import publish_dataset
    from laion_assets.publishing.resource import PublishRules

    settings = load_settings()
    rules = PublishRules.build(settings, destination)
    target, order = rules.open_target(), rules.order(release)
    made = publish_dataset(LanceStore.of(settings), target, order)
    sent = f"{made.sent_files:,} files sent, {made.sent_bytes / 1e6:,.1f} MB"
    click.echo(
        f"{made.place}: release {made.manifest.release}, "
        f"{made.manifest.row_counts['images']:,} images; {sent if made.is_new else 'nothing new'}"
    )
    if made.missing:
        click.echo(
            f"laion: the dataset card lacks {' and '.join(made.missing)}; write them into "
            f"{order.terms_file} under [publish]",
            err=True,
        )
