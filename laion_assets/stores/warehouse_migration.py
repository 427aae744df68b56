"""Brings the warehouse's Lance tables of an older version of this project to its schema.

As in a file, a column that was added says in `schemas.py` since which version it is there, and it
is added where it is missing. Nobody sees anything of it before the last commit, that of `head`; so
a migration that was cut off is just done again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from laion_assets.schemas import SCHEMA_VERSION, TABLES, Column, arrow_schema
from laion_assets.stores.database import open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import check_not_newer
from laion_assets.stores.postgres import check_locks
from laion_assets.stores.sql import add_column, create_table, load_sql, quote_identifier
from laion_assets.stores.warehouse_draft import KEPT_IN_PARTS, VERSION_TABLE, restore
from laion_assets.stores.warehouse_head import commit_head, read_head

if TYPE_CHECKING:
    import lance
    import pyarrow as pa


def migrate_warehouse(
    store: LanceStore,
    tables: Mapping[str, Sequence[Column]] = TABLES,
    known: int = SCHEMA_VERSION,
) -> None:
    """Adds the columns that the tables lack. Nobody else may commit meanwhile.

    Args:
        store: the warehouse.
        tables: the columns of each table.
        known: the version of the schema that they are.

    Raises:
        LaionError: a newer version of this project has written the tables, or another process
            commits to them.
    """
    import pyarrow as pa

    head = read_head(store)
    if head is None:
        return
    noted = store.open(VERSION_TABLE, head.versions[VERSION_TABLE]).to_table()
    version = max(noted["version"].to_pylist(), default=0)
    check_not_newer(store.place, version, known)
    if version == known:
        return
    versions = dict(head.versions)
    for table in sorted(head.versions.keys() & tables.keys()):
        added = [column for column in tables[table] if column.since > version]
        if added and table in KEPT_IN_PARTS:
            versions[table] = _add_to_parts(store, table, versions[table], added)
        elif added:
            rows = store.open(table, versions[table]).to_table()
            rows = _add_to_rows(rows, table, tables[table], added)
            versions[table] = store.overwrite(table, rows).version
    rows = pa.table({"version": [known]}, arrow_schema(tables[VERSION_TABLE]))
    versions[VERSION_TABLE] = store.overwrite(VERSION_TABLE, rows).version
    commit_head(store, replace(head, versions=versions))


def _add_to_parts(store: LanceStore, table: str, version: int, added: Sequence[Column]) -> int:
    """Adds columns to the rows that are committed; returns the version with them.

    What is NULL in all rows writes no data; other columns get a file for each fragment.
    """
    dataset = store.open(table)
    if dataset.version != version:
        # What a transaction or a migration left there that was cut off goes.
        dataset = restore(store, table, version)
    check_locks()
    filled = [column for column in added if column.derivation or column.default]
    if filled:
        _fill(dataset, filled)
    if empty := [column for column in added if column not in filled]:
        store.open(table).add_columns(arrow_schema(empty))
    return store.open(table).version


def _fill(dataset: lance.LanceDataset, columns: Sequence[Column]) -> None:
    import lance
    import pyarrow as pa

    schema = arrow_schema(columns)
    values = {column.name: str(column.derivation or column.default) for column in columns}
    words = set(re.findall(r"\w+", " ".join(values.values())))
    query = load_sql("stores/warehouse_derive").format(
        values=", ".join(f"{text} AS {quote_identifier(name)}" for name, text in values.items())
    )
    with open_engine() as engine:

        @lance.batch_udf(output_schema=schema)
        def derive(batch: pa.RecordBatch) -> pa.RecordBatch:
            with engine.cursor() as connection:
                connection.register("stored", pa.Table.from_batches([batch]))
                found = connection.sql(query).to_arrow_table().cast(schema).combine_chunks()
            return found.to_batches()[0] if len(found) else pa.RecordBatch.from_pylist([], schema)

        # One in any case: it says how many rows there are.
        read = [name for name in dataset.schema.names if name in words] or ["shard"]
        dataset.add_columns(derive, read_columns=read)


def _add_to_rows(
    rows: pa.Table, table: str, columns: Sequence[Column], added: Sequence[Column]
) -> pa.Table:
    """Returns the rows of a small table with columns that were added, in the order of `columns`."""
    known = [column for column in columns if column not in added]
    name, schema = quote_identifier(table), arrow_schema(columns)
    with open_engine() as engine:
        engine.execute(create_table(table, known))
        engine.register("stored", rows)
        engine.execute(load_sql("stores/warehouse_fill").format(table=name, stored="stored"))
        for column in added:
            for statement in add_column(table, column):
                engine.execute(statement)
        found = engine.sql(load_sql("stores/warehouse_all").format(table=name)).to_arrow_table()
    return found.select(schema.names).cast(schema)
