"""Copies one shard from the DuckDB table `images` to the Lance table of that name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.lib.database import Database, stream
from laion_assets.lib.errors import StaleTableError
from laion_assets.lib.lance_table import Commit, ensure_table, replace_shard, table_path
from laion_assets.lib.locks import lock_shard
from laion_assets.lib.sql import load_sql
from laion_assets.schemas import IMAGES, arrow_schema

if TYPE_CHECKING:
    import lance
    import pyarrow as pa


def copy_shard(database: Database, lance_dir: Path, shard: str, run_id: str) -> Commit:
    """Replaces the shard in Lance by its rows in DuckDB, in one commit, and notes that in DuckDB.

    Without the note, as after a crash between commit and note, the shard counts as not copied.

    Raises:
        StaleTableError: DuckDB does not have the shard.
    """
    schema = arrow_schema(IMAGES)
    ensure_table(table_path(lance_dir, "images"), schema)
    with lock_shard(lance_dir, shard):
        load_id, commit = _copy(database, lance_dir, shard, run_id, schema)
        with database.write() as connection:
            values = {"load_id": load_id, "lance_version": commit.version}
            connection.execute(load_sql("update_lance_version"), values)
    return commit


def find_uncopied(
    connection: duckdb.DuckDBPyConnection, dataset: lance.LanceDataset | None
) -> list[str]:
    """Returns the shards that Lance does not have as DuckDB has them, or has and DuckDB has not.

    Args:
        connection: open for reading.
        dataset: the Lance table `images`; None if there is none.
    """
    query = load_sql("select_checksums")
    ours = {shard: values for shard, *values in connection.execute(query).fetchall()}
    theirs: dict[str, list[object]] = {}
    if dataset is not None:
        reader = dataset.scanner(columns=["shard", "image_id"]).to_reader()
        with duckdb.connect() as engine:
            engine.register("images", reader)
            theirs = {shard: values for shard, *values in engine.execute(query).fetchall()}
    noted = {shard for (shard,) in connection.execute(load_sql("select_copied")).fetchall()}
    loaded = {shard for (shard,) in connection.execute(load_sql("select_shards")).fetchall()}
    return sorted(
        shard
        for shard in loaded | theirs.keys()
        if shard not in noted or ours.get(shard) != theirs.get(shard)
    )


def _copy(
    database: Database, lance_dir: Path, shard: str, run_id: str, schema: pa.Schema
) -> tuple[str, Commit]:
    import pyarrow as pa

    with database.read() as connection:
        loads = connection.execute(load_sql("select_load"), {"shard": shard}).fetchall()
        if not loads:
            raise StaleTableError(f"shard {shard!r} is not in DuckDB; materialize `images` first")
        ((load_id, sha256, image_count),) = loads
        with stream(connection, load_sql("select_images"), {"shard": shard}) as reader:
            # DuckDB calls every column nullable; the values are the same.
            batches = (pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in reader)
            commit = replace_shard(
                table_path(lance_dir, "images"),
                shard,
                pa.RecordBatchReader.from_batches(schema, batches),
                expected_count=image_count,
                properties={
                    "shard": shard,
                    "load_id": load_id,
                    "sha256": sha256,
                    "dagster_run_id": run_id,
                },
            )
    return load_id, commit
