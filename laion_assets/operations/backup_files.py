"""The files of a backup: its record, and how one is copied and compared."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.releases.manifest import Record

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
        copied_bytes: what was read from the data folder for it; the rest was there from the backup
            before, or is linked.
    """

    made_at: datetime
    data_dir: str
    versions: dict[str, str]
    releases: tuple[str, ...]
    files: tuple[BackedUpFile, ...]
    copied_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.file_bytes for file in self.files)


def read_backup(folder: Path) -> Backup | None:
    """Returns the record of a backup; None if the folder is none."""
    try:
        return Backup.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


def check_local(settings: Settings) -> None:
    """Refuses tables in a bucket, which backups do not have.

    Raises:
        LaionError: the tables are in a bucket.
    """
    if settings.bucket is not None:
        raise LaionError(
            f"LAION_DATA_DIR: {settings.bucket}: backups are of folders alone; turn on the "
            "versioning of the bucket, or copy it with the tools of the store",
            code="backup-of-bucket",
        )


def copy_file(source: Path, made: Path, name: str) -> BackedUpFile:
    """Copies a file and reads the copy again.

    Args:
        source: the file.
        made: the folder that gets it.
        name: its path there, with `/`.

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
    copied = describe_file(target, made)
    if copied.sha256 != digest.hexdigest():
        raise LaionError(
            f"{target}: is not the same as {source} after it was copied; check the disk",
            code="backup-copy-differs",
        )
    return copied


def link_file(source: Path, made: Path, name: str) -> BackedUpFile | None:
    """Links a file, and reads it; None if the disk is another one, or has no links."""
    target = made / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return None
    return describe_file(target, made)


def describe_file(path: Path, made: Path) -> BackedUpFile:
    """Reads a file of a backup."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = path.relative_to(made).as_posix()
    return BackedUpFile(path=name, file_bytes=path.stat().st_size, sha256=sha256)
