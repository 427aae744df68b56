"""The verified parquet file of each shard."""

import time
from pathlib import Path

import dagster as dg

from laion_assets.partitions import SHARDS
from laion_assets.resources import ShardSource


@dg.asset(
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"parquet", "file"},
    code_version="1",
)
def raw_shards(
    context: dg.AssetExecutionContext, shards: ShardSource
) -> dg.MaterializeResult[None]:
    """The shard's parquet file, as `LAION_SHARDS` names it, at `<data dir>/raw/<shard>.parquet`.

    It is a hard link to a local file where the file system allows one, a copy elsewhere. A file
    that is no parquet, or has no URL or caption column, is refused, and the one before stays. The
    data version is the SHA-256 of the content.
    """
    from laion_assets.lib.raw_shard import fetch_shard, raw_path
    from laion_assets.lib.sources import find_shard

    started = time.monotonic()
    raw_dir = Path(shards.raw_dir)
    raw = fetch_shard(
        context.partition_key, find_shard(shards.locations, context.partition_key), raw_dir
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(raw.sha256),
        metadata={
            "dagster/row_count": raw.file_rows,
            "bytes": raw.file_bytes,
            "sha256": raw.sha256,
            "source": dg.MetadataValue.path(raw.source),
            "file": dg.MetadataValue.path(raw_path(raw_dir, raw.shard)),
            "duration_s": round(time.monotonic() - started, 3),
        },
    )
