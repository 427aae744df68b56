"""What a release covers: rows in its indices, and counts that are up to date."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import duckdb

from laion_assets.counts.refresh import list_fresh
from laion_assets.embeddings.vector_index import VECTOR_INDEX, count_vectors, find_unindexed
from laion_assets.errors import StaleTableError
from laion_assets.releases.catalog import (
    list_count_tables,
    list_tags,
    newest_release,
    open_released,
)
from laion_assets.releases.columns_of_release import are_released
from laion_assets.releases.digests import ReleaseDigests, digest_shards, read_digests
from laion_assets.releases.manifest import Manifest, digest_columns
from laion_assets.releases.partial import show_released
from laion_assets.stores.columns import read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.rows import fetch_rows
from laion_assets.stores.sql import load_sql, quote_identifier


def find_unreleased(
    database: Database, store: LanceStore, kinds: Iterable[str], without: Collection[str] = ()
) -> str | None:
    """Returns a word for the loaded shards if counts or the newest release are out of date.

    None if they are up to date, or if there is no shard. A release is up to date if its content is
    what DuckDB has, whatever was loaded again since.

    Args:
        database: the tables.
        store: the Lance tables.
        kinds: the kinds of names that are counted.
        without: shards that the release may have as it likes, or not at all.
    """
    if not database.exists():
        return None
    dataset = store.find("images")
    digests = None if dataset is None else read_digests(dataset, list_tags(store, dataset))
    with database.read() as connection:
        ((state,),) = connection.execute(load_sql("releases/select_state")).fetchall()
        if state is None:
            return None
        # Mostly nothing has changed, and then the record, with a line for each shard, is not read.
        is_released = not without and digests is not None and _is_same(connection, digests)
        contents = [] if is_released else _read_contents(connection, without)
        if not (is_released or contents):
            return None
        try:
            check_counts(connection, kinds)
        except StaleTableError:
            return str(state)
        if not is_released:
            newest = newest_release(store)
            is_released = newest is not None and _is_released(connection, newest, contents, without)
    return None if is_released else str(state)


def _is_same(connection: duckdb.DuckDBPyConnection, digests: ReleaseDigests) -> bool:
    """Returns whether a release has all of the tables, of which the counts are fresh.

    If not, it may be so all the same: its record tells.
    """
    notes = read_notes(connection)
    return (
        digest_shards(connection) == digests.shards_sha256
        and all(note.lance_version is not None for note in notes)
        and digest_columns(notes) == digests.columns_sha256
        and _read_sheets(connection) == digests.sheets
    )


def _read_sheets(connection: duckdb.DuckDBPyConnection) -> dict[object, object]:
    answer = connection.execute(load_sql("releases/select_released_sheets"))
    return {sheet["kind"]: sheet["sha256"] for sheet in fetch_rows(answer).records}


def _read_contents(
    connection: duckdb.DuckDBPyConnection, without: Collection[str]
) -> list[tuple[object, ...]]:
    rows = connection.execute(load_sql("releases/select_shard_contents")).fetchall()
    return sorted(row for row in rows if row[0] not in without)


def _is_released(
    connection: duckdb.DuckDBPyConnection,
    manifest: Manifest,
    contents: list[tuple[object, ...]],
    without: Collection[str],
) -> bool:
    """Returns whether a release has the content of the tables, of which the counts are fresh.

    The counts follow from the shards and the names, so they are read only if a sheet has changed.
    """
    released = [
        (s.shard, s.sha256, s.image_count, s.rejected_count, s.cleaning_version)
        for s in manifest.shards
        if s.shard not in without
    ]
    if contents != sorted(released) or not are_released(connection, manifest, without):
        return False
    if _read_sheets(connection) == {sheet.kind: sheet.sha256 for sheet in manifest.sheets}:
        return True
    digests = dict(connection.execute(load_sql("releases/digest_counts")).fetchall())
    return digests == dict(manifest.count_digests)


@dataclass(frozen=True)
class IndexCoverage:
    """How many rows of a released table an index has, and how many it has not."""

    table: str
    index: str
    indexed_rows: int
    unindexed_rows: int


def measure_coverage(store: LanceStore, manifest: Manifest) -> list[IndexCoverage]:
    """Returns what each index of the released tables covers, by Lance's own statistics.

    Of vectors these count rows that have none, so the vectors of other fragments are counted.
    """
    coverage = []
    for table in (*list_count_tables(manifest), "images"):
        dataset = open_released(store, manifest, table)
        for index in dataset.describe_indices():
            if index.name == VECTOR_INDEX:
                total = manifest.vectors.vector_count if manifest.vectors else 0
                missing = count_vectors(dataset, find_unindexed(dataset))
                rows = total - missing, missing
            else:
                numbers = dataset.stats.index_stats(index.name)
                rows = numbers["num_indexed_rows"], numbers["num_unindexed_rows"]
            coverage.append(IndexCoverage(table, index.name, *rows))
    return coverage


def compare_counts(database: Database, store: LanceStore, manifest: Manifest) -> dict[str, int]:
    """Returns how many rows of each released table of counts differ from DuckDB's.

    A release that has older loads of some shards is compared with the counts of those.
    """
    differing = {}
    with database.read() as connection:
        if manifest.outdated:
            show_released(connection, store, manifest)
        for table in list_count_tables(manifest):
            released = open_released(store, manifest, table)
            connection.register("released", released.to_table())
            query = load_sql("releases/count_differing_counts").format(
                table=quote_identifier(table)
            )
            ((differing[table],),) = connection.execute(query).fetchall()
    return differing


def check_counts(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> None:
    """Raises `StaleTableError` unless the counts are those of the present shards and names."""
    fresh = list_fresh(connection, kinds)
    if "domain_counts" not in fresh:
        raise StaleTableError(
            "shards changed after the count; materialize `domain_counts` first",
            code="domain-counts-outdated",
        )
    if "site_counts" not in fresh:
        raise StaleTableError(
            "shards changed after the count; materialize `site_counts` first",
            code="site-counts-outdated",
        )
    if "entity_counts" not in fresh:
        raise StaleTableError(
            "a shard or a name changed since the count; materialize `entity_counts` first",
            code="entity-counts-outdated",
        )
