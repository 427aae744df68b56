"""Writes the dataset card of a published release: contents, origin, how to load it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from laion_assets.publishing.target import DATA, TABLES
from laion_assets.releases.catalog import open_released
from laion_assets.schemas import ADDED_COLUMNS, DOMAIN_COUNTS, ENTITY_COUNTS, LANCE_IMAGES
from laion_assets.search.safety import PUNSAFE_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Mapping

    import lance
    import pyarrow as pa

    from laion_assets.curation.terms import Terms
    from laion_assets.publishing.target import Target
    from laion_assets.releases.manifest import Manifest
    from laion_assets.stores.lance_store import LanceStore

# The Hub's names for sizes, by the first number of rows that is too large for each.
SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
LARGEST_SIZE = "n>1B"
COUNT_COLUMNS = {"domain_counts": DOMAIN_COUNTS, "entity_counts": ENTITY_COUNTS}
# So many places that shards came from are named; `release.json` has all.
MAX_SOURCES = 20
PICTURE = ADDED_COLUMNS["pictures"][0].name
_DATASETS_TYPES = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
}
_TABLE_SIGNS = re.compile(r"[|\r\n]+")


@dataclass(frozen=True)
class CardColumn:
    """A line of the table of columns."""

    name: str
    type: str
    meaning: str


def write_card(store: LanceStore, manifest: Manifest, terms: Terms, target: Target) -> str:
    """Returns the text of the dataset card, `README.md`.

    Args:
        store: the Lance tables with the release.
        manifest: its record without what is private.
        terms: what its publisher says of it.
        target: where it will be.
    """
    train = open_released(store, manifest, "images")
    return (
        _open_templates()
        .get_template("card.md")
        .render(
            front=_write_front(manifest, terms, train.schema),
            manifest=manifest,
            terms=terms,
            address=target.address,
            data=target.data_uri,
            columns=_list_columns(train, manifest),
            counts={
                table: _list_count_columns(open_released(store, manifest, table), table)
                for table in COUNT_COLUMNS
            },
            indices=_list_indices(train),
            splits=_count_splits(train),
            unsafe_count=train.count_rows(f"punsafe > {PUNSAFE_THRESHOLD}"),
            rated_count=train.count_rows("punsafe IS NOT NULL"),
            threshold=PUNSAFE_THRESHOLD,
            sources=_list_sources(manifest),
            source_count=len({shard.source for shard in manifest.shards}),
        )
    )


@cache
def _open_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        # It writes Markdown.
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: _TABLE_SIGNS.sub(" ", str(text))
    return environment


def _write_front(manifest: Manifest, terms: Terms, schema: pa.Schema) -> str:
    """Returns what the Hub reads of a card."""
    import yaml

    has_pictures = manifest.picture_count > 0
    licence = {
        key: value
        for key in ("license", "license_name", "license_link")
        if (value := getattr(terms, key)) is not None
    }
    front: dict[str, Any] = {
        "pretty_name": terms.title or "LAION images",
        **licence,
        "size_categories": [_name_size(manifest.row_counts["images"])],
        "task_categories": ["text-to-image", "image-to-text"] if has_pictures else ["other"],
        "tags": ["lance", "laion", "image-text", *(["clip"] if manifest.vectors else [])],
        "configs": [
            {
                "config_name": "default" if name == "train" else name,
                **({"default": True} if name == "train" else {}),
                "data_files": [{"split": "train", "path": f"{DATA}/{name}.lance/**"}],
            }
            for name in reversed(TABLES.values())
        ],
    }
    if (features := _describe_features(schema)) is not None:
        front["dataset_info"] = [{"config_name": "default", "features": features}]
    text: str = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _describe_features(schema: pa.Schema) -> list[dict[str, Any]] | None:
    """Returns the columns as `datasets` names them; None if one has a type that is not known here.

    Without them it guesses the kind of a picture from the first row, and fails if that has none.
    """
    features: list[dict[str, Any]] = []
    for field in schema:
        kind = field.type
        words = re.fullmatch(r"(?:fixed_size_)?list<\w+: (\w+)>(?:\[(\d+)\])?", str(kind))
        if field.name == PICTURE:
            features.append({"name": field.name, "dtype": "image"})
        elif words is not None:
            length = {"length": int(words[2])} if words[2] else {}
            features.append({"name": field.name, "list": _name_type(words[1]), **length})
        elif re.fullmatch(r"\w+(\[\w+\])?", str(kind)):
            features.append({"name": field.name, "dtype": _name_type(str(kind))})
        else:
            return None
    return features


def _name_type(arrow: str) -> str:
    """Returns the name that `datasets` has for an Arrow type."""
    return _DATASETS_TYPES.get(arrow, arrow)


def _name_size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), LARGEST_SIZE)


def _list_columns(train: lance.LanceDataset, manifest: Manifest) -> list[CardColumn]:
    known = (*LANCE_IMAGES, *(c for columns in ADDED_COLUMNS.values() for c in columns))
    meanings: Mapping[str, str] = {
        **{column.name: column.description for column in known},
        **{
            column.column: "Declared: "
            + ", ".join(f"{key} `{value}`" for key, value in column.definition.items())
            for column in manifest.declared
        },
    }
    return [
        CardColumn(field.name, str(field.type), meanings.get(field.name, "Added by hand."))
        for field in train.schema
    ]


def _list_count_columns(dataset: lance.LanceDataset, table: str) -> list[CardColumn]:
    meanings = {column.name: column.description for column in COUNT_COLUMNS[table]}
    return [CardColumn(f.name, str(f.type), meanings.get(f.name, "")) for f in dataset.schema]


def _list_indices(train: lance.LanceDataset) -> list[tuple[str, str]]:
    names = {field.id(): field.name() for field in train.lance_schema.fields()}
    return sorted(
        (", ".join(names[number] for number in index.fields), index.index_type)
        for index in train.describe_indices()
    )


def _count_splits(train: lance.LanceDataset) -> dict[str, int]:
    return {
        split: train.count_rows(f"split = '{split}'") for split in ("train", "validation", "test")
    }


def _list_sources(manifest: Manifest) -> list[str]:
    return sorted({shard.source for shard in manifest.shards})[:MAX_SOURCES]
