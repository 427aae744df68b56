"""Copies everything that cannot be had again to another folder, while loads and searches go on.

A backup has the layout of the data folder, so it can be used in place of one. It is made under a
temporary name, verified, and then renamed: a folder with `backup.json` in it is whole. DuckDB is
copied under its read lock, so loads wait for that long; Lance under the lock of releases, so that
nothing is cleaned up meanwhile. Raw files are links where the disk is the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.names.sheet_download import is_link
from laion_assets.releases.catalog import list_releases, open_released
from laion_assets.releases.manifest import Record, find_versions
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import check_space, measure_folder
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.sql import load_sql
from laion_assets.stores.whole_folder import recover_folder, replace_folder

if TYPE_CHECKING:
    from laion_assets.settings import Settings

RECORD = "backup.json"
_BLOCK_BYTES = 1 << 22


class BackedUpFile(Record):
    """A file of a backup.

    Attributes:
        path: from the folder of the backup, with `/`.
        file_bytes: its size.
        sha256: of its content, in hexadecimal.
    """

    path: str
    file_bytes: int
    sha256: str


class Backup(Record):
    """What a backup holds; `backup.json` in its folder.

    Attributes:
        made_at: when, in UTC.
        data_dir: the folder that was copied.
        versions: of the code and of the libraries that made it.
        releases: tags, the newest first.
        files: all of them, by path.
    """

    made_at: datetime
    data_dir: str
    versions: dict[str, str]
    releases: tuple[str, ...]
    files: tuple[BackedUpFile, ...]

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.file_bytes for file in self.files)


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
    destination = destination.absolute()
    _check_place(destination)
    if not settings.database.exists():
        raise LaionError(
            f"{settings.database}: nothing to back up; run `laion backfill` first",
            code="backup-of-nothing",
        )
    with LanceStore(settings.lance_dir).lock("backup"), _name_errors(destination):
        recover_folder(destination)
        check_space(destination.parent, _estimate(settings), f"backup to {destination}")
        with replace_folder(destination) as made:
            return _fill(settings, made)


def read_backup(folder: Path) -> Backup | None:
    """Returns the record of a backup; None if the folder is none."""
    try:
        return Backup.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


def _check_place(destination: Path) -> None:
    if destination.exists() and read_backup(destination) is None:
        raise LaionError(
            f"{destination}: exists, and is not a backup; choose another place",
            code="backup-place-taken",
        )


def _estimate(settings: Settings) -> int:
    """Returns what is copied at most; raw files may be linked."""
    folders = (settings.lance_dir, settings.raw_dir)
    return settings.database.stat().st_size + sum(measure_folder(f) for f in folders if f.exists())


def _fill(settings: Settings, made: Path) -> Backup:
    """Copies everything, verifies it, and writes the record."""
    files: list[BackedUpFile] = []
    store, copy = LanceStore(settings.lance_dir), LanceStore(made / "lance")
    with store.lock("release"):
        with Database(settings.database).read():
            # No writer has the file; one that was killed left a log, without which it is old.
            logged = settings.database.with_name(f"{settings.database.name}.wal")
            files += [_copy(p, made, p.name) for p in (settings.database, logged) if p.exists()]
        _copy_lance(store, copy)
    _check_database(made / settings.database.name)
    releases = _check_lance(store, copy)
    files += [_describe(path, made) for path in _list_files(copy.folder)]
    files += _copy_raw(RawStore(settings.raw_dir), made)
    files += _copy_sheets(settings, made)
    backup = Backup(
        made_at=datetime.now(tz=UTC),
        data_dir=str(settings.data_dir),
        versions=find_versions(),
        releases=releases,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    (made / RECORD).write_text(backup.model_dump_json(indent=2), encoding="utf-8")
    return backup


def _copy_lance(store: LanceStore, copy: LanceStore) -> None:
    """Copies the tagged versions and the newest one of each table, whoever writes meanwhile."""
    for table in store.list_tables():
        if store.find(table) is None:
            continue
        source, target = Path(store.uri(table)), Path(copy.uri(table))
        # The versions first: all that they name is there by then, and stays.
        named = [*_list_files(source / "_versions"), *_list_files(source / "_refs")]
        # A version that is being written has such a name, and loses it at once.
        paths = [path for path in named if not path.name.startswith(".")]
        seen = set(named)
        paths += [path for path in _list_files(source) if path not in seen and _is_data(path)]
        for path in paths:
            _copy(path, target, path.relative_to(source).as_posix())
        # What nothing names but an old version, or a commit on its way, is not worth the room.
        copy.open(table).cleanup_old_versions(
            timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
        )


def _is_data(path: Path) -> bool:
    # A version or a tag that came after the list names data that may have come after it, too; and
    # what a writer has not finished yet has a name of its own.
    is_temporary = path.name.startswith(".") or "#" in path.name
    return not is_temporary and not {"_versions", "_refs"} & set(path.parts)


def _copy_raw(store: RawStore, made: Path) -> Iterator[BackedUpFile]:
    for shard in sorted(store.list_shards()):
        yield from _copy_raw_shard(store, shard, made)


def _copy_raw_shard(store: RawStore, shard: str, made: Path) -> list[BackedUpFile]:
    """Copies a verified file and its record; nothing of one that is being replaced.

    Raises:
        LaionError: the file is not the one of its record.
    """
    path, copy = store.path(shard), RawStore(made / "raw")
    while (record := store.find(shard)) is not None:
        copied = _link_or_copy(path, made, f"raw/{path.name}")
        if copied.sha256 == record.sha256:
            kept = _describe(copy.write_record(record), made)
            return [copied, kept, *_copy_beside(store, record, made)]
        (made / copied.path).unlink()
        # Else it was replaced while it was copied.
        if store.find(shard) == record:
            raise LaionError(
                f"{path}: has changed since it was verified; materialize `raw_shards` again",
                code="backup-raw-file-changed",
            )
    return []


def _copy_beside(store: RawStore, record: RawShard, made: Path) -> Iterator[BackedUpFile]:
    path = store.archive_path(record.shard)
    if record.archive_sha256 and path.exists():
        yield _link_or_copy(path, made, f"raw/archives/{path.name}")
    path = store.vectors_path(record.shard)
    if record.vectors_sha256 and path.exists():
        yield _link_or_copy(path, made, f"raw/vectors/{path.name}")


def _copy_sheets(settings: Settings, made: Path) -> Iterator[BackedUpFile]:
    """Copies the lists of names that are files here; the names of all are in DuckDB."""
    for kind, location in settings.sheets.items():
        if not is_link(location) and Path(location).is_file():
            yield _copy(Path(location), made, f"sheets/{kind}.csv")


def _check_database(path: Path) -> None:
    """Checks that the copy opens, and has the rows of each shard."""
    with Database(path).read() as connection:
        rows = connection.execute(load_sql("lance_images/select_checksums")).fetchall()
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


def _check_lance(store: LanceStore, copy: LanceStore) -> tuple[str, ...]:
    """Checks that the copy has every release with all its rows; returns their tags."""
    manifests = list(list_releases(copy))
    expected = [manifest.release for manifest in list_releases(store)]
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
    return tuple(manifest.release for manifest in manifests)


def _list_files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _link_or_copy(source: Path, made: Path, name: str) -> BackedUpFile:
    """Links a file on the same disk that nobody else has a link to; copies any other.

    A raw file may be a link to the user's own, which may be written into.
    """
    target = made / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_nlink > 1:
        return _copy(source, made, name)
    try:
        os.link(source, target)
    except OSError:
        return _copy(source, made, name)
    return _describe(target, made)


def _copy(source: Path, made: Path, name: str) -> BackedUpFile:
    """Copies a file and reads the copy again.

    Raises:
        LaionError: the copy has another content.
    """
    target = made / name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(_BLOCK_BYTES):
            digest.update(block)
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    # A raw file is known by its time, too.
    shutil.copystat(source, target)
    copied = _describe(target, made)
    if copied.sha256 != digest.hexdigest():
        raise LaionError(
            f"{target}: is not the same as {source} after it was copied; check the disk",
            code="backup-copy-differs",
        )
    return copied


def _describe(path: Path, made: Path) -> BackedUpFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = path.relative_to(made).as_posix()
    return BackedUpFile(path=name, file_bytes=path.stat().st_size, sha256=sha256)


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
