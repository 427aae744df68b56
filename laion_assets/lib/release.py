"""Publishes what DuckDB and Lance hold as one release: indices, Lance tables of counts, one tag.

The tag on the Lance table `images` is set last, so a release that can be seen is complete; after a
crash the one before is still the newest. What a release holds is told by its content digest: the
checksums of its shards and the counts, however they came about. Equal content is not released
twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.lib.counts import is_domain_count_fresh, is_entity_count_fresh
from laion_assets.lib.database import Database
from laion_assets.lib.errors import LaionError, StaleTableError
from laion_assets.lib.lance_images import find_uncopied
from laion_assets.lib.lance_table import open_table, table_path
from laion_assets.lib.locks import lock
from laion_assets.lib.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

COUNT_TABLES = ("domain_counts", "entity_counts")
CAPTION_INDEX = "caption_idx"
# Deltas answer as fast as one index, up to a point; merging is the dearest step of a release.
MAX_INDEX_DELTAS = 16
# Keys of the metadata of a released version.
RELEASE_KEY = "laion_assets.release"
DIGEST_KEY = "laion_assets.content_sha256"
SHARDS_KEY = "laion_assets.shard_count"


@dataclass(frozen=True)
class Release:
    """A tagged version of the Lance tables.

    Attributes:
        tag: `YYYY-MM-DD` in UTC, with `.2`, `.3` after it on the same day.
        content_sha256: digest of what it holds, whatever the layout on disk.
        version: of the Lance table `images`.
        image_count: rows in it.
        shard_count: shards in it.
        is_new: whether it was made now.
        shards: the shards in it with their rows, if they were looked at.
    """

    tag: str
    content_sha256: str
    version: int
    image_count: int
    shard_count: int
    is_new: bool
    shards: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Content:
    """What DuckDB has to release."""

    digest: str
    shards: Mapping[str, int]
    counts: Mapping[str, pa.Table]


def publish_release(
    database: Database, lance_dir: Path, kinds: Iterable[str], today: date
) -> Release:
    """Indexes, publishes and tags what there is; returns the newest release if nothing changed.

    Args:
        database: the tables to release.
        lance_dir: the LanceDB database.
        kinds: the kinds of names that are counted.
        today: the day that names the release, in UTC.

    Raises:
        StaleTableError: the counts or the Lance table tell of other shards than `images` does.
        LaionError: there is nothing to release.
    """
    path = table_path(lance_dir, "images")
    if open_table(path) is None:
        raise LaionError("nothing to release; materialize `lance_images` first")
    with lock(lance_dir, "release"):
        dataset = _index_captions(path)
        content = _read_content(database, dataset, kinds)
        newest = newest_release(lance_dir)
        if newest and newest.content_sha256 == content.digest:
            return replace(newest, shards=content.shards)
        release = _publish(lance_dir, content, dataset, _next_tag(dataset, today))
        return replace(release, shards=content.shards)


def find_unreleased(database: Database, lance_dir: Path, kinds: Iterable[str]) -> str | None:
    """Returns a word for the shards as they are, if counts or release do not tell of them yet.

    None if they do, or if there is no shard.
    """
    if not database.path.exists():
        return None
    with database.read() as connection:
        ((state, lance_version),) = connection.execute(load_sql("select_state")).fetchall()
        if state is None:
            return None
        try:
            _check_counts(connection, kinds)
        except StaleTableError:
            return str(state)
    newest = newest_release(lance_dir)
    # Every shard that was copied to Lance made a version of the table.
    is_released = newest is not None and newest.version > (lance_version or 0)
    return None if is_released else str(state)


def newest_release(lance_dir: Path) -> Release | None:
    """Returns the newest release, if there is one; tags of others are no releases."""
    dataset = open_table(table_path(lance_dir, "images"))
    if dataset is None:
        return None
    tags = [(tag["version"], name) for name, tag in dataset.tags.list().items()]
    for version, name in sorted(tags, reverse=True):
        released = dataset.checkout_version(version)
        if released.metadata.get(RELEASE_KEY) == name:
            return _describe(released, is_new=False)
    return None


def open_release(lance_dir: Path, tag: str | None = None) -> lance.LanceDataset:
    """Opens the Lance table `images` at a release, the newest if none is named.

    Raises:
        LaionError: there is no such release.
    """
    import lance

    newest = newest_release(lance_dir)
    if newest is None:
        raise LaionError("no release yet; materialize `release` (`laion backfill --all`) first")
    path = table_path(lance_dir, "images")
    if tag is None:
        return lance.dataset(path, version=newest.tag)
    if tag in lance.dataset(path).tags.list():
        released = lance.dataset(path, version=tag)
        if released.metadata.get(RELEASE_KEY) == tag:
            return released
    raise LaionError(f"no release {tag!r}; the newest is {newest.tag}")


@dataclass(frozen=True)
class IndexCoverage:
    """How many rows of a released table an index has, and how many it has not."""

    table: str
    index: str
    indexed_rows: int
    unindexed_rows: int


def measure_coverage(lance_dir: Path, tag: str) -> list[IndexCoverage]:
    """Returns what each index of the released tables covers, by Lance's own statistics."""
    import lance

    coverage = []
    for table in ("images", *COUNT_TABLES):
        dataset = lance.dataset(table_path(lance_dir, table), version=tag)
        for index in dataset.describe_indices():
            numbers = dataset.stats.index_stats(index.name)
            rows = numbers["num_indexed_rows"], numbers["num_unindexed_rows"]
            coverage.append(IndexCoverage(table, index.name, *rows))
    return coverage


def compare_counts(database: Database, lance_dir: Path, tag: str) -> dict[str, int]:
    """Returns how many rows of each released table of counts differ from DuckDB's."""
    import lance

    differing = {}
    with database.read() as connection:
        for table in COUNT_TABLES:
            dataset = lance.dataset(table_path(lance_dir, table), version=tag)
            connection.register("released", dataset.to_table())
            query = load_sql("count_differing_counts").format(table=quote_identifier(table))
            ((differing[table],),) = connection.execute(query).fetchall()
    return differing


def _read_content(
    database: Database, dataset: lance.LanceDataset, kinds: Iterable[str]
) -> _Content:
    with database.read() as connection:
        _check_counts(connection, kinds)
        if uncopied := find_uncopied(connection, dataset):
            raise StaleTableError(
                f"DuckDB and Lance differ for {len(uncopied)} shards, the first is {uncopied[0]}; "
                "materialize `lance_images` of them first (`laion backfill --missing`)"
            )
        described = connection.execute(load_sql("select_content")).fetchall()
        loads = connection.execute(load_sql("select_loads")).fetchall()
        counts = {
            table: connection.sql(load_sql(f"select_{table}")).to_arrow_table()
            for table in COUNT_TABLES
        }
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return _Content(digest, {shard: image_count for shard, image_count, *_ in loads}, counts)


def _check_counts(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> None:
    if not is_domain_count_fresh(connection):
        raise StaleTableError("a shard changed since the count; materialize `domain_counts` first")
    if not is_entity_count_fresh(connection, kinds):
        raise StaleTableError(
            "a shard or a name changed since the count; materialize `entity_counts` first"
        )


def _index_captions(path: Path) -> lance.LanceDataset:
    import lance

    dataset = lance.dataset(path)
    indices = {index.name: index for index in dataset.describe_indices()}
    if CAPTION_INDEX not in indices:
        # Words as they stand: no stemming and no stop words, so that names can be found whole.
        dataset.create_scalar_index(
            "caption",
            "INVERTED",
            name=CAPTION_INDEX,
            with_position=True,
            stem=False,
            remove_stop_words=False,
            max_token_length=None,
        )
    else:
        deltas = len(indices[CAPTION_INDEX].segments)
        merged = deltas if deltas > MAX_INDEX_DELTAS else 0
        dataset.optimize.optimize_indices(num_indices_to_merge=merged, index_names=[CAPTION_INDEX])
    return lance.dataset(path)


def _next_tag(dataset: lance.LanceDataset, today: date) -> str:
    day = today.isoformat()
    pattern = re.compile(rf"{re.escape(day)}(?:\.(\d+))?")
    numbers = [int(m[1] or 1) for m in map(pattern.fullmatch, dataset.tags.list()) if m]
    return f"{day}.{max(numbers) + 1}" if numbers else day


def _publish(lance_dir: Path, content: _Content, dataset: lance.LanceDataset, tag: str) -> Release:
    import lance

    metadata = {
        RELEASE_KEY: tag,
        DIGEST_KEY: content.digest,
        SHARDS_KEY: str(len(content.shards)),
    }
    for table, rows in content.counts.items():
        path = table_path(lance_dir, table)
        mode = "create" if open_table(path) is None else "overwrite"
        published = lance.write_dataset(rows, path, mode=mode)
        _tag(published, tag, metadata)
    _tag(dataset, tag, metadata)
    return _describe(lance.dataset(table_path(lance_dir, "images"), version=tag), is_new=True)


def _tag(dataset: lance.LanceDataset, tag: str, metadata: Mapping[str, str]) -> None:
    checked_version = dataset.version
    dataset.update_metadata(dict(metadata))
    if dataset.version != checked_version + 1:
        raise StaleTableError(
            "a shard was replaced while it was released; release again", is_passing=True
        )
    if tag in dataset.tags.list():
        # Left by a release that was cut off before its last tag.
        dataset.tags.update(tag, dataset.version)
    else:
        dataset.tags.create(tag, dataset.version)


def _describe(dataset: lance.LanceDataset, *, is_new: bool) -> Release:
    metadata = dataset.metadata
    return Release(
        tag=metadata[RELEASE_KEY],
        content_sha256=metadata[DIGEST_KEY],
        version=dataset.version,
        image_count=dataset.count_rows(),
        shard_count=int(metadata[SHARDS_KEY]),
        is_new=is_new,
    )
