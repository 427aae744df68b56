"""Brings the tables of an older version of this project to its schema; refuses newer ones.

DuckDB and the Lance table `images` both keep the version of their schema. A column that was added
says in `schemas.py` since which version it is there, and that is all a migration needs: it is added
where it is missing, so a migration that was cut off, or done by two processes, is just done again.
Data without a version (0) are of any commit before there was one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.errors import LaionError
from laion_assets.schemas import (
    IMAGES,
    SCHEMA_VERSION,
    SCHEMA_VERSIONS,
    TABLES,
    Column,
    arrow_schema,
)
from laion_assets.stores.sql import add_column, create_table, load_sql, quote_identifier

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

    from laion_assets.stores.lance_store import LanceStore

# In the metadata of the Lance table.
SCHEMA_KEY = "laion_assets.schema_version"
COMMIT_ATTEMPTS = 20
# Of the first commits: a release was a name here, not the object that it is now, without a record.
RELEASE_KEY = "laion_assets.release"
OBSOLETE_KEYS = ("laion_assets.content_sha256", "laion_assets.shard_count")


def read_database_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Returns the version of the schema of a DuckDB file; 0 if it notes none.

    Not in a transaction, unless the table is there: a failed query would abort it.
    """
    # Asked which tables there are, DuckDB first makes all views of its catalog: 20 ms.
    try:
        ((version,),) = connection.execute(load_sql("stores/select_schema_version")).fetchall()
    except duckdb.CatalogException:
        return 0
    return int(version or 0)


def is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Returns whether a DuckDB file has this version's schema, and all of its tables.

    Not in a transaction: a failed query would abort it. To create the tables where they are takes
    longer than most writers do.
    """
    if read_database_version(connection) != SCHEMA_VERSION:
        return False
    ask = load_sql("stores/ask_table")
    try:
        connection.execute("UNION ALL ".join(ask.format(table=quote_identifier(t)) for t in TABLES))
    except duckdb.CatalogException:
        return False
    return True


def check_not_newer(place: Path | str, version: int, known: int = SCHEMA_VERSION) -> None:
    """Refuses data that a newer version of this project has written.

    Raises:
        LaionError: they are.
    """
    if version > known:
        raise LaionError(
            f"{place}: written by a newer version of laion-assets (schema {version}, this one "
            f"knows {known}); upgrade laion-assets, or use another LAION_DATA_DIR",
            code="schema-too-new",
        )


def migrate_database(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    tables: Mapping[str, Iterable[Column]] = TABLES,
    known: int = SCHEMA_VERSION,
) -> None:
    """Creates the tables and columns that a DuckDB file lacks, in the transaction of the caller.

    Args:
        connection: open for writing.
        path: the file, to be named in errors.
        tables: the columns of each table.
        known: the version of the schema that they are.

    Raises:
        LaionError: a newer version of this project has written the file.
    """
    connection.execute(create_table("schema_version", SCHEMA_VERSIONS))
    version = read_database_version(connection)
    check_not_newer(path, version, known)
    for table, columns in tables.items():
        connection.execute(create_table(table, columns))
    if version == known:
        return
    for table, columns in tables.items():
        for column in _added(columns, version):
            for statement in add_column(table, column):
                connection.execute(statement)
    connection.execute(load_sql("stores/delete_schema_version"))
    connection.execute(load_sql("stores/insert_schema_version"), {"version": known})


def read_lance_version(dataset: lance.LanceDataset) -> int:
    """Returns the version of the schema of the Lance table `images`; 0 if it notes none."""
    return int(dataset.metadata.get(SCHEMA_KEY, 0))


def migrate_lance(store: LanceStore, columns: Iterable[Column] = IMAGES) -> None:
    """Adds the columns that the Lance table `images` lacks, NULL in the rows that are there.

    The version is noted last: cut off before that, it is done again, and nothing is added twice.

    Args:
        store: the Lance tables; `images` is there.
        columns: its columns, of the version of the schema that the store knows.

    Raises:
        LaionError: a newer version of this project has written the table.
    """
    known = store.known_schema
    if _is_current(store.open("images"), known):
        return
    with store.lock("images"):
        dataset = store.open("images")
        if _is_current(dataset, known):
            return
        add_to_lance(store, arrow_schema(_added(columns, read_lance_version(dataset))))
        notes = {SCHEMA_KEY: str(known), **_clean(dataset.metadata)}
        store.open("images").update_metadata(notes)


def add_to_lance(store: LanceStore, added: pa.Schema) -> None:
    """Adds those columns that the Lance table `images` lacks, NULL in the rows that are there.

    It changes the schema alone, writes no data, and may be done by several processes at once.

    Raises:
        LaionError: the table has a column of that name and another type.
    """
    import pyarrow as pa
    from lance.commit import CommitConflictError

    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        dataset = store.open("images")
        for field in added:
            if field.name in dataset.schema.names:
                _check_type(dataset, field)
        missing = [f.with_nullable(True) for f in added if f.name not in dataset.schema.names]
        if not missing:
            return
        try:
            dataset.add_columns(pa.schema(missing))
        except CommitConflictError:
            # Another process replaced a shard meanwhile.
            if attempt == COMMIT_ATTEMPTS:
                raise


def _check_type(dataset: lance.LanceDataset, field: pa.Field) -> None:
    found = dataset.schema.field(field.name)
    if found.type != field.type:
        raise LaionError(
            f"{dataset.uri}: the column `{field.name}` is {found.type}, not {field.type}; "
            "rename it (`alter_columns` of Lance), then run it again",
            code="lance-column-conflict",
        )


def _is_current(dataset: lance.LanceDataset, known: int) -> bool:
    version = read_lance_version(dataset)
    check_not_newer(dataset.uri, version, known)
    return version == known


def _added(columns: Iterable[Column], version: int) -> list[Column]:
    return [column for column in columns if column.since > version]


def _clean(metadata: Mapping[str, str]) -> dict[str, None]:
    """Returns the keys of the first commits that would be misread, to be removed."""
    keys = [key for key in OBSOLETE_KEYS if key in metadata]
    if not _is_object(metadata.get(RELEASE_KEY, "{}")):
        keys.append(RELEASE_KEY)
    return dict.fromkeys(keys)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
