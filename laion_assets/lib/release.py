"""Publishes what DuckDB and Lance hold as one release: indices, Lance tables of counts, one tag.

The tag on the Lance table `images` is set last, so a release that can be seen is complete; after a
crash the one before is still the newest, and the next attempt finishes it. Equal content is not
released twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from laion_assets.lib.counts import is_domain_count_fresh, is_entity_count_fresh
from laion_assets.lib.database import Database
from laion_assets.lib.disk_space import check_space, estimate_release
from laion_assets.lib.errors import LaionError, StaleTableError
from laion_assets.lib.indices import join_fragments, update_columns, update_indices
from laion_assets.lib.lance_images import find_uncopied
from laion_assets.lib.lance_table import create_tag, open_table, table_path
from laion_assets.lib.locks import lock
from laion_assets.lib.manifest import (
    MANIFEST_KEY,
    Manifest,
    ReleasedShard,
    ReleasedSheet,
    digest_content,
    find_versions,
    read_manifest,
)
from laion_assets.lib.migration import migrate_lance
from laion_assets.lib.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

COUNT_TABLES = ("domain_counts", "entity_counts")
# `images` last: its tag makes the release.
TABLES = (*COUNT_TABLES, "images")
DEFAULT_KEEP_DAYS = 7
# In the metadata of every later version too: which versions of the tables the last release is to
# have, and when releases were deleted. Their names are not given again, lest a quoted one comes to
# mean another thing.
LAST_RELEASE_KEY = "laion_assets.release"
DELETED_KEY = "laion_assets.deleted_release."
# Lance's rule for tags, and no option of a command.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class ReleaseOrder:
    """How a release is to be made.

    Attributes:
        run_id: the Dagster run that makes it.
        name: its tag; None is the day in UTC, with `.2`, `.3` after it on the same day.
        keep_days: for how long versions stay that no tag holds.
    """

    run_id: str
    name: str | None = None
    keep_days: float = DEFAULT_KEEP_DAYS


@dataclass(frozen=True)
class Cleaning:
    """What a clean-up removed from the Lance tables."""

    version_count: int = 0
    freed_bytes: int = 0


@dataclass(frozen=True)
class Publication:
    """The newest release, and what was done for it.

    Attributes:
        manifest: its record.
        is_new: whether it was made now.
        fragments_saved: fragments that joining small ones saved.
        cleaning: what was removed of old versions.
    """

    manifest: Manifest
    is_new: bool
    fragments_saved: int
    cleaning: Cleaning


@dataclass(frozen=True)
class _Content:
    """What DuckDB has to release."""

    shards: tuple[ReleasedShard, ...]
    sheets: tuple[ReleasedSheet, ...]
    counts: Mapping[str, pa.Table]
    count_digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest_content(self.shards, self.count_digests)


def publish_release(
    database: Database, lance_dir: Path, kinds: Iterable[str], order: ReleaseOrder
) -> Publication:
    """Indexes, publishes and tags what there is; the newest release stays if nothing changed.

    Args:
        database: the tables to release.
        lance_dir: the LanceDB database.
        kinds: the kinds of names that are counted.
        order: how it is to be made.

    Raises:
        StaleTableError: the counts or the Lance table tell of other shards than `images` does.
        LaionError: there is nothing to release, or nothing new and yet a new name, or the name
            cannot be given.
        DiskSpaceError: the disk has no room for it.
    """
    path = table_path(lance_dir, "images")
    images = open_table(path)
    if images is None:
        raise LaionError("nothing to release; materialize `lance_images` first")
    check_space(lance_dir, estimate_release(images), "releasing")
    with lock(lance_dir, "release"):
        migrate_lance(path)
        update_columns(path)
        fragments_saved = join_fragments(path)
        dataset = update_indices(path)
        content = _read_content(database, dataset, kinds)
        _remove_unfinished(lance_dir, dataset)
        manifest = newest_release(lance_dir)
        is_new = manifest is None or manifest.content_sha256 != content.digest
        if manifest is None or is_new:
            name = _choose_name(lance_dir, dataset, order.name)
            manifest = _publish(lance_dir, content, dataset, name, order.run_id)
        elif order.name not in (None, manifest.release):
            raise LaionError(
                f"nothing has changed since {manifest.release}, so there is no release {order.name}"
            )
        cleaning = clean_versions(lance_dir, order.keep_days)
        return Publication(manifest, is_new, fragments_saved, cleaning)


def find_unreleased(database: Database, lance_dir: Path, kinds: Iterable[str]) -> str | None:
    """Returns a word for the loaded shards if counts or the newest release are out of date.

    None if they are up to date, or if there is no shard. A release is up to date if its content is
    what DuckDB has, whatever was loaded again since.
    """
    if not database.path.exists():
        return None
    newest = newest_release(lance_dir)
    with database.read() as connection:
        ((state,),) = connection.execute(load_sql("select_state")).fetchall()
        if state is None:
            return None
        try:
            _check_counts(connection, kinds)
        except StaleTableError:
            return str(state)
        is_released = newest is not None and _is_released(connection, newest)
    return None if is_released else str(state)


def _is_released(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> bool:
    """Returns whether a release has the content of the tables, of which the counts are fresh.

    The counts follow from the shards and the names, so they are read only if a sheet has changed.
    """
    rows = connection.execute(load_sql("select_shard_contents")).fetchall()
    released = [
        (s.shard, s.sha256, s.image_count, s.rejected_count, s.cleaning_version)
        for s in manifest.shards
    ]
    if sorted(rows) != sorted(released):
        return False
    sheets = {
        sheet["kind"]: sheet["sha256"] for sheet in _select(connection, "select_released_sheets")
    }
    if sheets == {sheet.kind: sheet.sha256 for sheet in manifest.sheets}:
        return True
    digests = dict(connection.execute(load_sql("digest_counts")).fetchall())
    return digests == dict(manifest.count_digests)


def list_releases(lance_dir: Path) -> Iterator[Manifest]:
    """Yields the releases, the newest first.

    Tags of others are no releases, and neither is one of which a table was lost.
    """
    dataset = open_table(table_path(lance_dir, "images"))
    if dataset is None:
        return
    tags = list_tags(lance_dir)
    for version, name in sorted(((v, n) for n, v in tags["images"].items()), reverse=True):
        manifest = read_manifest(dataset.checkout_version(version), name)
        if manifest and all(name in tags[table] for table in COUNT_TABLES):
            yield manifest


def newest_release(lance_dir: Path) -> Manifest | None:
    """Returns the newest release, if there is one."""
    return next(list_releases(lance_dir), None)


def find_release(lance_dir: Path, tag: str | None = None) -> Manifest:
    """Returns a release, the newest if none is named.

    Raises:
        LaionError: there is no such release.
    """
    newest = None
    for manifest in list_releases(lance_dir):
        if tag in (None, manifest.release):
            return manifest
        newest = newest or manifest
    if newest is None:
        raise LaionError("no release yet; materialize `release` (`laion backfill --all`) first")
    path = table_path(lance_dir, "images")
    images = open_table(path)
    deleted_at = None if images is None else images.metadata.get(f"{DELETED_KEY}{tag}")
    was_deleted = f", it was deleted at {deleted_at} UTC" if deleted_at else ""
    raise LaionError(f"{path}: no release {tag!r}{was_deleted}; the newest is {newest.release}")


def open_released(lance_dir: Path, manifest: Manifest, table: str) -> lance.LanceDataset:
    """Opens a Lance table as a release has it."""
    import lance

    return lance.dataset(table_path(lance_dir, table), version=manifest.release)


def delete_release(lance_dir: Path, tag: str, keep_days: float = DEFAULT_KEEP_DAYS) -> Cleaning:
    """Removes the tag of a release, and the versions that nothing holds any more.

    Raises:
        LaionError: there is no such release.
    """
    import lance

    with lock(lance_dir, "release"):
        find_release(lance_dir, tag)
        images = lance.dataset(table_path(lance_dir, "images"))
        images.update_metadata({DELETED_KEY + tag: f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M}"})
        # `images` first: without its tag the rest is no release.
        for table in reversed(TABLES):
            dataset = lance.dataset(table_path(lance_dir, table))
            if tag in dataset.tags.list():
                dataset.tags.delete(tag)
        return clean_versions(lance_dir, keep_days)


def clean_versions(lance_dir: Path, keep_days: float) -> Cleaning:
    """Removes the versions of the Lance tables that are older and have no tag.

    Files that no version names, as a killed process leaves them, go too, after a week (Lance's
    own rule, lest those of a commit on its way are taken).
    """
    version_count = freed_bytes = 0
    for table in TABLES:
        # A dataset without rows is false, as an empty list is.
        if (dataset := open_table(table_path(lance_dir, table))) is not None:
            removed = dataset.cleanup_old_versions(
                timedelta(days=keep_days), error_if_tagged_old_versions=False
            )
            version_count += removed.old_versions
            freed_bytes += removed.bytes_removed
    return Cleaning(version_count, freed_bytes)


@dataclass(frozen=True)
class IndexCoverage:
    """How many rows of a released table an index has, and how many it has not."""

    table: str
    index: str
    indexed_rows: int
    unindexed_rows: int


def measure_coverage(lance_dir: Path, manifest: Manifest) -> list[IndexCoverage]:
    """Returns what each index of the released tables covers, by Lance's own statistics."""
    coverage = []
    for table in TABLES:
        dataset = open_released(lance_dir, manifest, table)
        for index in dataset.describe_indices():
            numbers = dataset.stats.index_stats(index.name)
            rows = numbers["num_indexed_rows"], numbers["num_unindexed_rows"]
            coverage.append(IndexCoverage(table, index.name, *rows))
    return coverage


def compare_counts(database: Database, lance_dir: Path, manifest: Manifest) -> dict[str, int]:
    """Returns how many rows of each released table of counts differ from DuckDB's."""
    differing = {}
    with database.read() as connection:
        for table in COUNT_TABLES:
            released = open_released(lance_dir, manifest, table)
            connection.register("released", released.to_table())
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
                "materialize `lance_images` of them first (`laion backfill --missing`), or remove "
                "those that `laion status` shows without a partition (`laion remove`)"
            )
        shards = _select(connection, "select_released_shards")
        sheets = _select(connection, "select_released_sheets")
        counts = {
            table: connection.sql(load_sql(f"select_{table}")).to_arrow_table()
            for table in COUNT_TABLES
        }
        digests = connection.execute(load_sql("digest_counts")).fetchall()
    return _Content(
        shards=tuple(ReleasedShard(**shard) for shard in shards),
        sheets=tuple(ReleasedSheet(**sheet) for sheet in sheets),
        counts=counts,
        count_digests=dict(digests),
    )


def _select(connection: duckdb.DuckDBPyConnection, statement: str) -> list[dict[str, Any]]:
    cursor = connection.execute(load_sql(statement))
    columns = [name for name, *_ in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _check_counts(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> None:
    if not is_domain_count_fresh(connection):
        raise StaleTableError("a shard changed since the count; materialize `domain_counts` first")
    if not is_entity_count_fresh(connection, kinds):
        raise StaleTableError(
            "a shard or a name changed since the count; materialize `entity_counts` first"
        )


def list_tags(lance_dir: Path) -> dict[str, dict[str, int]]:
    """Returns the tags of each table, and the versions that they hold."""
    return {
        table: {name: int(tag["version"]) for name, tag in dataset.tags.list().items()}
        if (dataset := open_table(table_path(lance_dir, table))) is not None
        else {}
        for table in TABLES
    }


def _choose_name(lance_dir: Path, dataset: lance.LanceDataset, name: str | None) -> str:
    given = {name for tags in list_tags(lance_dir).values() for name in tags}
    given |= _list_deleted(dataset)
    if name is None:
        day = datetime.now(tz=UTC).date().isoformat()
        pattern = re.compile(rf"{re.escape(day)}(?:\.(\d+))?")
        numbers = [int(match[1] or 1) for match in map(pattern.fullmatch, given) if match]
        return f"{day}.{max(numbers) + 1}" if numbers else day
    if not NAME.fullmatch(name) or name.endswith(".lock"):
        raise LaionError(
            f"name {name!r}: give it letters, digits, `-`, `_`, and single `.` between them"
        )
    if name in given:
        raise LaionError(f"name {name!r}: it was given to another release; choose another")
    return name


def _publish(
    lance_dir: Path, content: _Content, dataset: lance.LanceDataset, name: str, run_id: str
) -> Manifest:
    import lance

    versions = {}
    for table, rows in content.counts.items():
        path = table_path(lance_dir, table)
        mode = "create" if open_table(path) is None else "overwrite"
        versions[table] = lance.write_dataset(rows, path, mode=mode).version
    manifest = Manifest(
        release=name,
        released_at=datetime.now(tz=UTC),
        content_sha256=content.digest,
        run_id=run_id,
        row_counts={
            "images": sum(shard.image_count for shard in content.shards),
            **{table: rows.num_rows for table, rows in content.counts.items()},
        },
        count_digests=content.count_digests,
        lance_versions={**versions, "images": dataset.version + 1},
        versions=find_versions(),
        shards=content.shards,
        sheets=content.sheets,
    )
    _commit(dataset, manifest)
    for table in TABLES:
        create_tag(table_path(lance_dir, table), name, manifest.lance_versions[table])
    return manifest


def _list_deleted(dataset: lance.LanceDataset) -> set[str]:
    return {key.removeprefix(DELETED_KEY) for key in dataset.metadata if DELETED_KEY in key}


def _remove_unfinished(lance_dir: Path, dataset: lance.LanceDataset) -> None:
    """Removes the tags of counts that a release or a deletion left which was cut off.

    That is those of a release without its last tag, on the versions that it was to have, and those
    of releases that were deleted.
    """
    import lance

    tags = list_tags(lance_dir)
    last = json.loads(dataset.metadata.get(LAST_RELEASE_KEY, "{}"))
    for table in COUNT_TABLES:
        left = {name for name in _list_deleted(dataset) if name in tags[table]}
        for name, versions in last.items():
            if name not in tags["images"] and tags[table].get(name) == versions[table]:
                left.add(name)
        for name in left:
            lance.dataset(table_path(lance_dir, table)).tags.delete(name)


def _commit(dataset: lance.LanceDataset, manifest: Manifest) -> None:
    """Makes the version of `images` that the release is, the next one after what was checked."""
    import lance

    note = json.dumps({manifest.release: manifest.lance_versions})
    update = lance.LanceOperation.UpdateMap({LAST_RELEASE_KEY: note})
    transaction = lance.Transaction(
        dataset.version,
        lance.LanceOperation.UpdateConfig(table_metadata_updates=update),
        transaction_properties={MANIFEST_KEY: manifest.model_dump_json()},
    )
    # Lance puts it on top of what others have committed meanwhile.
    committed = lance.LanceDataset.commit(dataset.uri, transaction)
    if committed.version != manifest.lance_versions["images"]:
        raise StaleTableError(
            "a shard was replaced while it was released; release again", is_passing=True
        )
