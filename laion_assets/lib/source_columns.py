"""Matches the columns of a parquet file with ours, by name, whatever the case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.lib.errors import ShardError, first_line
from laion_assets.lib.sql import quote_identifier
from laion_assets.schemas import IMAGES, Column

if TYPE_CHECKING:
    import pyarrow as pa

# DuckDB's name for the position of a row in its parquet file.
ROW_NUMBER = "file_row_number"
# What a source can have; the other columns of `images` are derived.
SOURCED = tuple(column for column in IMAGES if column.sources)


def check_columns(path: Path, name: str) -> int:
    """Checks that the file is parquet and has a URL and a caption column of text.

    Args:
        path: the file.
        name: what to call it in an error.

    Returns:
        The number of its rows.

    Raises:
        ShardError: it is not, or has not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, file_rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = first_line(error)
        raise ShardError(f"{name}: no readable parquet file ({reason}); fetch it again") from error
    if repeated := [n for n, count in Counter(schema.names).items() if count > 1]:
        raise ShardError(f"{name}: has two columns {repeated[0]}; rename one")
    if ROW_NUMBER in schema.names:
        raise ShardError(f"{name}: column {ROW_NUMBER} hides DuckDB's row number; rename it")
    for column in SOURCED:
        if column.is_required:
            _check_text_column(schema, column, name)
    return int(file_rows)


def select_list(file_columns: Iterable[str]) -> str:
    """Returns the SQL expressions that turn the file's columns into ours, NULL where one lacks."""
    present = tuple(file_columns)
    return ", ".join(
        f"{_expression(find_column(present, column), column)} AS {quote_identifier(column.name)}"
        for column in SOURCED
    )


def find_column(file_columns: Iterable[str], column: Column) -> str | None:
    """Returns the file's name for our column: the first of its known names that is there."""
    by_lower_name = {name.lower(): name for name in reversed(tuple(file_columns))}
    return next((by_lower_name[s] for s in column.sources if s in by_lower_name), None)


def _expression(name: str | None, column: Column) -> str:
    # A size of 1e300 or a score of 'n/a' is no number of ours: NULL, while the row stays.
    return f"TRY_CAST({'NULL' if name is None else quote_identifier(name)} AS {column.type})"


def _check_text_column(schema: pa.Schema, column: Column, name: str) -> None:
    import pyarrow as pa

    found = find_column(schema.names, column)
    if found is None:
        raise ShardError(
            f"{name}: no {column.name} column among {', '.join(schema.names)}; "
            f"accepted names are {', '.join(column.sources)} in any case"
        )
    type_ = schema.field(found).type
    text = type_.value_type if pa.types.is_dictionary(type_) else type_
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    # A column of nothing but NULL has no type; its rows are rejected one by one.
    if not any(is_one(text) for is_one in (*is_text, pa.types.is_null)):
        raise ShardError(f"{name}: column {found} is {type_}, and {column.name} has to be text")
