"""Locks between processes of one machine; the kernel holds them, so they die with a process.

Those of the Lance tables are held by Postgres if that is set (`LAION_CATALOG`): `postgres.py`.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from filelock import FileLock

_ALL_LOCKS = Path("/proc/locks")
_LOCK = re.compile(r"^\d+: (?:FLOCK|POSIX|OFDLCK) .*? (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.M)


class Lock(AbstractContextManager[object], Protocol):
    """What a process holds alone, until it leaves the block or ends."""

    def acquire(self, *, blocking: bool = True) -> AbstractContextManager[object]:
        """Takes the lock; raises `filelock.Timeout` if it is taken and this is not to wait."""


def lock(folder: Path, name: str) -> FileLock:
    """Returns a lock on something in a folder of the data; it waits as long as it takes.

    It lies beside the folder, in `locks`: what is in the folder is the data's alone.
    """
    return FileLock(lock_path(folder, name))


def find_holders(folder: Path) -> dict[int, list[str]]:
    """Returns the processes that hold locks on files in a folder, and the names of these files.

    Only Linux says who holds a lock; elsewhere there are none.
    """
    try:
        held = _LOCK.findall(_ALL_LOCKS.read_text(encoding="ascii"))
    except OSError:
        return {}
    # Device numbers of some file systems differ between `stat` and the kernel's list.
    names = {path.stat().st_ino: path.name for path in folder.glob("*.lock")}
    found: dict[int, list[str]] = {}
    for pid, inode in held:
        if int(inode) in names:
            found.setdefault(int(pid), []).append(names[int(inode)])
    return found


def lock_path(folder: Path, name: str) -> Path:
    """Returns the file of a lock on something in a folder; makes the folder of the locks."""
    locks = folder.with_name("locks")
    locks.mkdir(parents=True, exist_ok=True)
    return locks / f"{folder.name}-{name}.lock"


def lock_file(path: Path) -> FileLock:
    """Returns a lock on a file of its own."""
    return FileLock(path)


def lock_shard(folder: Path, shard: str) -> FileLock:
    """Returns a lock on one shard's data in a folder."""
    return lock(folder, name_digest(shard))


def name_digest(shard: str) -> str:
    """Returns a short name of a shard, for files about it.

    With a suffix, the shard's own name may be longer than a file's name can be.
    """
    return hashlib.sha256(shard.encode()).hexdigest()[:24]
