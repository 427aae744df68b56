"""The verified parquet file of each shard."""

import time
from pathlib import Path

import dagster as dg

from laion_assets.page import describe_place, describe_source_columns
from laion_assets.partitions import SHARDS
from laion_assets.resources import ShardSource


@dg.asset(
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"parquet", "file"},
    code_version="1",
    tags={"holds": "urls-and-captions"},
)
def raw_shards(
    context: dg.AssetExecutionContext, shards: ShardSource
) -> dg.MaterializeResult[None]:
    """The shard's parquet file, as `LAION_SHARDS` names it, at `<data dir>/raw/<shard>.parquet`.

    A local file is linked where the file system allows it; one from a web server, the Hugging Face
    Hub or a bucket is downloaded once, resumed after a break, and not again while it is unchanged.
    A file that is no parquet, cannot be read, or has no URL or caption column is refused, and the
    one before stays; so does one that no source has any more. The data version is the SHA-256 of
    the content.
    """
    from laion_assets.lib.progress import Progress
    from laion_assets.lib.raw_shard import fetch_shard, keep_shard, raw_path
    from laion_assets.lib.source_columns import describe_columns
    from laion_assets.lib.sources.listing import find_shard

    started = time.monotonic()
    shard, raw_dir = context.partition_key, Path(shards.raw_dir)
    progress = Progress(shard)
    source = find_shard(shards.locations, shard, shards.rules)
    if source:
        raw = fetch_shard(source, raw_dir, shards.rules, progress)
    else:
        raw = keep_shard(shard, raw_dir, shards.locations)
        context.log.warning(f"no source has {shard} any more; the file from {raw.source} stays")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(raw.sha256),
        metadata={
            "dagster/row_count": raw.file_rows,
            "dagster/column_schema": describe_source_columns(
                describe_columns(raw_path(raw_dir, raw.shard))
            ),
            "bytes": raw.file_bytes,
            "transferred_bytes": progress.transferred_bytes,
            "sha256": raw.sha256,
            "source": describe_place(raw.source),
            "is_source_gone": source is None,
            "fetched_at": raw.fetched_at,
            "file": dg.MetadataValue.path(raw_path(raw_dir, raw.shard)),
            "duration_s": round(time.monotonic() - started, 3),
        },
    )
