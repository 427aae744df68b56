"""Shards on a disk: a path, or a glob."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from errno import ELOOP, ENOENT, ENOTDIR
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from laion_assets.errors import GoneError, ShardError
from laion_assets.raw_shards.sources.source import (
    SUFFIX,
    Source,
    describe_each,
    is_a_folder,
    list_ancestors,
    shard_of,
)

# What the system says of a path at whose end there is no file.
_LEADS_NOWHERE = (ELOOP, ENOENT, ENOTDIR)
# `*.parquet` takes `X.PARQUET` too.
_ANY_CASE = re.compile(rf"{re.escape(SUFFIX)}$", re.IGNORECASE)
_SUFFIX_IN_ANY_CASE = ".[pP][aA][rR][qQ][uU][eE][tT]"


def list_files(location: str, only: str | None = None) -> Iterator[Source | ShardError]:
    """Yields the file, or what the glob matches, which may be nothing.

    Args:
        location: a path or a glob.
        only: the one shard that is wanted; the glob's other files are then left out.

    Raises:
        ShardError: there is no such file.
    """
    location = os.path.expanduser(location)  # noqa: PTH111 - a Path would lose a last slash
    if Path(location).is_file():
        found = [location]
    elif glob.has_magic(location):
        pattern = _ANY_CASE.sub(_SUFFIX_IN_ANY_CASE, location)
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute one
    elif Path(location).is_dir():
        raise is_a_folder(location.rstrip("/"))
    else:
        raise _no_such_file(location)
    if only is not None:
        found = [path for path in found if os.path.basename(path)[: -len(SUFFIX)] == only]  # noqa: PTH119 - thousands of them
    paths = list(map(_resolve_text, sorted(found)))
    # A pattern with `**` matches folders, and what is in them.
    entered = list_ancestors(paths)
    yield from describe_each((path for path in paths if path not in entered), _describe)


def describe_file(path: Path) -> Source:
    """Returns what is known of a file on this machine.

    Raises:
        ShardError: its name cannot be a shard's.
    """
    return _describe(_resolve_text(path))


# Text: with thousands of shards, to make paths takes longer than to look at the files.
def _resolve_text(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - removes ..


def _describe(absolute: str) -> Source:
    shard = shard_of(absolute.rpartition("/")[2], absolute)
    try:
        status = os.stat(absolute)  # noqa: PTH116 - see above
    except OSError:
        # Who reads the file says why that cannot be done.
        return Source(shard, absolute, absolute)
    if S_ISDIR(status.st_mode):
        raise is_a_folder(absolute)
    if not S_ISREG(status.st_mode):
        raise ShardError(
            f"{absolute}: is not a regular file; leave it out of LAION_SHARDS",
            code="file-not-regular",
        )
    return Source(shard, absolute, absolute, f"{status.st_size}-{status.st_mtime_ns}")


def _no_such_file(place: str) -> GoneError:
    return GoneError(f"{place}: no such file; correct LAION_SHARDS", code="file-missing")


def resolve_file(source: Source) -> Path:
    """Returns the file itself, behind all symbolic links.

    Raises:
        GoneError: there is no such file, or only a symbolic link that leads to none.
        OSError: the file cannot be read.
    """
    try:
        return Path(os.path.realpath(source.place, strict=True))
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            raise _no_such_file(source.name) from error
        raise
