"""Publishes what DuckDB and Lance hold as one release: indices, Lance tables of counts, one tag.

The tag on the Lance table `images` is set last, so a release that can be seen is complete. After a
crash, the release before it is still the newest, and the next attempt finishes the work. Equal
content is not released twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from laion_assets.curation.curation_file import Curation
from laion_assets.declared_columns.origin import drop_undeclared, look_at_files
from laion_assets.embeddings.vector_index import update_vector_index
from laion_assets.errors import LaionError, RemovalsPendingError, StaleTableError
from laion_assets.lance_images.copy import find_uncopied
from laion_assets.lance_images.indices import (
    drop_old_indices,
    join_fragments,
    update_columns,
    update_indices,
)
from laion_assets.releases.catalog import (
    COUNT_TABLES,
    TABLES,
    list_deleted,
    list_tags,
    newest_release,
)
from laion_assets.releases.cleanup import DEFAULT_KEEP_DAYS, Cleaning, clean_versions
from laion_assets.releases.columns_of_release import (
    describe_declared,
    describe_vectors,
    read_columns,
)
from laion_assets.releases.coverage import check_counts
from laion_assets.releases.digests import (
    DIGESTS_KEY,
    ReleaseDigests,
    digest_shards,
    read_digests,
)
from laion_assets.releases.list_columns import digest_lists, keep_lists, read_lists
from laion_assets.releases.manifest import (
    MANIFEST_KEY,
    Manifest,
    OutdatedShard,
    ReleasedColumns,
    ReleasedDeclaration,
    ReleasedShard,
    ReleasedSheet,
    digest_columns,
    digest_content,
    find_versions,
)
from laion_assets.releases.partial import (
    describe_outdated,
    find_outdated,
    refuse,
    show_sound,
    take_out_unrecorded,
)
from laion_assets.removals.apply_list import describe_pending, find_pending, list_pending
from laion_assets.removals.find_rows import find_row_ids
from laion_assets.removals.matching import Matcher
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import estimate_release
from laion_assets.stores.freed_memory import keep_garbage
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import migrate_lance
from laion_assets.stores.rows import fetch_rows
from laion_assets.stores.shard_sums import keep_sums, name_sums
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

# In the metadata of every later version too: which versions of the tables the last release is to
# have, and when releases were deleted. Their names are not given again, lest a quoted one comes to
# mean another thing.
LAST_RELEASE_KEY = "laion_assets.release"
# Lance's rule for tags, and no option of a command.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class ReleaseOrder:
    """How a release is to be made.

    Attributes:
        run_id: the Dagster run that makes it.
        name: its tag; None is the day in UTC, with `.2`, `.3` after it on the same day.
        keep_days: for how long versions stay that no tag holds.
        is_partial: whether shards whose present load Lance lacks hold nothing back; see
            `releases/partial.py`.
        curation: what is declared; columns that are declared no more are dropped. None: nobody
            looked, and all stay.
        is_shared: whether free nodes of Ray build a share of the indices.
    """

    run_id: str
    name: str | None = None
    keep_days: float = DEFAULT_KEEP_DAYS
    is_partial: bool = False
    curation: Curation | None = None
    is_shared: bool = False


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
    lists_sha256: str
    columns: tuple[ReleasedColumns, ...]
    shards_sha256: str
    outdated: tuple[OutdatedShard, ...] = ()
    declared: tuple[ReleasedDeclaration, ...] = ()

    @cached_property
    def digest(self) -> str:
        return digest_content(self.shards, self.count_digests)

    @cached_property
    def columns_sha256(self) -> str | None:
        return digest_columns(self.columns)

    def is_that_of(self, release: Manifest | ReleaseDigests) -> bool:
        # One from before lists kept their columns is not made again for them alone.
        return release.lists_sha256 in (None, self.lists_sha256) and (
            release.content_sha256,
            release.columns_sha256,
        ) == (self.digest, self.columns_sha256)


def publish_release(
    database: Database, store: LanceStore, kinds: Iterable[str], order: ReleaseOrder
) -> Publication:
    """Indexes, publishes and tags what there is; the newest release stays if nothing changed.

    Args:
        database: the tables to release.
        store: the Lance tables.
        kinds: the kinds of names that are counted.
        order: how it is to be made.

    Raises:
        StaleTableError: the counts tell of other shards than `images` does, or so does the Lance
            table and the release is not to be partial.
        RemovalsPendingError: a shard holds rows that are to be removed.
        LaionError: there is nothing to release, or nothing new and yet a new name, or the name
            cannot be given.
        DiskSpaceError: the disk has no room for it.
    """
    store = store.remember()
    images = store.find("images")
    if images is None:
        raise LaionError(
            "nothing to release; materialize `lance_images` first", code="release-of-nothing"
        )
    store.check_space(estimate_release(images), "releasing")
    with store.lock("release"):
        # Before indices are built over rows that are to go.
        _refuse_pending(find_pending(database, store))
        migrate_lance(store)
        update_columns(store)
        fragments_saved = join_fragments(store)
        if order.curation is not None:
            drop_undeclared(database, store, order.curation)
        if order.is_partial:
            take_out_unrecorded(database, store)
        drop_old_indices(store)
        dataset = update_vector_index(store, update_indices(store, is_shared=order.is_shared))
        with keep_garbage():
            content = _read_content(database, store, dataset, kinds, order)
            _check_without_removed(store, dataset, content)
            tags = list_tags(store, dataset)
            _remove_unfinished(store, dataset, tags)
            # They tell whether anything is new, without the record of all shards.
            digests = read_digests(dataset, tags)
            is_new = digests is not None and not content.is_that_of(digests)
            manifest = None if is_new else newest_release(store)
            is_new = manifest is None or not content.is_that_of(manifest)
            if manifest is None or is_new:
                name = _choose_name(tags, dataset, order.name)
                manifest = _publish(store, content, dataset, name, order.run_id)
            elif order.name not in (None, manifest.release):
                raise LaionError(
                    f"nothing has changed since {manifest.release}, so there is no release "
                    f"{order.name}",
                    code="release-unchanged",
                )
        cleaning = clean_versions(store, order.keep_days)
        database.clean(order.keep_days)
        return Publication(manifest, is_new, fragments_saved, cleaning)


def _read_content(
    database: Database,
    store: LanceStore,
    dataset: lance.LanceDataset,
    kinds: Iterable[str],
    order: ReleaseOrder,
) -> _Content:
    # A large file is not read while the database is open.
    wanted = look_at_files(database, order.curation or Curation())
    outdated: tuple[OutdatedShard, ...] = ()
    with database.read() as connection:
        _refuse_pending(list_pending(connection, store.removals.read()))
        check_counts(connection, kinds)
        keep_sums(connection, "images")
        if uncopied := find_uncopied(connection, dataset):
            if not order.is_partial:
                raise refuse(uncopied)
            uncopied, carried = find_outdated(connection, dataset, store)
            known = {record.shard for record in carried}
            outdated = describe_outdated(connection, uncopied, known)
            show_sound(connection, dataset, uncopied, carried)
        sums = {table: name_sums(connection, table) for table in ("images", "rejected_images")}
        query = load_sql("releases/select_released_shards").format(**sums)
        ((shards,),) = connection.execute(query).fetchall()
        sheets = fetch_rows(connection.execute(load_sql("releases/select_released_sheets"))).records
        counts = {
            table: connection.sql(load_sql(f"releases/select_{table}")).to_arrow_table()
            for table in COUNT_TABLES
        }
        lists = read_lists(connection, [str(sheet["kind"]) for sheet in sheets])
        counts["entity_counts"] = keep_lists(counts["entity_counts"], lists)
        digests = connection.execute(load_sql("releases/digest_counts")).fetchall()
        released = TypeAdapter(tuple[ReleasedShard, ...]).validate_json(shards or "[]")
        names = {shard.shard for shard in released}
        columns = read_columns(connection, dataset, names)
        declared = describe_declared(connection, dataset, wanted, names)
        shards_sha256 = digest_shards(connection)
    return _Content(
        shards=released,
        sheets=tuple(ReleasedSheet.model_validate(sheet) for sheet in sheets),
        counts=counts,
        count_digests=dict(digests),
        lists_sha256=digest_lists(lists),
        columns=columns,
        shards_sha256=shards_sha256,
        outdated=outdated,
        declared=declared,
    )


def _refuse_pending(pending: list[str]) -> None:
    if pending:
        raise RemovalsPendingError(
            f"{describe_pending(pending)}, then release", code="release-removals-pending"
        )


def _check_without_removed(
    store: LanceStore, dataset: lance.LanceDataset, content: _Content
) -> None:
    """Checks the very rows: Lance may have an older load of a shard than DuckDB."""
    domains = content.counts["domain_counts"]["domain"].to_pylist()
    found = find_row_ids(dataset, Matcher.of(store.removals.read()), domains)
    if len(found):
        raise RemovalsPendingError(
            f"{len(found):,} rows that are to be removed are still in Lance; materialize "
            "`removals`, and load their shards again (`laion backfill --missing`)",
            code="release-has-removed-rows",
        )


def _choose_name(
    tags: Mapping[str, Mapping[str, int]], dataset: lance.LanceDataset, name: str | None
) -> str:
    given = {name for names in tags.values() for name in names}
    given |= list_deleted(dataset)
    if name is None:
        day = datetime.now(tz=UTC).date().isoformat()
        pattern = re.compile(rf"{re.escape(day)}(?:\.(\d+))?")
        numbers = [int(match[1] or 1) for match in map(pattern.fullmatch, given) if match]
        return f"{day}.{max(numbers) + 1}" if numbers else day
    if not NAME.fullmatch(name) or name.endswith(".lock"):
        raise LaionError(
            f"name {name!r}: use letters, digits, `-`, `_`, and single `.` between them",
            code="release-name-invalid",
        )
    if name in given:
        raise LaionError(
            f"name {name!r}: another release has or had this name; choose another",
            code="release-name-used",
        )
    return name


def _publish(
    store: LanceStore, content: _Content, dataset: lance.LanceDataset, name: str, run_id: str
) -> Manifest:
    written = {table: store.overwrite(table, rows) for table, rows in content.counts.items()}
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
        lance_versions={
            **{table: counted.version for table, counted in written.items()},
            "images": dataset.version + 1,
        },
        versions=find_versions(),
        shards=content.shards,
        sheets=content.sheets,
        lists_sha256=content.lists_sha256,
        columns_sha256=content.columns_sha256,
        columns=content.columns,
        outdated=content.outdated,
        vectors=describe_vectors(dataset, content.columns),
        declared=content.declared,
    )
    written["images"] = _commit(store, dataset, manifest, content.shards_sha256)
    for table in TABLES:
        store.create_tag(table, name, manifest.lance_versions[table], written[table])
    return manifest


def _remove_unfinished(
    store: LanceStore, dataset: lance.LanceDataset, tags: dict[str, dict[str, int]]
) -> None:
    """Removes the tags of counts that a release or a deletion left which was cut off.

    That is those of a release without its last tag, on the versions that it was to have, and those
    of releases that were deleted. They are taken out of `tags` as well.
    """
    last = json.loads(dataset.metadata.get(LAST_RELEASE_KEY, "{}"))
    for table in COUNT_TABLES:
        left = {name for name in list_deleted(dataset) if name in tags[table]}
        for name, versions in last.items():
            # Of a release from before `site_counts` there is no version of it.
            if name not in tags["images"] and tags[table].get(name, 0) == versions.get(table):
                left.add(name)
        for name in left:
            store.open(table).tags.delete(name)
            del tags[table][name]


def _commit(
    store: LanceStore, dataset: lance.LanceDataset, manifest: Manifest, shards_sha256: str
) -> lance.LanceDataset:
    """Makes the version of `images` that the release is, the next one after what was checked."""
    import lance

    note = json.dumps({manifest.release: manifest.lance_versions})
    digests = ReleaseDigests.of(manifest, shards_sha256).model_dump_json()
    update = lance.LanceOperation.UpdateMap({LAST_RELEASE_KEY: note, DIGESTS_KEY: digests})
    transaction = lance.Transaction(
        dataset.version,
        lance.LanceOperation.UpdateConfig(table_metadata_updates=update),
        transaction_properties={MANIFEST_KEY: manifest.model_dump_json()},
    )
    # Lance puts it on top of what others have committed meanwhile.
    committed = store.commit("images", transaction, dataset)
    if committed.version != manifest.lance_versions["images"]:
        raise StaleTableError(
            "a shard was replaced during the release; release again",
            is_passing=True,
            code="release-overtaken",
        )
    return committed
