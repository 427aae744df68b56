"""A release finds the nearest vectors: its index follows every load, and says how well it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.embeddings import recall, vector_index
from laion_assets.embeddings.nearest import find_nearest, pack_rows
from laion_assets.embeddings.vector_index import VECTOR_INDEX, count_partitions, find_unindexed
from laion_assets.lance_images.table import remove_shards
from laion_assets.releases.asset import _describe
from laion_assets.releases.catalog import newest_release
from laion_assets.releases.checks import indices_cover_every_row, nearest_vectors_are_found
from laion_assets.releases.coverage import measure_coverage
from laion_assets.releases.manifest import Manifest, ReleasedVectors
from laion_assets.schemas import vector_schema
from laion_assets.settings import Settings
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import ColumnOrder, add_columns
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import estimate_release
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.resources import LanceResource
from laion_assets_tests.embeddings.vectors import DIMENSION, Vectors, bring_vectors, cluster
from laion_assets_tests.pipeline import count, ingest, publish, refresh

pytestmark = pytest.mark.slow

PARTITION, SAMPLES = 512, 40


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the table were some times as large; each sampled row costs a search or several."""
    monkeypatch.setattr(vector_index, "PARTITION_VECTORS", PARTITION)
    monkeypatch.setattr(recall, "SAMPLE_COUNT", SAMPLES)


def release(settings: Settings) -> Manifest:
    count(settings)
    return publish(settings).manifest


def vectors_of(manifest: Manifest) -> ReleasedVectors:
    assert manifest.vectors is not None
    return manifest.vectors


def index_of(settings: Settings) -> list[tuple[str, set[int]]]:
    dataset = LanceStore(settings.lance_dir).open("images")
    return [
        (str(segment.uuid), set(segment.fragment_ids))
        for index in dataset.describe_indices()
        if index.name == VECTOR_INDEX
        for segment in index.segments
    ]


def coverage_of(settings: Settings, manifest: Manifest) -> tuple[int, int] | None:
    for one in measure_coverage(LanceStore(settings.lance_dir), manifest):
        if one.index == VECTOR_INDEX:
            return one.indexed_rows, one.unindexed_rows
    return None


def nearest_row(settings: Settings, vector: Vectors) -> tuple[str, int]:
    """Returns shard and row of the nearest vector, by the index alone."""
    dataset = LanceStore(settings.lance_dir).open("images")
    found = find_nearest(dataset, vector, 1, nprobes=4)
    rows = pa.array(found.rows)
    (row,) = dataset._take_rows(rows, columns=["shard", "row_index"]).to_pylist()
    assert found.similarities[0] > 0.999
    return row["shard"], row["row_index"]


def test_the_first_release_with_enough_vectors_has_an_index(settings: Settings) -> None:
    bring_vectors(settings, "a", cluster(3000))
    manifest = release(settings)

    vectors = vectors_of(manifest)
    assert (vectors.vector_count, vectors.dimension) == (3000, DIMENSION)
    assert vectors.partition_count == 3000 // PARTITION
    assert (vectors.sample_count, vectors.encoder_digest) == (SAMPLES, None)
    assert vectors.recall_at_10 >= 0.98
    assert 0 < vectors.nprobes <= recall.FIRST_NPROBES
    assert coverage_of(settings, manifest) == (3000, 0)
    (index,) = (
        index
        for index in LanceStore(settings.lance_dir).open("images").describe_indices()
        if index.name == VECTOR_INDEX
    )
    assert index.num_rows_indexed == 3000


@pytest.mark.exhaustive
def test_few_vectors_have_none_and_the_record_says_so(settings: Settings) -> None:
    bring_vectors(settings, "a", [*cluster(PARTITION - 1), None])
    published = publish_counted(settings)

    vectors = vectors_of(published.manifest)
    assert (vectors.vector_count, vectors.partition_count, vectors.nprobes) == (PARTITION - 1, 0, 0)
    assert vectors.index == "none, so few that each is compared"
    assert index_of(settings) == []
    assert coverage_of(settings, published.manifest) is None
    assert _describe(published)["vector_index"] == vectors.index
    assert check(settings).passed
    assert nearest_row(settings, cluster(PARTITION - 1)[7]) == ("a", 7)


def publish_counted(settings: Settings) -> Any:
    count(settings)
    return publish(settings)


def check(settings: Settings) -> dg.AssetCheckResult:
    return nearest_vectors_are_found.compute(LanceResource(path=str(settings.lance_dir)))


@pytest.mark.exhaustive
def test_a_release_without_vectors_measures_nothing(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    published = publish_counted(settings)
    assert published.manifest.vectors is None
    assert _describe(published)["vectors"] == 0
    assert check(settings).passed


@pytest.mark.exhaustive
def test_a_column_without_any_vector_gets_no_index(settings: Settings) -> None:
    bring_vectors(settings, "a", [*cluster(1), *[None] * (2 * PARTITION)])
    store = LanceStore(settings.lance_dir)
    # The column stays, as after the removal of the only shard with vectors.
    bring_vectors(settings, "b", [None] * (2 * PARTITION))
    remove_shards(store, "images", ["a"])
    dataset = store.open("images")
    assert vector_index.update_vector_index(store, dataset).version == dataset.version
    assert recall.measure_vectors(dataset) is None


@pytest.mark.exhaustive
def test_the_index_follows_every_load_and_stays_one(settings: Settings) -> None:
    first, second, other = (cluster(2000, seed) for seed in (1, 2, 3))
    bring_vectors(settings, "a", first)
    bring_vectors(settings, "b", second)
    release(settings)
    (before,) = index_of(settings)

    # One is replaced by other vectors, one comes without any, one with some.
    bring_vectors(settings, "b", other)
    ingest(settings, "c", "a fox", "a hare")
    bring_vectors(settings, "d", [*second[:300], *[None] * 10])
    store = LanceStore(settings.lance_dir)
    unindexed = find_unindexed(store.open("images"))
    assert unindexed
    manifest = release(settings)

    (after,) = index_of(settings)
    assert after[0] != before[0]
    assert not find_unindexed(store.open("images"))
    assert vectors_of(manifest).vector_count == 4300
    assert coverage_of(settings, manifest) == (4300, 0)
    assert vectors_of(manifest).recall_at_10 >= 0.98
    for row in (0, 999, 1999):
        assert nearest_row(settings, first[row]) == ("a", row)
        assert nearest_row(settings, other[row]) == ("b", row)
    assert nearest_row(settings, second[299]) == ("d", 299)
    # What was replaced is found no more, and nothing twice.
    found = find_nearest(store.open("images"), second[1500], 50, nprobes=16)
    assert found.similarities[0] < 0.999
    assert len(set(found.rows.tolist())) == 50
    # Where nothing changed, nothing is written.
    version = store.open("images").version
    assert not publish(settings).is_new
    assert index_of(settings) == [after]
    assert store.open("images").version == version


@pytest.mark.exhaustive
def test_vectors_that_are_not_indexed_yet_are_found_and_told_of(settings: Settings) -> None:
    bring_vectors(settings, "a", cluster(2000))
    manifest = release(settings)
    fresh = cluster(100, seed=9)
    bring_vectors(settings, "b", [*fresh, None])
    assert nearest_row(settings, fresh[42]) == ("b", 42)
    # As if a release pointed at this version: of the rows without a vector none is missing.
    store = LanceStore(settings.lance_dir)
    newest = store.open("images")
    store.create_tag("images", "later", newest.version)
    later = manifest.model_copy(
        update={
            "release": "later",
            "lance_versions": {"images": newest.version},
            "vectors": vectors_of(manifest).model_copy(update={"vector_count": 2100}),
        }
    )
    assert coverage_of(settings, later) == (2000, 100)


@pytest.mark.exhaustive
def test_vectors_put_in_place_of_others_are_found_and_the_others_are_not(
    settings: Settings,
) -> None:
    first, other = cluster(2000), cluster(2000, seed=5)
    bring_vectors(settings, "a", first)
    ingest(settings, "b", *[f"row {row}" for row in range(300)])
    release(settings)
    fragments = len(LanceStore(settings.lance_dir).open("images").get_fragments())
    # The same fragments, which the index has, get new files.
    write_vectors(settings, "a", other)
    write_vectors(settings, "b", cluster(300, seed=6))
    assert len(LanceStore(settings.lance_dir).open("images").get_fragments()) == fragments
    for _ in range(2):
        assert nearest_row(settings, other[77]) == ("a", 77)
        assert nearest_row(settings, cluster(300, seed=6)[3]) == ("b", 3)
        found = find_nearest(
            LanceStore(settings.lance_dir).open("images"), first[77], 20, nprobes=8
        )
        assert found.similarities[0] < 0.999
        assert len(set(found.rows.tolist())) == 20
        # Once before and once after the next release.
        manifest = release(settings)
    assert coverage_of(settings, manifest) == (2300, 0)


def write_vectors(settings: Settings, shard: str, vectors: Vectors) -> None:
    schema = vector_schema(DIMENSION)
    order = ColumnOrder(shard, ColumnSet("embeddings", schema), ("row_index",), "test", "run")

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in keys:
            numbers = pa.array(vectors[batch["row_index"].to_numpy()].astype("f2").reshape(-1))
            values = pa.FixedSizeListArray.from_arrays(numbers, DIMENSION)
            yield pa.RecordBatch.from_arrays([values], schema=schema)

    add_columns(Database(settings.database), LanceStore(settings.lance_dir), order, compute)


@pytest.mark.exhaustive
def test_it_is_trained_anew_when_the_vectors_have_doubled(settings: Settings) -> None:
    bring_vectors(settings, "a", cluster(1100, 1))
    assert vectors_of(release(settings)).partition_count == 2
    bring_vectors(settings, "b", cluster(900, 2))
    assert vectors_of(release(settings)).partition_count == 2
    bring_vectors(settings, "c", cluster(200, 3))
    manifest = release(settings)
    assert vectors_of(manifest).partition_count == 4
    assert len(index_of(settings)) == 1
    assert coverage_of(settings, manifest) == (2200, 0)


@pytest.mark.exhaustive
def test_the_other_indices_are_left_as_they_are(settings: Settings) -> None:
    bring_vectors(settings, "a", cluster(1500))
    store = LanceStore(settings.lance_dir)
    release(settings)
    before = others(store)
    dataset = store.open("images")
    partitions = count_partitions(dataset)
    dataset.drop_index(VECTOR_INDEX)
    vector_index.update_vector_index(store, store.open("images"))
    assert count_partitions(store.open("images")) == partitions
    assert others(store) == before


def others(store: LanceStore) -> dict[str, list[str]]:
    return {
        index.name: [str(segment.uuid) for segment in index.segments]
        for index in store.open("images").describe_indices()
        if index.name != VECTOR_INDEX
    }


@pytest.mark.exhaustive
def test_the_measure_is_the_same_each_time_and_sees_a_bad_index(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without clusters, neighbours are in many partitions.
    noise = np.random.default_rng(5).standard_normal((6000, DIMENSION)).astype("f4")
    bring_vectors(settings, "a", noise)
    monkeypatch.setattr(recall, "FIRST_NPROBES", 1)
    monkeypatch.setattr(recall, "SAMPLE_COUNT", 20)
    manifest = release(settings)
    dataset = LanceStore(settings.lance_dir).open("images", manifest.release)
    measured = recall.measure_vectors(dataset)
    assert measured == recall.measure_vectors(dataset)
    assert measured is not None
    # It looked into more until it found enough.
    assert measured.nprobes > 1
    assert measured.recall_at_10 >= 0.95
    monkeypatch.setattr(recall, "WANTED_RECALL", 0.0)
    monkeypatch.setattr(recall, "SAMPLE_COUNT", 70)
    bad = recall.measure_vectors(dataset)
    assert bad is not None
    assert bad.recall_at_10 < 0.8
    by_hand = recall_by_hand(settings, nprobes=1)
    assert abs(bad.recall_at_10 - by_hand) < 0.1


def recall_by_hand(settings: Settings, nprobes: int) -> float:
    """Returns the recall over other rows than the release takes, by numpy alone."""
    dataset = LanceStore(settings.lance_dir).open("images")
    table = dataset.to_table(["img_emb"], with_row_id=True)
    rows = table["_rowid"].to_numpy()
    numbers = table["img_emb"].combine_chunks().flatten().to_numpy().astype("f8")
    vectors = numbers.reshape(len(rows), -1)
    shares = []
    for place in range(11, 6000, 59):
        found = find_nearest(dataset, vectors[place], 11, nprobes=nprobes)
        order = np.argsort(-(vectors @ vectors[place]))
        truth = set(rows[order[1:11]].tolist())
        shares.append(len(truth & set(found.rows.tolist())) / 10)
    return float(np.mean(shares))


@pytest.mark.exhaustive
def test_the_check_fails_below_95_percent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(5).standard_normal((6000, DIMENSION)).astype("f4")
    bring_vectors(settings, "a", noise)
    monkeypatch.setattr(recall, "FIRST_NPROBES", 1)
    monkeypatch.setattr(recall, "WANTED_RECALL", 0.0)
    manifest = release(settings)
    result = check(settings)
    assert not result.passed
    assert result.metadata["recall_at_10"].value == vectors_of(manifest).recall_at_10
    covered = indices_cover_every_row.compute(LanceResource(path=str(settings.lance_dir)))
    assert covered.passed


@pytest.mark.exhaustive
def test_equal_vectors_stand_for_each_other(settings: Settings) -> None:
    vectors = cluster(1200)
    vectors[:600] = vectors[0]
    bring_vectors(settings, "a", vectors)
    assert vectors_of(release(settings)).recall_at_10 >= 0.98


@pytest.mark.exhaustive
def test_the_record_names_the_encoder_that_made_them(settings: Settings) -> None:
    bring_vectors(settings, "a", cluster(20))
    bring_vectors(settings, "b", cluster(20, seed=2))
    with Database(settings.database).write() as connection:
        connection.execute(
            "UPDATE shard_columns SET made_from = made_from || '|encoder abc123 my model' "
            "WHERE shard = 'b'"
        )
    assert vectors_of(release(settings)).encoder_digest == "abc123"


@pytest.mark.exhaustive
def test_a_record_from_before_is_read(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    tag = refresh(settings)
    store = LanceStore(settings.lance_dir)
    manifest = newest_release(store)
    assert manifest is not None
    text = manifest.model_dump_json(exclude={"vectors"})
    assert Manifest.model_validate_json(text).vectors is None
    assert manifest.release == tag


@pytest.mark.exhaustive
def test_only_rows_that_may_be_found_are(settings: Settings) -> None:
    vectors = cluster(3000)
    bring_vectors(settings, "a", vectors[:2000])
    bring_vectors(settings, "b", vectors[2000:])
    release(settings)
    dataset = LanceStore(settings.lance_dir).open("images")
    table = dataset.to_table(["img_emb"], with_row_id=True)
    rows = np.sort(table["_rowid"].to_numpy())
    numbers = table["img_emb"].combine_chunks().flatten().to_numpy().astype("f8")
    by_row = dict(zip(table["_rowid"].to_pylist(), numbers.reshape(len(rows), -1), strict=True))
    chance = np.random.default_rng(3)
    # None, one, some of each fragment, nearly all: lists and maps of bits.
    for share in (0.0, 0.0004, 0.01, 0.3, 0.97, 1.0):
        allowed = rows[chance.random(len(rows)) < share]
        query = by_row[int(rows[5])]
        found = find_nearest(dataset, query, 10, nprobes=16, allowed=pack_rows(allowed))
        truth = sorted(allowed.tolist(), key=lambda row: -float(by_row[row] @ query))[:10]
        assert len(found.rows) == len(truth)
        assert len(set(found.rows.tolist()) & set(truth)) >= 0.9 * len(truth)
        assert set(found.rows.tolist()) <= set(allowed.tolist())


@pytest.mark.exhaustive
def test_places_in_a_large_fragment_are_packed_as_lance_reads_them(settings: Settings) -> None:
    chance = np.random.default_rng(4)
    bring_vectors(settings, "a", chance.standard_normal((70_000, 2)).astype("f4"))
    dataset = LanceStore(settings.lance_dir).open("images")
    for share in (0.001, 0.2, 1.0):
        allowed = np.flatnonzero(chance.random(70_000) < share).astype(np.uint64)
        found = dataset.scanner(
            columns=[], row_addr_allowlist=pack_rows(allowed), with_row_id=True
        ).to_table()
        assert sorted(found["_rowid"].to_pylist()) == allowed.tolist()


@pytest.mark.exhaustive
def test_the_index_is_part_of_the_room_that_is_looked_for(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    store = LanceStore(settings.lance_dir)
    bring_vectors(settings, "b", cluster(1000))
    dataset = store.open("images")
    version = dataset.version
    without = estimate_release(dataset) - 1000 * DIMENSION * 2
    dataset.drop_columns(["img_emb"])
    assert store.open("images").version > version
    assert estimate_release(store.open("images")) == without


@pytest.mark.exhaustive
def test_another_machine_measures_the_same(settings: Settings, tmp_path: Path) -> None:
    other = replace(settings, data_dir=tmp_path / "other")
    for one in (settings, other):
        bring_vectors(one, "a", cluster(1500))
    first, second = (vectors_of(release(one)) for one in (settings, other))
    assert first.vector_count == second.vector_count
    assert abs(first.recall_at_10 - second.recall_at_10) < 0.02


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "kept",
    [1.0, pytest.param(0.6, marks=pytest.mark.exhaustive), 0.04],
    ids=["all", "most", "few"],
)
def test_all_vectors_are_read_once_whatever_rows_have_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    monkeypatch.setattr(vector_index, "PARTITION_VECTORS", 64)
    monkeypatch.setattr(recall, "SAMPLE_COUNT", 20)
    monkeypatch.setattr(recall, "MOST_TRIED", 100)
    noise = np.random.default_rng(5).standard_normal((9000, DIMENSION)).astype("f4")
    has_one = np.random.default_rng(6).random(9000) < kept
    bring_vectors(
        settings, "a", [v if there else None for v, there in zip(noise, has_one, strict=True)]
    )
    ingest(settings, "b", "a fox", "a hare")
    manifest = release(settings)
    vectors = vectors_of(manifest)
    assert (vectors.vector_count, vectors.sample_count) == (has_one.sum(), 20)
    assert vectors.recall_at_10 >= 0.95

    dataset = LanceStore(settings.lance_dir).open("images", manifest.release)
    table = dataset.to_table(["img_emb"], filter="img_emb IS NOT NULL", with_row_id=True)
    numbers = table["img_emb"].combine_chunks().flatten().to_numpy().astype("f8")
    units = numbers.reshape(table.num_rows, -1)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    places = np.arange(3, table.num_rows, table.num_rows // 20)
    rows = table["_rowid"].to_numpy()
    count, nearest = recall.compare_with_all(dataset, rows[places], units[places].astype("f4"))
    assert count == table.num_rows
    cosines = units[places] @ units.T
    cosines[np.arange(len(places)), places] = -1
    assert nearest == pytest.approx(-np.sort(-cosines, axis=1)[:, :10], abs=1e-5)

    passes, scan = [], recall._scan

    def note(*given: Any) -> Iterator[pa.RecordBatch]:
        passes.append(given)
        return scan(*given)

    monkeypatch.setattr(recall, "_scan", note)
    assert recall.measure_vectors(dataset) is not None
    # Only where hardly any row has one they have to be listed first.
    assert len(passes) == (2 if kept < 0.1 else 1)
