"""Brings a shard's parquet file into the raw store, verified, and remembers what it is.

A local file is hard-linked where the file system allows it, and copied elsewhere; one that is far
away is downloaded; a shard in a Lance dataset is written as a parquet file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path

from laion_assets.errors import GoneError, LaionError, ShardError, first_line
from laion_assets.raw_shards.archives import bring_archive
from laion_assets.raw_shards.sources.bucket import download_object
from laion_assets.raw_shards.sources.download import download_url
from laion_assets.raw_shards.sources.files import resolve_file
from laion_assets.raw_shards.sources.lance_dataset import write_rows
from laion_assets.raw_shards.sources.listing import find_shard
from laion_assets.raw_shards.sources.source import (
    Report,
    Source,
    SourceRules,
    hide_secrets,
    tell_nobody,
)
from laion_assets.raw_shards.sources.urls import SCHEMES
from laion_assets.raw_shards.vector_files import bring_vectors
from laion_assets.raw_shards.verify import ParquetFacts, verify_parquet
from laion_assets.stores.raw_store import RawShard, RawStore, hash_file


def fetch_shard(
    source: Source,
    store: RawStore,
    rules: SourceRules | None = None,
    report: Report = tell_nobody,
) -> RawShard:
    """Puts the file in place, once it has proved to be a LAION-style parquet file.

    A remote file that is unchanged is not fetched again, as long as the one that is here is whole.

    Args:
        source: where the file is.
        store: takes the file.
        rules: how to talk to servers.
        report: is told how far a download has come.

    Returns:
        Its record; that of before, itself, if nothing was fetched.

    Raises:
        ShardError: it cannot be had, is no parquet file, lacks a column, or is another file than
            was promised; the file that was there before stays.
    """
    # One process at a time: the others find what it brought.
    with _name_disk_errors(source, store), store.lock(source.shard):
        rules = rules or SourceRules()
        if not source.is_file_here:
            raw = _fetch_remote(source, store, rules, report)
        else:
            raw = _fetch_local(source, store)
        record = bring_archive(source, raw, store, rules, report)
        record = bring_vectors(source, record, store, rules, report)
        if record is not raw:
            store.write_record(record)
        return record


def bring_shard(
    locations: Iterable[str],
    shard: str,
    store: RawStore,
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
            return fetch_shard(source, store, rules, report), False
        places = ", ".join(map(hide_secrets, locations))
        raise GoneError(
            f"shard {shard!r} is not among {places}; put its file there or set LAION_SHARDS",
            code="shard-not-in-sources",
        )
    except GoneError:
        if known := store.find_whole(shard):
            return known, True
        raise


def _fetch_local(source: Source, store: RawStore) -> RawShard:
    known = store.find(source.shard)
    # A link would bring back the rows that were removed from the file here.
    if known is not None and known.kept_sha256 and is_same_content(known, source):
        return known
    with store.link(source.shard, resolve_file(source)) as linked:
        return _install(source, linked, store, known)


def _fetch_remote(source: Source, store: RawStore, rules: SourceRules, report: Report) -> RawShard:
    known = store.find_whole(source.shard)
    if known and is_same_content(known, source):
        return known
    part = store.part(source.shard)
    answer: Source | None
    if source.is_in_dataset:
        answer = write_rows(source, part, rules, report)
    elif source.scheme in SCHEMES:
        is_same_place = known is not None and known.source == source.name
        # A server that has the known file still cannot be told so if another one was promised.
        is_wanted = source.sha256 is None and not (known and known.is_wanted_whole)
        known_version = known.version if known and is_same_place and is_wanted else None
        answer = download_url(source, part, rules, known_version, report)
    else:
        answer = download_object(source, part, rules, report)
    if answer is None and known:
        return known
    try:
        return _install(answer or source, part.path, store, known)
    finally:
        part.remove()


def is_same_content(known: RawShard, source: Source) -> bool:
    """Returns whether the source says that it has the very file that is here.

    One that is wanted whole is never the same: rows were removed from it.
    """
    if known.is_wanted_whole:
        return False
    if source.sha256:
        return source.sha256 == known.sha256
    return source.version is not None and (source.version, source.name) == (
        known.version,
        known.source,
    )


def _install(source: Source, path: Path, store: RawStore, known: RawShard | None) -> RawShard:
    """Verifies a file and renames it to its place."""
    # The time is taken first: what is written into a linked file from here on shows by it.
    status = path.stat()
    with ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(hash_file, path)
        # What was verified before is the same still, if its checksum is.
        if known and hashing.result() == known.sha256:
            facts = ParquetFacts(known.file_rows, known.is_utf8)
        else:
            facts = verify_parquet(path, source.name)
        sha256 = hashing.result()
    if source.sha256 and sha256 != source.sha256:
        raise ShardError(
            f"{source.name}: SHA-256 is {sha256} but should be {source.sha256}; "
            "fetch it again or correct LAION_SHARDS",
            code="shard-checksum-differs",
        )
    is_wanted_whole = known is not None and known.is_wanted_whole
    if known and known.kept_sha256 and known.sha256 == sha256 and not is_wanted_whole:
        # The file here is without the rows that were removed from this content.
        known = replace(known, source=source.name, version=source.version, fetched_at=_now())
        store.write_record(known)
        return known
    # What lies beside it is without these rows, too.
    beside = None if is_wanted_whole else known
    record = RawShard(
        shard=source.shard,
        source=source.name,
        sha256=sha256,
        file_bytes=status.st_size,
        file_rows=facts.row_count,
        is_utf8=facts.is_utf8,
        modified_ns=status.st_mtime_ns,
        version=source.version,
        fetched_at=_now(),
        archive_sha256=known.archive_sha256 if known else None,
        archive_version=beside.archive_version if beside else None,
        vectors_sha256=known.vectors_sha256 if known else None,
        vectors_version=beside.vectors_version if beside else None,
        vectors_sought=beside.vectors_sought if beside else None,
    )
    store.put_in_place(record, path)
    return record


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")


@contextmanager
def _name_disk_errors(source: Source, store: RawStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == ENOSPC:
            # A full disk stops everything else too; what came is the least that can be given back.
            store.part(source.shard).remove()
        if reason := store.find_reason(error):
            raise LaionError(reason, code="system-refused") from error
        reason = error.strerror or first_line(error)
        raise ShardError(
            f"{source.name}: {reason}; check the file and the disk", code="shard-file-failed"
        ) from error
