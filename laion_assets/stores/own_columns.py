"""Columns that a user added to the Lance table `images` by hand, and what a load does to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.schemas import ADDED_COLUMNS, IMAGES, LANCE_IMAGES, arrow_type
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import read_lance_version

if TYPE_CHECKING:
    import lance
    import pyarrow as pa


@dataclass(frozen=True)
class Loss:
    """Rows of a new load that are NULL in a column that somebody added by hand.

    Attributes:
        column: the column.
        row_count: how many rows.
        total: rows of the load.
        can_be_declared: whether a declared column may have such values.
    """

    column: str
    row_count: int
    total: int
    can_be_declared: bool = True

    def describe(self) -> str:
        """Returns it in one line, with what to do."""
        return (
            f"column `{self.column}` was added by hand, so it is NULL in {self.row_count:,} of "
            f"{self.total:,} rows of this load; {_say_remedy(self.column, self.can_be_declared)}"
        )


def list_own(schema: pa.Schema, declared: Collection[str] = ()) -> list[pa.Field]:
    """Returns the columns of the table that are neither of this project nor declared.

    Args:
        schema: of the Lance table `images`.
        declared: the names of declared columns.
    """
    ours = {c.name for columns in (LANCE_IMAGES, *ADDED_COLUMNS.values()) for c in columns}
    return [field for field in schema if field.name not in ours and field.name not in declared]


def is_portable(kind: pa.DataType) -> bool:
    """Returns whether a load can take values of a type along: numbers, texts, times, vectors."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_primitive(kind.value_type))
    return bool(
        pa.types.is_primitive(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def can_be_declared(field: pa.Field) -> bool:
    """Returns whether a declared column may have the name and the values of a column."""
    import pyarrow as pa

    kind, names = field.type, {c.name for columns in ADDED_COLUMNS.values() for c in columns}
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return field.name not in names and bool(is_text or pa.types.is_primitive(kind))


def check_table(store: LanceStore) -> None:
    """Checks, before a load writes anything, that the table `images` can take its rows.

    Raises:
        LaionError: somebody added a column that may not be NULL, or one of ours is gone or of
            another type.
    """
    dataset = store.find("images")
    if dataset is None:
        return
    required = {column.name for column in LANCE_IMAGES}
    for field in dataset.schema:
        if field.name not in required and not field.nullable:
            raise LaionError(
                f"{dataset.uri}: column `{field.name}`, added by hand, may not be NULL, so no "
                "shard can be loaded; allow it (`alter_columns` of Lance with nullable), or drop "
                f"it and {_say_remedy(field.name, can_be_declared(field))}",
                code="own-column-required",
            )
    types = dict(zip(dataset.schema.names, dataset.schema.types, strict=True))
    for name, kind in _list_expected(dataset).items():
        if name not in types:
            raise LaionError(
                f"{dataset.uri}: there is no column `{name}` any more, so no shard can be loaded; "
                "if it was renamed, rename it back (`alter_columns` of Lance); if it was dropped, "
                f"add it again (`add_columns`, {kind}) and load all shards again "
                "(`laion backfill --all`)",
                code="own-column-dropped",
            )
        if types[name] != kind:
            raise LaionError(
                f"{dataset.uri}: column `{name}` is {types[name]} now, so no shard can be loaded; "
                f"change it back to {kind} (`alter_columns` of Lance)",
                code="own-column-retyped",
            )


def _list_expected(dataset: lance.LanceDataset) -> Mapping[str, pa.DataType]:
    """Returns the columns that the table has had since it was made or last migrated."""
    version = read_lance_version(dataset)
    return {c.name: arrow_type(c.type) for c in IMAGES if c.since <= version}


def _say_remedy(column: str, can_be_declared: bool) -> str:
    if not can_be_declared:
        return (
            "no declared column can have its name and type, so write its values again after a load "
            "(`merge_insert` of Lance), or let the shards bring them"
        )
    return (
        f"declare it in curation.toml, and every load makes it: [columns.{column}] with "
        f'sql = "…", or with file = "{column}.parquet", on = "image_id" and value = "{column}"'
    )
