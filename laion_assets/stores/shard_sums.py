"""What is known of the rows of each shard: how many, the sum of ids, where pictures came from.

In a file DuckDB reads the rows for it each time. In a bucket that would be a request for each shard
of the project, so the commit that writes the rows of a shard notes it with them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.sql import load_sql, quote_identifier, quote_literal

if TYPE_CHECKING:
    import duckdb

# The tables of which something is noted, with the columns and types that `sum_<table>.sql` gives
# beside the shard.
SUMMED: Mapping[str, Mapping[str, str]] = {
    "images": {"image_count": "BIGINT", "id_sum": "VARCHAR"},
    "rejected_images": {"removed_count": "BIGINT"},
    "pictures": {
        "source": "VARCHAR",
        "picture_count": "BIGINT",
        "byte_count": "BIGINT",
        "first_fetched_at": "VARCHAR",
        "last_fetched_at": "VARCHAR",
    },
}


def name_sums(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """Returns what stands after FROM to get the sums of a table by shard: the noted ones, if any.

    Args:
        connection: open for reading.
        table: one of `SUMMED`.
    """
    view = _name_view(table)
    ((is_there,),) = connection.execute(load_sql("stores/has_view"), {"view": view}).fetchall()
    return quote_identifier(view) if is_there else f"({load_sql(f'stores/sum_{table}')})"


def show_sums(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Makes a connection sum up the rows of a table as it sees them now, whatever is noted."""
    _show(connection, _name_view(table), load_sql(f"stores/sum_{table}"))


def keep_sums(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Sums up the rows of a table once for all that a connection asks, unless that is noted."""
    sums, view = name_sums(connection, table), _name_view(table)
    if sums != quote_identifier(view):
        kept = quote_identifier(f"{view}.kept")
        connection.execute(load_sql("stores/keep_sums").format(table=kept, sums=sums))
        _show(connection, view, f"FROM {kept}")


def note_sums(
    connection: duckdb.DuckDBPyConnection, table: str, shards: Collection[str]
) -> dict[str, str]:
    """Returns what is to be noted of these shards of a table.

    Args:
        connection: has their rows.
        table: any; of others than `SUMMED` nothing is noted.
        shards: those that have changed.
    """
    if table not in SUMMED or not shards:
        return {}
    query = load_sql("stores/note_sums").format(
        columns=", ".join(f"{name} := {name}" for name in SUMMED[table]),
        sums=load_sql(f"stores/sum_{table}"),
    )
    found = dict(connection.execute(query, {"shards": sorted(shards)}).fetchall())
    # One may have rows, and nothing to sum up, as where no picture came of them.
    return {shard: found.get(shard, "[]") for shard in shards}


def show_notes(
    connection: duckdb.DuckDBPyConnection,
    parts: Mapping[str, Mapping[str, object]],
    notes: Mapping[str, Mapping[str, str]],
) -> None:
    """Lets a connection read what is noted. Of shards without a note the rows are read.

    Args:
        connection: has the tables.
        parts: the shards that have rows, by table.
        notes: what is noted of them, by table.
    """
    import pyarrow as pa

    for table, columns in SUMMED.items():
        view, known = _name_view(table), notes.get(table, {})
        noted = {"shard": list(known), "note": list(known.values())}
        schema = pa.schema({name: pa.string() for name in noted})
        connection.register(f"{view}.notes", pa.table(noted, schema))
        query = load_sql("stores/view_notes").format(
            view=quote_identifier(view),
            notes=quote_identifier(f"{view}.notes"),
            types=quote_literal(json.dumps([columns])),
            sums=load_sql(f"stores/sum_{table}"),
            are_not_noted=select_shards(parts.get(table, {}).keys() - known.keys()),
        )
        connection.execute(query)
        _note_view(connection, view)


def _show(connection: duckdb.DuckDBPyConnection, view: str, query: str) -> None:
    statement = load_sql("stores/view_sums").format(view=quote_identifier(view), sums=query)
    connection.execute(statement)
    _note_view(connection, view)


def _note_view(connection: duckdb.DuckDBPyConnection, view: str) -> None:
    """Lets a connection know that it has a view: to ask for one that is missing takes long."""
    connection.execute(load_sql("stores/set_view").format(view=quote_identifier(view)))


def _name_view(table: str) -> str:
    return f"sums_of_{table}"
