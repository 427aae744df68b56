"""Finds the parquet files that `LAION_SHARDS` names."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from laion_assets.lib.errors import ShardError

SUFFIX = ".parquet"


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
    path = Path(location).absolute()
    if path.is_file():
        paths = [path]
    elif glob.has_magic(location):
        paths = sorted(Path(p).absolute() for p in glob.glob(location, recursive=True))  # noqa: PTH207
    else:
        raise ShardError(f"{location}: no such file; correct LAION_SHARDS")
    for each in paths:
        if each.suffix != SUFFIX:
            raise ShardError(f"{each}: a shard's file name ends in {SUFFIX}; correct LAION_SHARDS")
    return paths
