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
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from filelock import FileLock

from laion_assets.lib.database import Database
from laion_assets.lib.errors import LaionError, StaleTableError
from laion_assets.lib.lance_table import table_path
from laion_assets.lib.sql import load_sql

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
    """

    tag: str
    content_sha256: str
    version: int
    image_count: int
    shard_count: int
    is_new: bool


@dataclass(frozen=True)
class _Content:
    """What DuckDB has to release."""

    digest: str
    shards: Mapping[str, tuple[int, int]]
    counts: Mapping[str, pa.Table]


def publish_release(database: Database, lance_dir: Path, today: date) -> Release:
    """Indexes, publishes and tags what there is; returns the newest release if nothing changed.

    Raises:
        StaleTableError: the counts or the Lance table tell of other shards than `images` does.
        LaionError: there is nothing to release.
    """
    if not table_path(lance_dir, "images").exists():
        raise LaionError("nothing to release; materialize `lance_images` first")
    with FileLock(lance_dir / ".release.lock"):
        content = _read_content(database)
        dataset = _index_captions(table_path(lance_dir, "images"))
        _check_same_rows(content, dataset)
        newest = newest_release(lance_dir)
        if newest and newest.content_sha256 == content.digest:
            return newest
        return _publish(lance_dir, content, dataset, _next_tag(dataset, today))


def newest_release(lance_dir: Path) -> Release | None:
    """Returns the newest release, if there is one."""
    import lance

    path = table_path(lance_dir, "images")
    if not path.exists():
        return None
    dataset = lance.dataset(path)
    versions = {tag["version"]: name for name, tag in dataset.tags.list().items()}
    for version in sorted(versions, reverse=True):
        released = dataset.checkout_version(version)
        if released.metadata.get(RELEASE_KEY) == versions[version]:
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
    tags = lance.dataset(path).tags.list()
    name = tag or newest.tag
    if name not in tags:
        raise LaionError(f"no release {name!r}; there are {', '.join(sorted(tags))}")
    return lance.dataset(path, version=name)


def _read_content(database: Database) -> _Content:
    with database.read() as connection:
        _check_counts_fresh(connection)
        rows = connection.execute(load_sql("select_checksums")).fetchall()
        described = connection.execute(load_sql("select_content")).fetchall()
        counts = {
            table: connection.sql(load_sql(f"select_{table}")).to_arrow_table()
            for table in COUNT_TABLES
        }
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return _Content(digest, {shard: (count, total) for shard, count, total in rows}, counts)


def _check_counts_fresh(connection: duckdb.DuckDBPyConnection) -> None:
    stale = connection.execute(
        load_sql("select_stale_counts"), {"tables": list(COUNT_TABLES)}
    ).fetchall()
    if stale:
        names = " and ".join(f"`{table}`" for (table,) in stale)
        raise StaleTableError(f"{names} counted before the last shard was loaded; refresh first")


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


def _check_same_rows(content: _Content, dataset: lance.LanceDataset) -> None:
    reader = dataset.scanner(columns=["shard", "image_id"]).to_reader()
    with duckdb.connect() as connection:
        connection.register("images", reader)
        rows = connection.execute(load_sql("select_checksums")).fetchall()
    shards = {shard: (count, total) for shard, count, total in rows}
    differing = sorted(
        shard
        for shard in shards.keys() | content.shards.keys()
        if shards.get(shard) != content.shards.get(shard)
    )
    if differing:
        raise StaleTableError(
            f"DuckDB and Lance differ for {len(differing)} shards, the first is {differing[0]}; "
            "materialize `lance_images` of them first (`laion backfill --missing`)"
        )


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
        mode = "overwrite" if path.exists() else "create"
        published = lance.write_dataset(rows, path, mode=mode)
        _tag(published, tag, metadata)
    _tag(dataset, tag, metadata)
    return _describe(lance.dataset(table_path(lance_dir, "images"), version=tag), is_new=True)


def _tag(dataset: lance.LanceDataset, tag: str, metadata: Mapping[str, str]) -> None:
    checked_version = dataset.version
    dataset.update_metadata(dict(metadata))
    if dataset.version != checked_version + 1:
        raise StaleTableError("a shard was replaced while it was released; release again")
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
