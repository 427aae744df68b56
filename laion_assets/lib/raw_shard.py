"""Brings a shard's parquet file into the raw folder, verified, and remembers what it is.

The file is a hard link where the file system allows one, and a copy elsewhere. Beside it stands a
record in JSON of its origin and checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from laion_assets.lib.errors import ShardError
from laion_assets.lib.parquet_file import verify_parquet


@dataclass(frozen=True)
class RawShard:
    """One verified parquet file.

    Attributes:
        shard: partition key.
        source: where the file came from.
        sha256: of the content, in hexadecimal.
        file_bytes: size.
        file_rows: rows, by the footer.
        modified_ns: time of the last change; another one means another content.
    """

    shard: str
    source: str
    sha256: str
    file_bytes: int
    file_rows: int
    modified_ns: int


def raw_path(raw_dir: Path, shard: str) -> Path:
    """Returns where a shard's parquet file is kept."""
    return raw_dir / f"{shard}.parquet"


def fetch_shard(shard: str, source: Path, raw_dir: Path) -> RawShard:
    """Puts the source file in place, once it has proved to be a LAION-style parquet file.

    Raises:
        ShardError: it cannot be read, is no parquet file, or lacks a column; the file that was
            there before stays.
    """
    raw_dir.mkdir(parents=True, exist_ok=True)
    temporary = raw_dir / f".{shard}.{os.getpid()}.tmp"
    try:
        _link_or_copy(source, temporary)
        record = _verify(shard, source, temporary)
        temporary.replace(raw_path(raw_dir, shard))
        _write_record(raw_dir, record)
    except OSError as error:
        raise ShardError(f"{source}: {error.strerror}; check the file and the disk") from error
    finally:
        # A rename onto another link of the same file does nothing, and leaves the first name.
        temporary.unlink(missing_ok=True)
    return record


def read_raw_shard(shard: str, raw_dir: Path) -> RawShard:
    """Returns what `fetch_shard` recorded.

    Raises:
        ShardError: the shard was not fetched, or its file has changed since.
    """
    path = raw_path(raw_dir, shard)
    try:
        record = RawShard(**json.loads(_record_path(raw_dir, shard).read_text(encoding="utf-8")))
        status = path.stat()
    except FileNotFoundError:
        raise ShardError(f"{path}: not fetched yet; materialize `raw_shards` first") from None
    if (status.st_size, status.st_mtime_ns) != (record.file_bytes, record.modified_ns):
        raise ShardError(f"{path}: changed after it was verified; materialize `raw_shards` again")
    return record


def check_unchanged(raw: RawShard, raw_dir: Path) -> None:
    """Checks that the file is still the one of the record, after it was read.

    Raises:
        ShardError: another file was fetched meanwhile.
    """
    if read_raw_shard(raw.shard, raw_dir) != raw:
        raise ShardError(f"{raw.source}: fetched anew while it was loaded; materialize it again")


def _link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(strict=True), target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _verify(shard: str, source: Path, path: Path) -> RawShard:
    # The time is taken first: what is written into a linked file from here on shows by it.
    status = path.stat()
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    file_rows = verify_parquet(path, str(source))
    return RawShard(shard, str(source), sha256, status.st_size, file_rows, status.st_mtime_ns)


def _record_path(raw_dir: Path, shard: str) -> Path:
    return raw_dir / f"{shard}.json"


def _write_record(raw_dir: Path, record: RawShard) -> None:
    path = _record_path(raw_dir, record.shard)
    temporary = raw_dir / f".{record.shard}.{os.getpid()}.json.tmp"
    temporary.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    temporary.replace(path)
