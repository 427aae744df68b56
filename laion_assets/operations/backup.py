"""Copies everything that cannot be had again to another folder, while loads and searches go on.

A backup has the layout of the data folder, so it can be used in place of one. It is made under a
temporary name, verified, and then renamed: a folder with `backup.json` in it is whole. DuckDB is
copied under its read lock, so loads wait for that long; Lance under the lock of releases, so that
nothing is cleaned up meanwhile. Raw files are links where the disk is the same. What the backup
before has already becomes a link to that, so a second backup copies only what is new; every file is
read again and compared with what it has to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.curation.curation_file import JoinedColumn, read_curation
from laion_assets.curation.place import CurationError
from laion_assets.errors import LaionError
from laion_assets.names.sheet_download import is_link
from laion_assets.operations.backup_files import (
    RECORD,
    BackedUpFile,
    Backup,
    check_local,
    copy_file,
    describe_file,
    link_file,
    read_backup,
)
from laion_assets.releases.catalog import list_releases, open_released
from laion_assets.releases.manifest import find_versions
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import check_space
from laion_assets.stores.lance_files import (
    is_immutable,
    list_files,
    list_kept_versions,
    list_tag_files,
)
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.sql import load_sql
from laion_assets.stores.whole_folder import recover_folder, replace_folder

if TYPE_CHECKING:
    from laion_assets.settings import Settings


class _Before:
    """The backup that is there already, of which equal files are taken over as links."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        record = read_backup(folder)
        self._files = {file.path: file for file in record.files} if record else {}

    def has(self, name: str, file_bytes: int) -> bool:
        """Returns whether it has a file of that name and size."""
        known = self._files.get(name)
        return known is not None and known.file_bytes == file_bytes

    def take(self, made: Path, name: str, sha256: str | None = None) -> BackedUpFile | None:
        """Links a file of before; None if there is none as its record says.

        Args:
            made: the new backup.
            name: path of the file in both.
            sha256: what it has to have; None: what it had.
        """
        known = self._files.get(name)
        if known is None or sha256 not in (None, known.sha256):
            return None
        if not (self._folder / name).is_file():
            return None
        taken = link_file(self._folder / name, made, name)
        if taken is not None and taken != known:
            # The disk lost something of it; what is in the data folder is copied again.
            (made / name).unlink()
            return None
        return taken


class _Making:
    """A backup on its way."""

    def __init__(self, made: Path, before: _Before) -> None:
        self.made = made
        self.before = before
        self.files: list[BackedUpFile] = []
        self.copied_bytes = 0

    def copy(self, source: Path, name: str) -> BackedUpFile:
        """Copies a file from the data folder."""
        copied = copy_file(source, self.made, name)
        self.copied_bytes += copied.file_bytes
        self.files.append(copied)
        return copied

    def take_or_copy(self, source: Path, name: str) -> None:
        """Takes a file with one content for ever from the backup before, else copies it."""
        if not self.before.has(name, source.stat().st_size):
            self.copy(source, name)
        elif (taken := self.before.take(self.made, name)) is not None:
            self.files.append(taken)
        else:
            self.copy(source, name)


def back_up(settings: Settings, destination: Path) -> Backup:
    """Makes a backup; one of before in the same place is replaced when the new one is whole.

    Args:
        settings: what to copy.
        destination: the folder of the backup.

    Raises:
        LaionError: the place is taken by something else, or there is nothing to copy, or a copy is
            not what was copied.
        DiskSpaceError: the disk has no room for it.
    """
    check_local(settings)
    destination = destination.absolute()
    _check_place(settings, destination)
    if not settings.database.exists():
        raise LaionError(
            f"{settings.database}: nothing to back up; run `laion backfill` first",
            code="backup-of-nothing",
        )
    with LanceStore.of(settings).lock("backup"), _name_errors(destination):
        recover_folder(destination)
        before = _Before(destination)
        needed = _estimate(settings, before)
        check_space(destination.parent, needed, f"backup to {destination}")
        with replace_folder(destination) as made:
            return _fill(settings, _Making(made, before))


def _check_place(settings: Settings, destination: Path) -> None:
    if destination.resolve().is_relative_to(settings.data_dir.resolve()):
        raise LaionError(
            f"{destination}: is in the data folder, and would be lost with it; choose another "
            "place, best on another disk",
            code="backup-in-data-folder",
        )
    if destination.exists() and read_backup(destination) is None:
        raise LaionError(
            f"{destination}: exists, and is not a backup; choose another place",
            code="backup-place-taken",
        )


def _estimate(settings: Settings, before: _Before) -> int:
    """Returns what is copied at most; raw files may be linked."""
    data, needed = settings.data_dir, settings.database.stat().st_size
    for folder in (settings.lance_dir, settings.raw_dir):
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                size = path.lstat().st_size
                if path.is_file() and not before.has(path.relative_to(data).as_posix(), size):
                    needed += size
    return needed


def _fill(settings: Settings, making: _Making) -> Backup:
    """Copies everything, verifies it, and writes the record."""
    made = making.made
    store, copy = LanceStore.of(settings), LanceStore(made / "lance")
    with store.lock("release"):
        with Database(settings.database).read():
            # No writer has the file; one that was killed left a log, without which it is old.
            logged = settings.database.with_name(f"{settings.database.name}.wal")
            for path in (settings.database, logged):
                if path.exists():
                    making.copy(path, path.name)
        _copy_lance(store, making)
    check_database(made / settings.database.name)
    releases = check_lance(copy, [manifest.release for manifest in list_releases(store)])
    _copy_raw(RawStore(settings.raw_dir), making)
    _copy_sheets(settings, making)
    _copy_curation(settings, making)
    backup = Backup(
        made_at=datetime.now(tz=UTC),
        data_dir=str(settings.data_dir),
        versions=find_versions(),
        releases=releases,
        files=tuple(sorted(making.files, key=lambda file: file.path)),
        copied_bytes=making.copied_bytes,
    )
    (made / RECORD).write_text(backup.model_dump_json(indent=2), encoding="utf-8")
    return backup


def _copy_lance(store: LanceStore, making: _Making) -> None:
    """Copies the tagged versions and the newest one of each table, whoever writes meanwhile.

    Nothing that a version needs is ever changed, and nothing is removed under the lock of releases.
    The list of removals comes with them: without it the copy would show what is hidden here.
    """
    if store.removals.path.exists():
        making.copy(store.removals.path, f"lance/{store.removals.path.name}")
    for table in store.list_tables():
        # Who makes a subset removes versions of it under a lock of its own.
        with store.lock(f"subset-{table}"):
            _copy_table(store, table, making)


def _copy_table(store: LanceStore, table: str, making: _Making) -> None:
    # Opened once: what is committed later is not seen.
    if (dataset := store.find(table)) is None:
        return
    folder = Path(store.uri(table))
    names = list_files(dataset, list_kept_versions(dataset)) | list_tag_files(dataset)
    for name in sorted(names):
        place = f"lance/{folder.name}/{name}"
        if is_immutable(name):
            making.take_or_copy(folder / name, place)
        else:
            making.copy(folder / name, place)


def _copy_raw(store: RawStore, making: _Making) -> None:
    for shard in sorted(store.list_shards()):
        _copy_raw_shard(store, shard, making)


def _copy_raw_shard(store: RawStore, shard: str, making: _Making) -> None:
    """Copies a verified file and its record; nothing of one that is being replaced.

    Raises:
        LaionError: the file is not the one of its record.
    """
    path, copy = store.path(shard), RawStore(making.made / "raw")
    while (record := store.find(shard)) is not None:
        copied, copied_bytes = _bring_raw(path, making, record.file_sha256)
        if copied.sha256 == record.file_sha256:
            kept = describe_file(copy.write_record(record), making.made)
            making.files += [copied, kept]
            making.copied_bytes += copied_bytes
            _copy_beside(store, record, making)
            return
        (making.made / copied.path).unlink()
        # Else it was replaced while it was copied.
        if store.find(shard) == record:
            raise LaionError(
                f"{path}: has changed since it was verified; materialize `raw_shards` again",
                code="backup-raw-file-changed",
            )


def _bring_raw(path: Path, making: _Making, sha256: str) -> tuple[BackedUpFile, int]:
    """Takes a raw file from the backup before, links it or copies it; returns the bytes copied.

    It is linked where it is on the same disk and nobody else has a link to it: a raw file may be a
    link to the user's own, which may be written into.
    """
    name = f"raw/{path.name}"
    taken = making.before.take(making.made, name, sha256)
    # One that was copied then has the time of then, which the record may not have.
    if taken is not None and (making.made / name).stat().st_mtime_ns == path.stat().st_mtime_ns:
        return taken, 0
    (making.made / name).unlink(missing_ok=True)
    if path.stat().st_nlink == 1 and (linked := link_file(path, making.made, name)) is not None:
        return linked, 0
    copied = copy_file(path, making.made, name)
    return copied, copied.file_bytes


def _copy_beside(store: RawStore, record: RawShard, making: _Making) -> None:
    for place, path, sha256 in (
        ("archives", store.archive_path(record.shard), record.archive_sha256),
        ("vectors", store.vectors_path(record.shard), record.vectors_sha256),
    ):
        if sha256 is None or not path.exists():
            continue
        name = f"raw/{place}/{path.name}"
        taken = making.before.take(making.made, name, sha256)
        if taken is None and path.stat().st_nlink == 1:
            taken = link_file(path, making.made, name)
        if taken is None:
            making.copy(path, name)
        else:
            making.files.append(taken)


def _copy_sheets(settings: Settings, making: _Making) -> None:
    """Copies the lists of names that are files here; the names of all are in DuckDB."""
    for kind, location in settings.sheets.items():
        if not is_link(location) and Path(location).is_file():
            making.copy(Path(location), f"sheets/{kind}.csv")


def _copy_curation(settings: Settings, making: _Making) -> None:
    """Copies what declares columns and subsets, and the files beside it that columns come from."""
    declared = settings.curation_file
    if not declared.is_file():
        return
    making.copy(declared, "curation.toml")
    # One with a mistake is kept as it is.
    with suppress(CurationError):
        for column in read_curation(declared).columns:
            if isinstance(column, JoinedColumn) and column.path.is_relative_to(declared.parent):
                for path in _list_files(column.path):
                    making.copy(path, str(path.relative_to(declared.parent)))


def _list_files(path: Path) -> list[Path]:
    """Returns a file, or the files of a folder such as a Lance table; none if it is not there."""
    return [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]


def check_database(path: Path) -> None:
    """Checks that the copy opens, and has the rows of each shard."""
    with Database(path).read() as connection:
        rows = connection.execute(load_sql("stores/sum_images")).fetchall()
        found = {shard: count for shard, count, _ in rows}
        loads = connection.execute(load_sql("lance_images/select_image_counts")).fetchall()
    wrong = [shard for shard, count in loads if count != found.get(shard, 0)]
    Path(f"{path}.lock").unlink(missing_ok=True)
    if wrong:
        raise LaionError(
            f"{path.name}: `images` does not have the rows of shard {wrong[0]}; materialize "
            "`images` of it again, then make the backup",
            code="backup-rows-missing",
        )


def check_lance(copy: LanceStore, expected: Iterable[str]) -> tuple[str, ...]:
    """Checks that a copy has these releases, with all rows and files; returns their tags."""
    manifests = list(list_releases(copy))
    if missing := set(expected) - {manifest.release for manifest in manifests}:
        raise LaionError(
            f"{copy.folder}: release {min(missing)} was not copied; try again",
            code="backup-without-release",
        )
    for manifest in manifests:
        for table, count in manifest.row_counts.items():
            if open_released(copy, manifest, table).count_rows() != count:
                raise LaionError(
                    f"{copy.folder}: {table} of {manifest.release} is incomplete; try again",
                    code="backup-release-not-whole",
                )
    for table in copy.list_tables():
        dataset = copy.open(table)
        for name in list_files(dataset, list_kept_versions(dataset)):
            if not (Path(dataset.uri) / name).is_file():
                raise LaionError(
                    f"{dataset.uri}: has no {name}, which a version of it needs; try again",
                    code="backup-without-file",
                )
    return tuple(manifest.release for manifest in manifests)


@contextmanager
def _name_errors(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or destination
        raise LaionError(
            f"backup to {destination}: {place}: {error.strerror}; "
            "what was there before is unchanged",
            code="backup-place-failed",
        ) from error
