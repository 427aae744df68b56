"""Puts a backup in the place of the data folder's contents.

All files are copied to a hidden folder on the disk of the data, compared with the record of the
backup, and opened. Only then are they moved to their places, under the locks of writers. A restore
that was killed before that has changed nothing; one that was killed while it moved is finished by
the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.operations.backup import check_database, check_lance
from laion_assets.operations.backup_files import RECORD, Backup, check_local, copy_file, read_backup
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import list_loaded
from laion_assets.stores.sqlite_file import sync

if TYPE_CHECKING:
    from laion_assets.settings import Settings

# While it is copied; once it is whole; and what was there before.
PART, WHOLE, OLD = ".restore.part", ".restore.whole", ".restore.old"
# What a backup replaces. Its lists of names, and what declares columns, are added where there are
# none.
REPLACED = ("laion.duckdb", "laion.duckdb.wal", "lance", "raw")


@dataclass(frozen=True)
class Restoration:
    """What was restored.

    Attributes:
        backup: the record of the backup.
        shards: in DuckDB, by name.
    """

    backup: Backup
    shards: tuple[str, ...]


def restore(settings: Settings, source: Path, *, is_replacing: bool = False) -> Restoration:
    """Restores a backup into the data folder; finishes one that was cut off while it moved files.

    Args:
        settings: where to.
        source: the folder of the backup.
        is_replacing: whether data that are there may be lost.

    Raises:
        LaionError: the source is no backup or is damaged, or data are there.
        DiskSpaceError: the disk has no room for it.
    """
    check_local(settings)
    source, data = source.absolute(), settings.data_dir
    backup = read_backup(source)
    if backup is None:
        raise LaionError(
            f"{source}: is not a backup; name a folder that `laion backup` made",
            code="restore-of-no-backup",
        )
    with LanceStore.of(settings).lock("backup"):
        is_cut_off = (data / WHOLE).is_dir()
        moved = read_backup(data / WHOLE) if is_cut_off else backup
        if not is_cut_off:
            _check_place(data, is_replacing=is_replacing)
            check_space(data, LEAST_BYTES + backup.total_bytes, f"restoring {source}")
            with _name_errors(source, data):
                _fill(source, backup, data)
        with _name_errors(source, data), _stop_writers(settings):
            _put_in_place(data)
    if moved != backup:
        # Now the other one is there, as it was meant to be.
        return restore(settings, source, is_replacing=is_replacing)
    with Database(settings.database).read() as connection:
        shards = tuple(sorted(list_loaded(connection)))
    return Restoration(backup, shards)


def _check_place(data: Path, *, is_replacing: bool) -> None:
    found = [name for name in REPLACED if _is_something(data / name)]
    if found and not is_replacing:
        raise LaionError(
            f"{data}: has {', '.join(found)} already; set LAION_DATA_DIR to another folder, or "
            "add --replace to lose them",
            code="restore-place-taken",
        )


def _is_something(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _fill(source: Path, backup: Backup, data: Path) -> None:
    """Copies all files, verifies them, and calls the copy whole."""
    part = data / PART
    # Of restores that were killed, before they moved anything and after they had moved all.
    for left in (part, data / OLD):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for file in backup.files:
            copied = copy_file(source / file.path, part, file.path)
            if copied != file:
                raise LaionError(
                    f"{source / file.path}: is not as {RECORD} says, so nothing was restored; use "
                    "another backup",
                    code="restore-source-damaged",
                )
        check_database(part / "laion.duckdb")
        check_lance(LanceStore(part / "lance"), backup.releases)
        # Locks of the checks.
        shutil.rmtree(part / "locks", ignore_errors=True)
        (part / RECORD).write_bytes((source / RECORD).read_bytes())
        sync(part)
        part.rename(data / WHOLE)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put_in_place(data: Path) -> None:
    """Moves everything to its place; each step does nothing where it was done before."""
    whole, old = data / WHOLE, data / OLD
    old.mkdir(exist_ok=True)
    # First all that is to go, so that a table is never read with a log of another.
    if not (old / ".all").exists():
        for name in REPLACED:
            if (data / name).exists():
                (data / name).rename(old / name)
        (old / ".all").touch()
    for name in REPLACED:
        if (whole / name).exists():
            (whole / name).rename(data / name)
    for path in sorted(whole.rglob("*")):
        place = data / path.relative_to(whole)
        if path.is_file() and path != whole / RECORD and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    sync(data)
    # The last step that counts.
    whole.rename(old / whole.name)
    shutil.rmtree(old)


@contextmanager
def _stop_writers(settings: Settings) -> Iterator[None]:
    """Waits for the writers and readers of DuckDB and for releases, and lets none begin."""
    store = LanceStore.of(settings)
    with store.lock("release"), Database(settings.database).hold():
        yield


@contextmanager
def _name_errors(source: Path, data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or data
        raise LaionError(
            f"restoring {source}: {place}: {error.strerror}; check the disk, then run it again",
            code="restore-failed",
        ) from error
