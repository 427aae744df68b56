"""Copies one shard from the DuckDB table `images` to the Lance table of that name."""

from __future__ import annotations

from pathlib import Path

from laion_assets.lib.database import Database, stream
from laion_assets.lib.errors import StaleTableError
from laion_assets.lib.lance_table import Commit, ensure_table, lock_shard, replace_shard, table_path
from laion_assets.lib.sql import load_sql
from laion_assets.schemas import IMAGES, arrow_schema


def copy_shard(database: Database, lance_dir: Path, shard: str, run_id: str) -> Commit:
    """Replaces the shard in Lance by its rows in DuckDB, in one commit.

    Raises:
        StaleTableError: DuckDB does not have the shard.
    """
    import pyarrow as pa

    schema = arrow_schema(IMAGES)
    path = table_path(lance_dir, "images")
    ensure_table(path, schema)
    with lock_shard(lance_dir, shard), database.read() as connection:
        loads = connection.execute(load_sql("select_load"), {"shard": shard}).fetchall()
        if not loads:
            raise StaleTableError(f"shard {shard!r} is not in DuckDB; materialize `images` first")
        ((load_id, sha256, image_count),) = loads
        with stream(connection, load_sql("select_images"), {"shard": shard}) as reader:
            # DuckDB calls every column nullable; the values are the same.
            batches = (pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in reader)
            return replace_shard(
                path,
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
