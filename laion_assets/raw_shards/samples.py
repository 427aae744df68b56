"""Marks the files of invented rows, so that nobody takes them for LAION's."""

from __future__ import annotations

from pathlib import Path

# In the metadata of the parquet file: it survives a rename, a copy and a link.
SAMPLE_KEY = "laion_assets.sample"
SAMPLE_METADATA = {SAMPLE_KEY: "true"}


def is_sample_file(path: Path) -> bool:
    """Returns whether a parquet file says that its rows are invented; False if it has no footer."""
    return read_file_metadata(path).get(SAMPLE_KEY) == SAMPLE_METADATA[SAMPLE_KEY]


def read_file_metadata(path: Path) -> dict[str, str]:
    """Returns what a parquet file says of itself, without its schema; nothing without a footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError):
        return {}
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in metadata.items()
        if key != b"ARROW:schema"
    }
