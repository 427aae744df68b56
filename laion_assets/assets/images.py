"""The cleaned rows of each shard, in DuckDB."""

import time
from pathlib import Path

import dagster as dg

from laion_assets.failures import RETRIES, explain_failures
from laion_assets.page import describe_table, preview
from laion_assets.partitions import SHARDS
from laion_assets.resources import ShardSource, Warehouse
from laion_assets.schemas import IMAGES


@dg.asset(
    deps=["raw_shards"],
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"duckdb", "sql"},
    code_version="1",
    retry_policy=RETRIES,
    metadata={**describe_table("images", IMAGES), "partition_expr": "shard"},
)
@explain_failures
def images(
    context: dg.AssetExecutionContext, shards: ShardSource, warehouse: Warehouse
) -> dg.MaterializeResult[None]:
    """The usable rows of the shard, in the DuckDB table `images`.

    A row is rejected only if its URL is missing or names no host, or its caption is missing; it
    then stands in `rejected_images` with the reason, so that both tables together have every row of
    the file. Repeated rows stay. The shard is replaced in one transaction: a reader sees its old
    rows or its new ones.

    ```sql
    SELECT domain, count(*) FROM images WHERE aesthetic > 7 GROUP BY domain ORDER BY 2 DESC LIMIT 20
    ```
    """
    from laion_assets.lib.images import REASONS, load_shard
    from laion_assets.lib.raw_shard import check_unchanged, raw_path, read_raw_shard
    from laion_assets.lib.sql import load_sql

    started = time.monotonic()
    raw_dir = Path(shards.raw_dir)
    with warehouse.database.write() as connection:
        raw = read_raw_shard(context.partition_key, raw_dir)
        load = load_shard(connection, raw, raw_path(raw_dir, raw.shard), context.run.run_id)
        check_unchanged(raw, raw_dir)
        shard = {"shard": raw.shard}
        ((repeated_count, domain_count),) = connection.execute(
            load_sql("summarize_shard"), shard
        ).fetchall()
        sample = preview(connection.execute(load_sql("preview_images"), shard))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": load.image_count,
            "rejected": sum(load.rejected.values()),
            **{f"rejected_{reason}": load.rejected.get(reason, 0) for reason in REASONS},
            "repaired": load.repaired_count,
            "repeated": repeated_count,
            "domains": domain_count,
            "file_rows": raw.file_rows,
            "bytes": raw.file_bytes,
            "sha256": raw.sha256,
            "duration_s": round(time.monotonic() - started, 3),
            "preview": sample,
        },
    )
