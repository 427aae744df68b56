"""Keeps the caches of pictures and vectors within a size: the oldest goes first.

What is in a cache is in Lance as well once its shard is done, so a smaller cache costs no picture,
only another fetch if a shard loses its rows. That a URL has no picture stays known.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from laion_assets.stores.cache_file import hold_caches, open_cache
from laion_assets.stores.sql import load_sql

# In the order in which they give way: a vector is dearer to make than a picture to fetch.
CACHES = ("fetched", "vectors")
# So many rows are removed in one transaction.
_AT_ONCE = 10_000
# Pages that hold nothing are used again; from this share on the file is written anew without them.
_VACUUM_SHARE = 0.25


@dataclass(frozen=True)
class CacheCleaning:
    """What became of the caches.

    Attributes:
        removed_count: pictures and vectors that were removed.
        used_bytes: what the others take.
        is_in_use: whether somebody uses the caches, so that nothing was removed.
    """

    removed_count: int
    used_bytes: int
    is_in_use: bool = False


def limit_caches(folder: Path, max_bytes: float) -> CacheCleaning:
    """Removes the oldest of the caches until all together take no more than this.

    Nothing is removed while a run uses them.

    Args:
        folder: of both files, which need not be there.
        max_bytes: what they may take.
    """
    if not folder.exists():
        return CacheCleaning(0, 0)
    with ExitStack() as stack:
        is_alone = stack.enter_context(hold_caches(folder))
        caches = {
            name: stack.enter_context(open_cache(path, f"stores/cache_create_{name}"))
            for name in CACHES
            if (path := folder / f"{name}.sqlite").exists()
        }
        used = {name: _measure(cache) for name, cache in caches.items()}
        if not is_alone:
            return CacheCleaning(0, sum(used.values()), is_in_use=True)
        removed_count = 0
        for name, cache in caches.items():
            limit = max_bytes - sum(size for other, size in used.items() if other != name)
            removed_count += _shrink(cache, name, limit)
            _give_back(cache, folder)
            used[name] = _measure(cache)
        return CacheCleaning(removed_count, sum(used.values()))


def _shrink(cache: sqlite3.Connection, name: str, max_bytes: float) -> int:
    removed_count = 0
    while (used := _measure(cache)) > max_bytes:
        ((count,),) = cache.execute(load_sql(f"stores/cache_count_{name}"))
        if not count:
            break
        too_many = max(1, math.ceil(count * (used - max(max_bytes, 0)) / used))
        with cache:
            query = load_sql(f"stores/cache_delete_{name}")
            removed_count += cache.execute(query, (min(too_many, _AT_ONCE),)).rowcount
    return removed_count


def _measure(cache: sqlite3.Connection) -> int:
    """Returns the bytes of the pages that hold something."""
    ((page_bytes, used, _),) = cache.execute(load_sql("stores/cache_count_pages"))
    return int(page_bytes * used)


def _give_back(cache: sqlite3.Connection, folder: Path) -> None:
    """Writes a file anew that is mostly empty, if the disk has room for it meanwhile."""
    ((page_bytes, used, free),) = cache.execute(load_sql("stores/cache_count_pages"))
    # The new file, and the log of it.
    has_room = shutil.disk_usage(folder).free > 2 * page_bytes * used
    if free > _VACUUM_SHARE * (used + free) and has_room:
        cache.execute("vacuum")
    cache.execute("pragma wal_checkpoint(truncate)")
