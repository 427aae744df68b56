"""Finds the parquet files that `LAION_SHARDS` names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from laion_assets.lib.errors import ShardError

SUFFIX = ".parquet"
# Of a file system's 255, some are for the names of temporary files and records.
MAX_NAME_BYTES = 220


def list_shards(locations: Iterable[str]) -> dict[str, Path]:
    """Returns the file of each shard, by shard, in the order of their names.

    A location is the path of a file, or a glob; a glob that matches nothing yields no shard.

    Raises:
        ShardError: a location cannot be listed, or two files would make the same shard.
    """
    files: dict[str, Path] = {}
    for location in locations:
        for path in _list_location(location):
            shard = path.name.removesuffix(SUFFIX)
            if files.setdefault(shard, path) != path:
                raise ShardError(
                    f"shard {shard!r} comes from both {files[shard]} and {path}; "
                    "rename one of the files or leave it out of LAION_SHARDS"
                )
    return dict(sorted(files.items()))


def find_shard(locations: Iterable[str], shard: str) -> Path:
    """Returns the file of one shard.

    Raises:
        ShardError: no location has it.
    """
    locations = tuple(locations)
    try:
        return list_shards(locations)[shard]
    except KeyError:
        raise ShardError(
            f"shard {shard!r} is not among {', '.join(locations)}; "
            "put its file there or set LAION_SHARDS"
        ) from None


def _list_location(location: str) -> list[Path]:
    if "://" in location:
        raise ShardError(f"{location}: only local files are read so far; download it first")
    if Path(location).is_file():
        found = [location]
    elif glob.has_magic(location):
        found = glob.glob(location, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
    elif Path(location).is_dir():
        raise ShardError(f"{location}: a folder; write {location}/*{SUFFIX} in LAION_SHARDS")
    else:
        raise ShardError(f"{location}: no such file; correct LAION_SHARDS")
    paths = sorted(Path(os.path.abspath(path)) for path in found)  # noqa: PTH100 - removes ..
    for path in paths:
        _check_name(path)
    return paths


def _check_name(path: Path) -> None:
    if path.suffix != SUFFIX:
        raise ShardError(f"{path}: a shard's file name ends in {SUFFIX}; correct LAION_SHARDS")
    if "..." in path.name or not path.name.isprintable():
        raise ShardError(f"{str(path)!r}: Dagster takes no partition with ... or a control sign")
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise ShardError(f"{path}: the name is longer than {MAX_NAME_BYTES} bytes; shorten it")
