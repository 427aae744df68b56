"""Whether the disk has room to load a shard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.stores.disk_space import LEAST_BYTES, check_space

if TYPE_CHECKING:
    from laion_assets.stores.raw_store import RawShard

# DuckDB takes up to the size of the file's columns, uncompressed, plus this for what it derives.
DERIVED_BYTES_A_ROW = 100


def estimate_load(path: Path, row_count: int) -> int:
    """Returns what the rows of a parquet file take in DuckDB at most, while the old ones stay."""
    import pyarrow.parquet as pq

    from laion_assets.raw_shards.source_columns import describe_columns
    from laion_assets.raw_shards.verify import plain_path

    read = {column.name for column in describe_columns(path) if column.read_as}
    with plain_path(path) as readable:
        footer = pq.read_metadata(readable)
    chunks = (
        footer.row_group(group).column(column)
        for group in range(footer.num_row_groups)
        for column in range(footer.num_columns)
    )
    columns = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in read)
    return LEAST_BYTES + int(columns) + DERIVED_BYTES_A_ROW * row_count


def check_load_space(raw: RawShard, path: Path, database: Path) -> None:
    """Checks that there is room to load a verified file.

    Raises:
        DiskSpaceError: there is not.
    """
    needed = estimate_load(path, raw.file_rows)
    check_space(database.parent, needed, f"loading shard {raw.shard!r}")
