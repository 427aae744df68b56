"""Shards on a disk: a path, or a glob."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from laion_assets.lib.errors import ShardError
from laion_assets.lib.sources.source import SUFFIX, Source, describe_each, shard_of


def list_files(location: str) -> Iterator[Source | ShardError]:
    """Yields the file, or what the glob matches, which may be nothing.

    Raises:
        ShardError: there is no such file.
    """
    if Path(location).is_file():
        found = [location]
    elif glob.has_magic(location):
        found = glob.glob(location, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
    elif Path(location).is_dir():
        raise ShardError(f"{location}: a folder; write {location}/*{SUFFIX} in LAION_SHARDS")
    else:
        raise ShardError(f"{location}: no such file; correct LAION_SHARDS")
    yield from describe_each(map(Path, sorted(found)), describe_file)


def describe_file(path: Path) -> Source:
    """Returns what is known of a file on this machine.

    Raises:
        ShardError: its name cannot be a shard's.
    """
    absolute = os.path.abspath(path)  # noqa: PTH100 - removes ..
    shard = shard_of(Path(absolute).name, absolute)
    try:
        status = Path(absolute).stat()
    except OSError:
        # Who reads the file says why that cannot be done.
        return Source(shard, absolute, absolute)
    if not S_ISREG(status.st_mode):
        raise ShardError(f"{absolute}: is no regular file; leave it out of LAION_SHARDS")
    return Source(shard, absolute, absolute, f"{status.st_size}-{status.st_mtime_ns}")


def link_file(source: Source, target: Path) -> None:
    """Makes the target a hard link to the file, or a copy where the file system allows none.

    Raises:
        OSError: the file cannot be read, or the disk is full.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(Path(source.place).resolve(strict=True), target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source.place, target)
