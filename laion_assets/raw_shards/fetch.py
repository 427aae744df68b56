"""Brings a shard's parquet file into the raw folder, verified, and remembers what it is.

A local file is hard-linked where the file system allows it, and copied elsewhere; one that is far
away is downloaded. Beside the file stands a record in JSON of its origin and checksum.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path

from laion_assets.errors import GoneError, LaionError, ShardError, first_line
from laion_assets.raw_shards.sources.bucket import download_object
from laion_assets.raw_shards.sources.download import download_url
from laion_assets.raw_shards.sources.files import link_file
from laion_assets.raw_shards.sources.listing import find_shard
from laion_assets.raw_shards.sources.part import Part
from laion_assets.raw_shards.sources.source import (
    Report,
    Source,
    SourceRules,
    hide_secrets,
    tell_nobody,
)
from laion_assets.raw_shards.sources.urls import SCHEMES
from laion_assets.raw_shards.verify import ParquetFacts, verify_parquet
from laion_assets.stores.locks import lock_shard
from laion_assets.stores.reasons import find_system_reason

# What `fetch_shard` leaves in the folder: the verified file, its record, and parts of a download.
RAW_NAME = re.compile(
    r"([^.].*)\.(?:parquet|json)|\.(.+)\.(?:part|part-origin|link|record)", flags=re.DOTALL
)


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
        is_utf8: whether its texts are UTF-8; if not they are repaired as they are loaded.
        version: what the source called this content; None if it has no word for it.
        fetched_at: when it came, or was found unchanged in another place; ISO 8601, UTC.
    """

    shard: str
    source: str
    sha256: str
    file_bytes: int
    file_rows: int
    modified_ns: int
    is_utf8: bool = True
    version: str | None = None
    fetched_at: str = field(default="", compare=False)


def raw_path(raw_dir: Path, shard: str) -> Path:
    """Returns where a shard's parquet file is kept."""
    return raw_dir / f"{shard}.parquet"


def fetch_shard(
    source: Source,
    raw_dir: Path,
    rules: SourceRules | None = None,
    report: Report = tell_nobody,
) -> RawShard:
    """Puts the file in place, once it has proved to be a LAION-style parquet file.

    A remote file that is unchanged is not fetched again, as long as the one that is here is whole.

    Args:
        source: where the file is.
        raw_dir: folder of the verified files.
        rules: how to talk to servers.
        report: is told how far a download has come.

    Returns:
        Its record; that of before, itself, if nothing was fetched.

    Raises:
        ShardError: it cannot be had, is no parquet file, lacks a column, or is another file than
            was promised; the file that was there before stays.
    """
    with _name_disk_errors(source, raw_dir):
        raw_dir.mkdir(parents=True, exist_ok=True)
        # One process at a time: the others find what it brought.
        with lock_shard(raw_dir, source.shard):
            if source.scheme:
                return _fetch_remote(source, raw_dir, rules or SourceRules(), report)
            return _fetch_local(source, raw_dir)


def bring_shard(
    locations: Iterable[str],
    shard: str,
    raw_dir: Path,
    rules: SourceRules,
    report: Report = tell_nobody,
) -> tuple[RawShard, bool]:
    """Fetches a shard from wherever the locations have it; one that is gone everywhere stays.

    Returns:
        Its record, and whether no source has it any more.

    Raises:
        ShardError: it cannot be had, and never was; or the sources do not agree.
    """
    locations = tuple(locations)
    try:
        source = find_shard(locations, shard, rules)
        if source is not None:
            return fetch_shard(source, raw_dir, rules, report), False
        places = ", ".join(map(hide_secrets, locations))
        raise GoneError(
            f"shard {shard!r} is not among {places}; put its file there or set LAION_SHARDS"
        )
    except GoneError:
        if known := _find_whole(shard, raw_dir):
            return known, True
        raise


def find_raw_shard(shard: str, raw_dir: Path) -> RawShard | None:
    """Returns what `fetch_shard` recorded; None if there is no such file as it recorded.

    The content is not read: a file with another time counts as another one.
    """
    try:
        record, is_same = _read_record(shard, raw_dir)
    except ShardError:
        return None
    return record if is_same else None


def read_raw_shard(shard: str, raw_dir: Path) -> RawShard:
    """Returns what `fetch_shard` recorded.

    A file that was copied without its time has the same content still: then the record gets the
    new time.

    Raises:
        ShardError: the shard was not fetched, or its file has changed since.
    """
    record, is_same = _read_record(shard, raw_dir)
    if is_same:
        return record
    path = raw_path(raw_dir, shard)
    status = path.stat()
    if status.st_size != record.file_bytes or _sha256(path) != record.sha256:
        raise ShardError(f"{path}: changed after it was verified; materialize `raw_shards` again")
    record = replace(record, modified_ns=status.st_mtime_ns)
    # Whoever may only read compares the content again the next time.
    with suppress(OSError):
        _write_record(raw_dir, record)
    return record


def _read_record(shard: str, raw_dir: Path) -> tuple[RawShard, bool]:
    """Returns the record of a file, and whether size and time are still those of the record."""
    path = raw_path(raw_dir, shard)
    try:
        record = RawShard(**json.loads(_record_path(raw_dir, shard).read_text(encoding="utf-8")))
        status = path.stat()
    except FileNotFoundError:
        raise ShardError(f"{path}: not fetched yet; materialize `raw_shards` first") from None
    except (ValueError, TypeError):
        reason = "its record cannot be read"
        raise ShardError(f"{path}: {reason}; materialize `raw_shards` again") from None
    return record, (status.st_size, status.st_mtime_ns) == (record.file_bytes, record.modified_ns)


def list_raw_shards(raw_dir: Path) -> set[str]:
    """Returns the shards of which a file, a record or a part of a download is there."""
    names = (path.name for path in raw_dir.glob("*"))
    return {match[1] or match[2] for match in map(RAW_NAME.fullmatch, names) if match}


def remove_raw_shard(raw_dir: Path, shard: str) -> None:
    """Removes the file of a shard, its record, and what there is of a download."""
    if not raw_dir.exists():
        return
    with lock_shard(raw_dir, shard):
        Part(raw_dir, shard).remove()
        for temporary in (_link_path(raw_dir, shard), _new_record_path(raw_dir, shard)):
            temporary.unlink(missing_ok=True)
        # The file is the last that goes: it alone says whether it is a sample.
        _record_path(raw_dir, shard).unlink(missing_ok=True)
        raw_path(raw_dir, shard).unlink(missing_ok=True)


def check_unchanged(raw: RawShard, raw_dir: Path) -> None:
    """Checks that the file is still the one of the record, after it was read.

    Raises:
        ShardError: another file was fetched meanwhile.
    """
    if read_raw_shard(raw.shard, raw_dir).sha256 != raw.sha256:
        raise ShardError(f"{raw.source}: fetched anew while it was loaded; materialize it again")


def _fetch_local(source: Source, raw_dir: Path) -> RawShard:
    temporary = _link_path(raw_dir, source.shard)
    try:
        link_file(source, temporary)
        return _install(source, temporary, raw_dir, find_raw_shard(source.shard, raw_dir))
    finally:
        # A rename onto another link of the same file does nothing, and leaves the first name.
        temporary.unlink(missing_ok=True)


def _fetch_remote(source: Source, raw_dir: Path, rules: SourceRules, report: Report) -> RawShard:
    known = _find_whole(source.shard, raw_dir)
    if known and is_same_content(known, source):
        return known
    part = Part(raw_dir, source.shard)
    if source.scheme in SCHEMES:
        is_same_place = known is not None and known.source == source.name
        # A server that has the known file still cannot be told so if another one was promised.
        is_wanted = source.sha256 is None
        known_version = known.version if known and is_same_place and is_wanted else None
        answer = download_url(source, part, rules, known_version, report)
    else:
        answer = download_object(source, part, rules, report)
    if answer is None and known:
        return known
    try:
        return _install(answer or source, part.path, raw_dir, known)
    finally:
        part.remove()


def is_same_content(known: RawShard, source: Source) -> bool:
    """Returns whether the source says that it has the very file that is here."""
    if source.sha256:
        return source.sha256 == known.sha256
    return source.version is not None and (source.version, source.name) == (
        known.version,
        known.source,
    )


def _find_whole(shard: str, raw_dir: Path) -> RawShard | None:
    """Returns the record of a file whose content still is what was verified."""
    try:
        known = read_raw_shard(shard, raw_dir)
    except ShardError:
        return None
    return known if _sha256(raw_path(raw_dir, shard)) == known.sha256 else None


def _install(source: Source, path: Path, raw_dir: Path, known: RawShard | None) -> RawShard:
    """Verifies a file and renames it to its place."""
    # The time is taken first: what is written into a linked file from here on shows by it.
    status = path.stat()
    with ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(_sha256, path)
        # What was verified before is the same still, if its checksum is.
        if known and hashing.result() == known.sha256:
            facts = ParquetFacts(known.file_rows, known.is_utf8)
        else:
            facts = verify_parquet(path, source.name)
        sha256 = hashing.result()
    if source.sha256 and sha256 != source.sha256:
        raise ShardError(
            f"{source.name}: SHA-256 is {sha256}, and should be {source.sha256}; "
            "fetch it again or correct LAION_SHARDS"
        )
    record = RawShard(
        shard=source.shard,
        source=source.name,
        sha256=sha256,
        file_bytes=status.st_size,
        file_rows=facts.row_count,
        is_utf8=facts.is_utf8,
        modified_ns=status.st_mtime_ns,
        version=source.version,
        fetched_at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
    )
    _put_in_place(raw_dir, record, path)
    return record


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _name_disk_errors(source: Source, raw_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == ENOSPC:
            # A full disk stops everything else too; what came is the least that can be given back.
            Part(raw_dir, source.shard).remove()
        if reason := find_system_reason(error, raw_dir):
            # A file on its way has a hidden name, which nobody knows.
            for hidden in {str(name) for name in (error.filename, error.filename2) if name}:
                if Path(hidden).parent == raw_dir:
                    reason = reason.replace(hidden, str(raw_dir), 1)
            raise LaionError(reason) from error
        reason = error.strerror or first_line(error)
        raise ShardError(f"{source.name}: {reason}; check the file and the disk") from error


def _record_path(raw_dir: Path, shard: str) -> Path:
    return raw_dir / f"{shard}.json"


def _link_path(raw_dir: Path, shard: str) -> Path:
    return raw_dir / f".{shard}.link"


def _new_record_path(raw_dir: Path, shard: str) -> Path:
    return raw_dir / f".{shard}.record"


def _put_in_place(raw_dir: Path, record: RawShard, path: Path) -> None:
    """Puts a verified file and its record in place."""
    # First what may fail on a full disk; then two renames.
    temporary = _write_new_record(raw_dir, record)
    path.replace(raw_path(raw_dir, record.shard))
    temporary.replace(_record_path(raw_dir, record.shard))


def _write_record(raw_dir: Path, record: RawShard) -> None:
    _write_new_record(raw_dir, record).replace(_record_path(raw_dir, record.shard))


def _write_new_record(raw_dir: Path, record: RawShard) -> Path:
    temporary = _new_record_path(raw_dir, record.shard)
    temporary.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    return temporary
