"""Lance datasets as sources: each fragment is a shard, and comes with every byte."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import GoneError, ShardError
from laion_assets.raw_shards.discovery import Discovery, discover
from laion_assets.raw_shards.fetch import bring_shard, fetch_shard
from laion_assets.raw_shards.sources import lance_dataset
from laion_assets.raw_shards.sources.listing import find_shard, list_shards
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.hub_server import Hub

ROWS, FRAGMENT_ROWS = 25, 10
SHARDS = ["train-00000", "train-00001", "train-00002"]
DATASET = "lance-format/laion-1m"
PLACE = f"hf://datasets/{DATASET}/data/train.lance"


def make_rows(rows: int = ROWS, seed: int = 1) -> pa.Table:
    """Rows with the columns of laion-1m, and two that nobody here reads."""
    noise = np.random.default_rng(seed)
    vectors = noise.standard_normal(rows * 768, dtype=np.float32)
    pictures = [None if n % 7 == 3 else noise.bytes(2000 + n) for n in range(rows)]
    return pa.table(
        {
            "key": pa.array(range(rows), pa.int64()),
            "image": pa.array(pictures, pa.large_binary()),
            "image_path": [f"{n:09}.jpg" for n in range(rows)],
            "caption": [f"caption {n}" for n in range(rows)],
            "url": [f"https://a.test/{n}.jpg" for n in range(rows)],
            "NSFW": pa.array([n % 2 for n in range(rows)], pa.int64()),
            "LICENSE": ["?"] * rows,
            "similarity": noise.random(rows),
            "width": pa.array([256] * rows, pa.int64()),
            "height": pa.array([192] * rows, pa.int64()),
            "original_width": pa.array([640] * rows, pa.int64()),
            "original_height": pa.array([480] * rows, pa.int64()),
            "exif": ["{}"] * rows,
            "md5": [f"{n:032x}" for n in range(rows)],
            "status": ["success"] * rows,
            "error_message": pa.nulls(rows, pa.string()),
            "img_emb": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 768),
            "mask": pa.array([b"mask"] * rows, pa.binary()),
        }
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "train.lance"
    lance.write_dataset(make_rows(), str(path), max_rows_per_file=FRAGMENT_ROWS)
    return path


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path / "raw")


def look(place: str, store: RawStore, known: Iterable[str] = SHARDS) -> Discovery:
    return discover([place], store, SourceRules(), list(known))


def bring_all(place: str, store: RawStore) -> None:
    for source in list_shards([place]).sources.values():
        fetch_shard(source, store)


@pytest.mark.slow
def test_each_fragment_is_a_shard_with_every_byte_of_its_rows(
    dataset: Path, store: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several row groups a fragment.
    monkeypatch.setattr(lance_dataset, "HELD_BYTES", 20_000)
    listing = list_shards([str(dataset)])
    assert (list(listing.sources), listing.problems) == (SHARDS, [])

    bring_all(str(dataset), store)

    rows = make_rows().drop_columns(["mask"])
    for number, shard in enumerate(SHARDS):
        expected = rows.slice(number * FRAGMENT_ROWS, FRAGMENT_ROWS)
        assert pq.read_table(store.path(shard)).equals(expected)
        raw = store.read(shard)
        assert raw.source == f"{dataset} (fragment {number})"
        assert (raw.file_rows, raw.has_pictures, raw.has_vectors) == (len(expected), True, True)
    assert pq.read_metadata(store.path(SHARDS[0])).num_row_groups > 1
    assert not [path.name for path in store.folder.iterdir() if ".part" in path.name]


def test_a_glob_names_several_datasets_and_two_of_one_name_are_refused(dataset: Path) -> None:
    shutil.copytree(dataset, dataset.with_name("test.lance"))
    assert len(list_shards([f"{dataset.parent}/*.lance"]).sources) == 6
    shutil.copytree(dataset, dataset.parent / "other" / "train.lance")
    listing = list_shards([f"{dataset.parent}/**/*.lance"])
    assert set(listing.refused) == set(SHARDS)
    assert list_shards([f"{dataset.parent}/none*.lance"]).warnings


@pytest.mark.slow
def test_an_unchanged_fragment_is_not_written_again(dataset: Path, store: RawStore) -> None:
    bring_all(str(dataset), store)
    before = {shard: store.read(shard) for shard in SHARDS}
    times = {shard: store.path(shard).stat().st_ino for shard in SHARDS}
    lance.write_dataset(make_rows(4, seed=2), str(dataset), mode="append")

    found = look(str(dataset), store)

    assert (found.new, found.changed, found.gone) == (["train-00003"], [], [])
    bring_all(str(dataset), store)
    assert {shard: store.read(shard) for shard in SHARDS} == before
    assert {shard: store.path(shard).stat().st_ino for shard in SHARDS} == times
    assert look(str(dataset), store, [*SHARDS, "train-00003"]).due == {}


@pytest.mark.slow
def test_a_changed_fragment_is_due_and_one_that_is_gone_stays(
    dataset: Path, store: RawStore
) -> None:
    bring_all(str(dataset), store)
    # A row of the first is deleted, and all of the second.
    lance.dataset(str(dataset)).delete(f"key = 3 OR (key >= {FRAGMENT_ROWS} AND key < 20)")

    found = look(str(dataset), store)

    assert (found.changed, found.gone) == ([SHARDS[0]], [SHARDS[1]])
    raw, is_gone = bring_shard([str(dataset)], SHARDS[0], store, SourceRules())
    assert (raw.file_rows, is_gone) == (FRAGMENT_ROWS - 1, False)
    keys = pq.read_table(store.path(SHARDS[0]))["key"].to_pylist()
    assert keys == [n for n in range(FRAGMENT_ROWS) if n != 3]
    raw, is_gone = bring_shard([str(dataset)], SHARDS[1], store, SourceRules())
    assert (raw.file_rows, is_gone) == (FRAGMENT_ROWS, True)


def test_a_renamed_column_is_a_change(dataset: Path, store: RawStore) -> None:
    bring_all(str(dataset), store)
    renamed: Any = {"path": "LICENSE", "name": "license_text"}
    lance.dataset(str(dataset)).alter_columns(renamed)
    assert look(str(dataset), store).changed == SHARDS


def test_a_fragment_that_goes_between_list_and_fetch_is_named(
    dataset: Path, store: RawStore
) -> None:
    source = list_shards([str(dataset)]).sources[SHARDS[2]]
    lance.dataset(str(dataset)).delete("key >= 20")
    with raises("lance-fragment-gone"):
        fetch_shard(source, store)
    shutil.rmtree(dataset)
    with pytest.raises(GoneError, match=r"train\.lance \(fragment 2\): no such Lance dataset"):
        fetch_shard(source, store)


def test_blobs_come_as_bytes(tmp_path: Path, store: RawStore) -> None:
    rows = make_rows()
    fields = [
        f.with_metadata({"lance-encoding:blob": "true"}) if f.name == "image" else f
        for f in rows.schema
    ]
    lance.write_dataset(rows.cast(pa.schema(fields)), str(tmp_path / "b.lance"))
    bring_all(str(tmp_path / "b.lance"), store)
    found = pq.read_table(store.path("b-00000"))
    assert found["image"].to_pylist() == rows["image"].to_pylist()
    assert store.read("b-00000").has_pictures


def test_a_dataset_without_captions_is_refused_before_it_is_read(
    tmp_path: Path, store: RawStore
) -> None:
    place = str(tmp_path / "x.lance")
    lance.write_dataset(make_rows().drop_columns(["caption"]), place)
    with pytest.raises(ShardError, match=r"x\.lance \(fragment 0\): no caption column"):
        fetch_shard(list_shards([place]).sources["x-00000"], store)
    assert list(store.folder.glob(".*part*")) == []


BROKEN = {
    "no folder": ("/nowhere/x.lance", "no such Lance dataset"),
    "a bucket": ("s3://bucket/x.lance", "copy it here"),
    "a glob on the Hub": ("hf://datasets/a/b/*.lance", "name one dataset"),
    "no dataset of the Hub": ("hf://models/a/x.lance", "expected hf://datasets/"),
}


@pytest.mark.parametrize(("place", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_a_location_that_cannot_be_read_is_named(place: str, problem: str) -> None:
    (found,) = list_shards([place]).problems
    assert place in found
    assert problem in found


def test_a_dataset_with_damaged_files_is_named_and_leaves_nothing(
    dataset: Path, store: RawStore
) -> None:
    for file in (dataset / "data").iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with raises("lance-unreadable"):
        fetch_shard(list_shards([str(dataset)]).sources[SHARDS[0]], store)
    assert list(store.folder.glob(".*part*")) == []


def read_files(dataset: Path) -> Mapping[str, bytes]:
    """The files of a dataset, as the Hub has them."""
    root = dataset.parent
    files = (path for path in dataset.rglob("*") if path.is_file())
    return MappingProxyType({f"data/{p.relative_to(root)}": p.read_bytes() for p in files})


@pytest.fixture
def lance_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    # Lance reads the variable itself.
    monkeypatch.setenv("HF_ENDPOINT", hub.server.origin)
    return hub


@pytest.mark.slow
def test_a_dataset_of_the_hub_comes_with_every_byte(
    lance_hub: Hub, rules: SourceRules, dataset: Path, store: RawStore
) -> None:
    lance_hub.publish(DATASET, read_files(dataset))

    for number, shard in enumerate(SHARDS):
        raw, is_gone = bring_shard([PLACE], shard, store, rules)
        assert (raw.source, is_gone) == (f"{PLACE} (fragment {number})", False)

    found = pa.concat_tables(pq.read_table(store.path(shard)) for shard in SHARDS)
    assert found.equals(make_rows().drop_columns(["mask"]))
    # What is here is not asked for again, but for the list.
    sent = lance_hub.cdn.sent_bytes
    bring_shard([PLACE], SHARDS[0], store, rules)
    size = store.read(SHARDS[0]).file_bytes
    assert lance_hub.cdn.sent_bytes - sent < size / 4


def test_a_run_of_another_shard_does_not_ask_for_the_dataset(
    lance_hub: Hub, rules: SourceRules, dataset: Path, tmp_path: Path
) -> None:
    lance_hub.publish(DATASET, read_files(dataset))
    lance_hub.server.requests.clear()
    (tmp_path / "other-00000.parquet").touch()
    assert find_shard([PLACE, f"{tmp_path}/*.parquet"], "other-00000", rules) is not None
    assert lance_hub.server.requests == []
    # It could be a release that was published, which has shards of any name.
    assert find_shard([PLACE], "train", rules) is None
    assert find_shard([PLACE], SHARDS[1], rules) is not None


@pytest.mark.slow
def test_a_revision_and_a_token_are_used(
    lance_hub: Hub, rules: SourceRules, dataset: Path, store: RawStore
) -> None:
    lance_hub.publish(DATASET, read_files(dataset), "v1", is_private=True)
    place = PLACE.replace(DATASET, f"{DATASET}@v1")
    rules = replace(rules, hub_token=lance_hub.token)
    raw, _ = bring_shard([place], SHARDS[0], store, rules)
    assert raw.file_rows == FRAGMENT_ROWS
    (problem,) = list_shards([place], replace(rules, hub_token=None)).problems
    assert "set HF_TOKEN" in problem
    (problem,) = list_shards([PLACE], rules).problems
    assert "no such Lance dataset" in problem
