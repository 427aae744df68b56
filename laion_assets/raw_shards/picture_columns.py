"""Finds the columns of a parquet file that have pictures, and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.raw_shards.source_columns import is_text
from laion_assets.schemas import LANCE_PICTURES

if TYPE_CHECKING:
    import pyarrow as pa


KEY_NAMES = ("key", "uid", "id")


def find_picture_columns(schema: pa.Schema) -> dict[str, str]:
    """Returns the file's name for each of our columns of pictures that it has.

    A column of another type than ours is another thing: `image` may be the path of a file, and
    `hash` a number.
    """
    found: dict[str, str] = {}
    fields = {field.name.lower(): field for field in reversed(schema)}
    for column in LANCE_PICTURES:
        for source in column.sources:
            if source in fields and _is_of(fields[source].type, column.type):
                found.setdefault(column.name, fields[source].name)
    return found


def has_pictures(schema: pa.Schema) -> bool:
    """Returns whether a file of this schema has a column of pictures."""
    return "image" in find_picture_columns(schema)


def _is_of(kind: pa.DataType, ours: str) -> bool:
    import pyarrow as pa

    if ours == "BLOB":
        if pa.types.is_struct(kind):
            number = kind.get_field_index("bytes")
            return number >= 0 and _is_of(kind.field(number).type, ours)
        tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
        return any(test(kind) for test in tests)
    if ours == "VARCHAR":
        return is_text(kind)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def find_key(schema: pa.Schema) -> str | None:
    """Returns the file's name of the column by which an archive names its pictures."""
    fields = {field.name.lower(): field for field in reversed(schema)}
    for name in KEY_NAMES:
        if name in fields and (is_text(fields[name].type) or _is_of(fields[name].type, "BIGINT")):
            return str(fields[name].name)
    return None
