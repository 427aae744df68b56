"""Matches the columns of a parquet file with ours, by name, whatever the case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.errors import ShardError
from laion_assets.schemas import DUCKDB_IMAGES, LANCE_EMBEDDINGS, LANCE_PICTURES, Column
from laion_assets.stores.sql import quote_identifier

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

# DuckDB's name for the position of a row in its parquet file.
ROW_NUMBER = "file_row_number"
# What a source can have; the other columns of `images` are derived.
SOURCED = tuple(column for column in DUCKDB_IMAGES if column.sources)


@dataclass(frozen=True)
class SourceColumn:
    """A column of a parquet file; `read_as` is ours that it becomes, None if it is not read.

    Columns of pictures are read by the asset `pictures`, those of vectors by `embeddings`.
    """

    name: str
    type: str
    read_as: Column | None


def describe_columns(path: Path) -> list[SourceColumn]:
    """Returns the columns of a parquet file, in its order, and how each is read."""
    import pyarrow.parquet as pq

    from laion_assets.raw_shards.picture_columns import find_picture_columns
    from laion_assets.raw_shards.vector_files import find_vector_column

    schema = pq.read_schema(path)
    pictures = find_picture_columns(schema)
    ours: dict[str | None, Column] = {
        **{pictures[c.name]: c for c in LANCE_PICTURES if c.name in pictures},
        find_vector_column(schema): LANCE_EMBEDDINGS[0],
        **{find_column(schema, column): column for column in SOURCED},
    }
    return [SourceColumn(f.name, str(f.type), ours.get(f.name)) for f in schema]


def check_columns(schema: pa.Schema, name: str) -> None:
    """Checks that a file of this schema has a URL and a caption column of text.

    Args:
        schema: of the file.
        name: what to call the file in an error.

    Raises:
        ShardError: it has not, or another column is none that can be read.
    """
    _check_names(schema, name)
    for column in SOURCED:
        found = find_column(schema, column)
        if found is not None:
            _check_type(schema.field(found), column, name)
        elif column.is_required:
            raise ShardError(
                f"{name}: no {column.name} column among {', '.join(schema.names)}; "
                f"accepted names are {', '.join(column.sources)} in any case",
                code="shard-without-column",
            )


def list_read_columns(schema: pa.Schema) -> list[str]:
    """Returns the file's names of the columns that are read; the others are left alone."""
    return [name for c in SOURCED if (name := find_column(schema, c)) is not None]


def select_list(schema: pa.Schema) -> str:
    """Returns the SQL expressions that turn the file's columns into ours, NULL where one lacks."""
    return ", ".join(
        f"{_expression(find_column(schema, column), column)} AS {quote_identifier(column.name)}"
        for column in SOURCED
    )


def find_column(schema: pa.Schema, column: Column) -> str | None:
    """Returns the file's name for our column: the first of its known names that is there."""
    by_lower_name = {f.name.lower(): f.name for f in reversed(schema) if _is_eligible(f, column)}
    return next((by_lower_name[s] for s in column.sources if s in by_lower_name), None)


def is_text(type_: pa.DataType) -> bool:
    """Tells whether the type is text, or bytes, as which some exports have their texts."""
    import pyarrow as pa

    text = type_.value_type if pa.types.is_dictionary(type_) else type_
    kinds = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{kind}")(text) for kind in kinds)


def _is_eligible(field: pa.Field, column: Column) -> bool:
    import pyarrow as pa

    is_dictionary = pa.types.is_dictionary(field.type)
    value_type = field.type.value_type if is_dictionary else field.type
    if column.is_text_only:
        return is_text(field.type)
    return not column.is_integer_only or pa.types.is_integer(value_type)


def _check_names(schema: pa.Schema, name: str) -> None:
    """Refuses two columns of one name where we read one of them; DuckDB ignores the case too."""
    read = {column.lower() for column in list_read_columns(schema)}
    found: dict[str, str] = {}
    for column in schema.names:
        lower = column.lower()
        if lower == ROW_NUMBER:
            raise ShardError(
                f"{name}: column {column} has the name of DuckDB's row number; rename it",
                code="column-hides-row-number",
            )
        if lower in read and lower in found:
            both = column if column == found[lower] else f"{found[lower]} and {column}"
            raise ShardError(f"{name}: has two columns {both}; rename one", code="column-twice")
        found[lower] = column


def _expression(name: str | None, column: Column) -> str:
    # A size of 1e300 or a score of 'n/a' is no number of ours: NULL, while the row stays.
    value = f"TRY_CAST({'NULL' if name is None else quote_identifier(name)} AS {column.type})"
    # So is NaN, which pandas writes for what is missing, and which would be above every bound.
    return f"nullif({value}, 'nan'::FLOAT)" if column.type == "FLOAT" and name else value


def _check_type(field: pa.Field, column: Column, name: str) -> None:
    import pyarrow as pa

    # A column of nothing but NULL has no type; its rows are rejected one by one.
    if column.is_required and not (is_text(field.type) or pa.types.is_null(field.type)):
        raise ShardError(
            f"{name}: column {field.name} is {field.type}, but {column.name} must be text",
            code="column-not-text",
        )
    if pa.types.is_nested(field.type):
        raise ShardError(
            f"{name}: column {field.name} is {field.type}, but {column.name} must be a single "
            "value; rename that column",
            code="column-not-a-value",
        )
