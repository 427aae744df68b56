"""What Datasette shows of an exported release, as its `metadata.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from laion_assets.amounts import say_amount
from laion_assets.schemas import IMAGES

if TYPE_CHECKING:
    from laion_assets.releases.manifest import Manifest

# The first words of the file: by them one that may be replaced is known.
MARK = "# Written by `laion export datasette`"
_NOTE = f"{MARK}, anew each time: keep your own settings in another file.\n"
# Columns of `images` that the file has under the same name as the project.
_SAME = (
    *("url", "width", "height", "similarity", "punsafe", "pwatermark", "aesthetic", "hash"),
    *("shard", "row_index"),
)


def name_list_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Returns what a list's other columns are called in SQLite: `image_counts` is ours."""
    taken = {"name", "image_counts", *(column.lower() for column in columns)}
    found = []
    for column in columns:
        name = column
        while name.lower() == "image_counts" or (name != column and name.lower() in taken):
            name = f"{name}_of_list"
        found.append(name)
    return tuple(found)


def describe_site(
    manifest: Manifest,
    kinds: Mapping[str, Sequence[str]],
    database: str,
    image_count: int,
    hidden_count: int | None,
) -> str:
    """Returns the text of `metadata.yaml`.

    Args:
        manifest: the record of the release.
        kinds: the kinds of names, and the other columns of each.
        database: the name of the SQLite file without its suffix, by which Datasette knows it.
        image_count: the images in the file.
        hidden_count: the images left out as unsafe; None: none was.
    """
    import yaml

    names = {kind: _describe(kind, columns) for kind, columns in kinds.items()}
    tables = {"images": _describe_images(), "domain": _DOMAIN, **names}
    source = (
        f"Release {manifest.release} of laion_assets, content SHA-256 {manifest.content_sha256}"
    )
    site = {
        "title": "LAION images",
        "description": _describe_release(manifest, image_count, hidden_count),
        "source": source,
        "databases": {database: {"source": source, "tables": tables}},
    }
    text: str = yaml.safe_dump(site, sort_keys=False, allow_unicode=True, width=100)
    return _NOTE + text


def _describe_release(manifest: Manifest, image_count: int, hidden_count: int | None) -> str:
    sentences = [
        f"{say_amount(image_count, 'image')} from {say_amount(len(manifest.shards), 'shard')}, "
        f"released {manifest.released_at:%Y-%m-%d}."
    ]
    if hidden_count is not None:
        sentences.append(f"{hidden_count:,} images were left out because they may be unsafe.")
    if manifest.sample_count:
        sentences.append(f"The rows of {manifest.sample_count:,} shards are invented samples.")
    return " ".join(sentences)


def _describe_images() -> dict[str, Any]:
    meanings = {column.name: column.description for column in IMAGES}
    return {
        "description": "One row for each image. The search box searches the captions.",
        "label_column": "text",
        "columns": {
            "id": "Number of the image in this file.",
            "text": meanings["caption"],
            "domain_id": meanings["domain"],
            **{name: meanings[name] for name in _SAME},
        },
        "units": {"width": "px", "height": "px"},
        "facets": ["domain_id"],
        "sortable_columns": ["id", "aesthetic"],
        "size": 20,
    }


_DOMAIN: dict[str, Any] = {
    "description": "The hosts of the images, and how many images each has.",
    "label_column": "domain",
    "columns": {"domain": "Host of the image URLs.", "image_counts": "Images from that host."},
    "sort_desc": "image_counts",
}


def _describe(kind: str, columns: Sequence[str]) -> dict[str, Any]:
    return {
        "description": f"The names of the list `{kind}`, and how many captions have each.",
        "label_column": "name",
        "columns": {
            "name": "The name as the list has it.",
            **dict.fromkeys(columns, "As in the list."),
            "image_counts": "Images whose caption has the name as a phrase, by SQLite FTS5.",
        },
        "sort_desc": "image_counts",
    }
