"""The names of data files say whose rows are in them; what they cannot say is looked into."""

import shutil
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.lance_images.copy import ShardComparison, compare_shards, find_uncopied
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_files import IdSums, list_shard_files
from laion_assets.stores.shard_fragments import find_fragments
from laion_assets_tests.pipeline import count, ingest, publish, refresh


def open_images(settings: Settings) -> lance.LanceDataset:
    return LanceStore.of(settings).open("images")


def compare(settings: Settings, *, is_reading: bool) -> list[ShardComparison]:
    with Database.of(settings).read() as connection:
        return compare_shards(connection, open_images(settings), is_reading=is_reading)


def find_differing(settings: Settings) -> list[str]:
    with Database.of(settings).read() as connection:
        return find_uncopied(connection, open_images(settings))


def list_named(settings: Settings) -> list[bool]:
    return [named is not None for _, named in list_shard_files(open_images(settings))]


def read_rows(settings: Settings) -> pa.Table:
    return (
        open_images(settings)
        .to_table()
        .sort_by([("shard", "ascending"), ("row_index", "ascending")])
    )


def ingest_three(settings: Settings) -> None:
    for shard in "abc":
        ingest(settings, shard, *(f"{shard} fox {row}" for row in range(3)))


def write_old_names(settings: Settings) -> None:
    """Gives all files names that say nothing, as older versions did, without another change."""
    rows = [fragment.to_table() for fragment in open_images(settings).get_fragments()]
    dataset = open_images(settings)
    store = LanceStore.of(settings)
    fragments = [f for each in rows for f in store.write_fragments("images", each.to_reader(), 100)]
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[f.fragment_id for f in dataset.get_fragments()],
        updated_fragments=[],
        new_fragments=fragments,
    )
    store.commit("images", lance.Transaction(dataset.version, operation))


@pytest.mark.slow
def test_every_file_says_whose_rows_it_has(settings: Settings) -> None:
    ingest_three(settings)
    ingest(settings, "b", "another fox")
    assert list_named(settings) == [True] * 3
    by_name, by_reading = (compare(settings, is_reading=way) for way in (False, True))
    assert by_name == by_reading
    assert [(c.shard, c.lance_rows, c.is_equal) for c in by_name] == [
        ("a", 3, True),
        ("b", 1, True),
        ("c", 3, True),
    ]
    dataset = open_images(settings)
    owners = {f.fragment_id: f.to_table()["shard"][0].as_py() for f in dataset.get_fragments()}
    for shard in "abc":
        assert [owners[n] for n in find_fragments(dataset, shard)] == [shard]
    assert find_fragments(dataset, "nobody") == []


@pytest.mark.exhaustive
def test_files_with_other_names_are_looked_into(settings: Settings) -> None:
    ingest_three(settings)
    tag = refresh(settings)
    rows, digest = read_rows(settings), publish(settings).manifest.content_sha256
    write_old_names(settings)
    assert list_named(settings) == [False] * 3
    assert find_differing(settings) == []
    # Some are named, and the others are not.
    ingest(settings, "b", *(f"b fox {row}" for row in range(3)))
    assert sorted(list_named(settings)) == [False, False, True]
    assert find_differing(settings) == []
    assert read_rows(settings) == rows
    count(settings)
    published = publish(settings)
    assert (published.manifest.release, published.is_new) == (tag, False)
    assert published.manifest.content_sha256 == digest


@pytest.mark.exhaustive
def test_joined_files_are_looked_into(settings: Settings) -> None:
    ingest_three(settings)
    open_images(settings).optimize.compact_files()
    assert list_named(settings) == [False]
    assert find_differing(settings) == []
    ingest(settings, "b", "another fox")
    assert sorted(read_rows(settings)["shard"].to_pylist()) == ["a"] * 3 + ["b"] + ["c"] * 3
    assert find_differing(settings) == []


@pytest.mark.exhaustive
def test_a_row_that_was_deleted_is_missed(settings: Settings) -> None:
    ingest_three(settings)
    open_images(settings).delete("shard = 'b' AND row_index = 1")
    assert find_differing(settings) == ["b"]


@pytest.mark.exhaustive
def test_an_id_that_was_changed_is_missed(settings: Settings) -> None:
    ingest_three(settings)
    open_images(settings).update({"image_id": "5"}, where="shard = 'b' AND row_index = 1")
    assert find_differing(settings) == ["b"]


@pytest.mark.exhaustive
def test_rows_of_a_shard_that_nobody_loaded_are_seen(settings: Settings) -> None:
    ingest_three(settings)
    open_images(settings).update({"shard": "'stray'"}, where="shard = 'b'")
    assert find_differing(settings) == ["b", "stray"]


@pytest.mark.slow
def test_a_name_that_lies_is_found_by_reading(settings: Settings) -> None:
    ingest_three(settings)
    data = Path(open_images(settings).uri) / "data"
    first, _, third = (f.data_files()[0].path for f in open_images(settings).get_fragments())
    shutil.copyfile(data / third, data / first)
    assert find_differing(settings) == []
    assert [c.shard for c in compare(settings, is_reading=True) if not c.is_equal] == ["a", "c"]


def test_sums_of_large_ids_are_exact() -> None:
    ids = np.array([2**63 - 1, 2**63 - 5, -(2**63), -(2**63), -(2**63), 7], np.int64)
    sums = IdSums()
    for part in (ids[:1], ids[1:4], ids[4:]):
        sums.see(pa.record_batch({"image_id": part}))
    expected = [sum(map(int, part)) for part in (ids[:2], ids[2:5], ids[5:])]
    assert sums.add_up([2, 3, 1]) == expected
