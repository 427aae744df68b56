"""Removes unfinished files that killed processes left, once they are old.

What a process works on now is newer, or locked. The next process removes most of it itself, but not
of a shard that no source has any more, of an export that nobody makes again, or of a publication to
a place that is not set any more.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from laion_assets.stores.disk_space import measure_folder
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_chunks import remove_old_chunks

_DAY_S = 86_400
# Beside raw files: repaired copies. In the data folder: exports, and what DuckDB had no memory for.
_BESIDE_RAW = (".repair-*",)
_IN_DATA = (".*.part-*", ".restore.part", "datasette/.*.unfinished", "*.duckdb.tmp/*")


def remove_scratch(data_dir: Path, store: LanceStore, raws: RawStore, keep_days: float) -> int:
    """Removes unfinished files that are older than these days.

    Args:
        data_dir: the data folder.
        store: the Lance tables; unfinished columns go at once if nobody writes them, and chunks of
            unfinished shards in the bucket as files do.
        raws: the verified files.
        keep_days: how long an unfinished file stays.

    Returns:
        The bytes that were freed on this machine.
    """
    since = time.time() - keep_days * _DAY_S
    freed_bytes = store.clear_staging()
    remove_old_chunks(store, since)
    for path in _list_scratch(data_dir, raws):
        freed_bytes += _remove_old(path, since)
    # Each publication is made in a folder of its own, which has the name of its lock.
    for path in data_dir.glob("publish/*"):
        with suppress(Timeout), store.lock(f"publish-{path.name}").acquire(blocking=False):
            freed_bytes += _remove_old(path, since)
    for raw in (raws, raws.archives, raws.vectors):
        for shard in raw.list_unfinished():
            with suppress(Timeout), raws.lock(shard).acquire(blocking=False):
                for path in raw.list_unfinished_files(shard):
                    freed_bytes += _remove_old(path, since)
    return freed_bytes


def _list_scratch(data_dir: Path, raws: RawStore) -> Iterator[Path]:
    for pattern in _IN_DATA:
        yield from data_dir.glob(pattern)
    for pattern in _BESIDE_RAW:
        yield from raws.folder.glob(pattern)


def _remove_old(path: Path, since: float) -> int:
    """Removes a file or a folder in which nothing has changed since then; returns its bytes."""
    with suppress(FileNotFoundError):
        inside = [path, *path.rglob("*")] if path.is_dir() else [path]
        if max(each.lstat().st_mtime for each in inside) > since:
            return 0
        if path.is_dir():
            size = measure_folder(path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            size = path.stat().st_size
            path.unlink()
        return size
    return 0
