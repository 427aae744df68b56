"""Brings `<shard>.tar`, which has the pictures of `<shard>.parquet`, as WebDataset has them.

It lies beside the parquet file at the source: in the same folder, on the same web server, in the
same bucket or dataset of the Hub. It is looked for only if the parquet file has a column of keys
and none of pictures.
"""

from __future__ import annotations

import re
from dataclasses import replace

from laion_assets.raw_shards.beside import Target, bring_beside
from laion_assets.raw_shards.picture_columns import find_key, has_pictures
from laion_assets.raw_shards.sources.source import Report, Source, SourceRules
from laion_assets.stores.raw_store import RawShard, RawStore

_SUFFIX = re.compile(r"\.parquet(?=$|[?#])", flags=re.IGNORECASE)


def bring_archive(
    source: Source, raw: RawShard, store: RawStore, rules: SourceRules, report: Report
) -> RawShard:
    """Puts the archive of a shard in place, if its source has one.

    One that the source has no more stays.

    Args:
        source: where the shard's file came from.
        raw: its record; what it says of an archive is of before.
        store: has the shard's file, and takes the archive.
        rules: how to talk to servers, and whether pictures are wanted.
        report: is told how far a download has come.

    Returns:
        The record, with what is known of pictures; itself if nothing changed.

    Raises:
        ShardError: the archive cannot be had now; it may be possible later.
        OSError: it cannot be written.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(store.path(raw.shard))
    is_in_columns = has_pictures(schema)
    is_wanted = rules.is_bringing_archives and not source.is_in_dataset
    if is_wanted and not is_in_columns and find_key(schema):
        raw = _bring(source, raw, store, rules, report)
    has_some = is_in_columns or raw.archive_sha256 is not None
    return raw if raw.has_pictures == has_some else replace(raw, has_pictures=has_some)


def _bring(
    source: Source, raw: RawShard, store: RawStore, rules: SourceRules, report: Report
) -> RawShard:
    beside = Source(
        source.shard, _SUFFIX.sub(".tar", source.place), _SUFFIX.sub(".tar", source.name)
    )
    target = Target(store.archives, store.archive_path(raw.shard), raw.archive_version)
    found = bring_beside([beside], target, rules, report)
    if found is None:
        return raw
    return replace(raw, archive_sha256=found.sha256, archive_version=found.version)
