"""Lance tables in a bucket: value for value what they are in a folder, and refused where unsafe."""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.lance_images.table import replace_shard
from laion_assets.releases.catalog import find_release, list_releases, newest_release
from laion_assets.releases.cleanup import delete_release
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.object_store import PROBE, check_safe
from laion_assets.stores.removal_file import Entry, Removals
from laion_assets.stores.shard_fragments import find_fragments
from laion_assets.subsets.clean_subsets import list_unclean
from laion_assets.subsets.make_subset import SubsetOrder, make_subset
from laion_assets.training.released_table import open_release
from laion_assets.training.split_stream import open_split
from laion_assets_tests.pipeline import ingest, read_removals, refresh
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.buckets import Buckets, run_buckets

pytestmark = pytest.mark.slow


ROWS = pa.table({"shard": ["a"]})


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> LanceStore:
    """The tables in a bucket, and what is unfinished in a folder."""
    return LanceStore(tmp_path / "lance", bucket=f"{bucket}/lance")


@pytest.fixture(scope="session")
def unsafe_buckets() -> Iterator[Buckets]:
    """A service that ignores conditions."""
    with run_buckets(is_safe=False) as buckets:
        yield buckets


def read_rows(settings: Settings) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = LanceStore.of(settings).open("images").to_table().to_pylist()
    return sorted(rows, key=lambda row: (str(row["shard"]), str(row["row_index"])))


def move_to_bucket(settings: Settings, buckets: Buckets, bucket: str) -> Settings:
    """Brings Lance tables to a bucket, where they take ten times as long to make."""
    buckets.upload(settings.lance_dir, f"{bucket}/lance")
    shutil.rmtree(settings.data_dir)
    return replace(settings, bucket=bucket)


@pytest.mark.exhaustive
def test_tables_tags_and_removals_are_in_the_bucket(
    store: LanceStore, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    assert (store.find("images"), store.list_tables()) == (None, [])
    assert store.removals.read() == Removals()
    stamp = store.removals.stamp

    assert store.ensure("images", ROWS.schema)
    assert not store.ensure("images", ROWS.schema)
    store.overwrite("images", ROWS)
    store.create_tag("images", "one", 2)
    removals = Removals(location="a", entries=(Entry(1, "host", "digest"),))
    store.removals.write(removals)

    assert store.open("images", "one").to_table().equals(ROWS)
    assert store.list_tables() == ["images"]
    assert store.removals.read() == removals
    assert store.removals.stamp != stamp
    names = buckets.list_names(bucket)
    assert names
    assert all(name.startswith("some/place/lance/") for name in names)
    # The object that was made to try the store is gone.
    assert not any(PROBE in name for name in names)
    assert not list(tmp_path.rglob("*.lance"))


# `test_bucket_database.py` and `test_bucket_commands.py` compare the digests, too.
@pytest.mark.exhaustive
def test_a_release_from_a_bucket_has_the_digest_of_a_local_one(
    settings: Settings, bucket: str, tmp_path: Path
) -> None:
    there = replace(settings, data_dir=tmp_path / "there", bucket=bucket)
    for each in (settings, there):
        ingest(each, "a", "a red boat", "Some artists at work")
        ingest(each, "b", "a blue boat")
        refresh(each)
    # A shard that is loaded again replaces itself alone.
    before = {row["row_index"]: row for row in read_rows(there) if row["shard"] == "a"}
    for each in (settings, there):
        ingest(each, "b", "a green boat", "another boat")
        refresh(each)

    here_manifest, there_manifest = (
        newest_release(LanceStore.of(each)) for each in (settings, there)
    )
    assert here_manifest is not None
    assert there_manifest is not None
    assert there_manifest.content_sha256 == here_manifest.content_sha256
    assert read_rows(there) == read_rows(settings)
    assert {row["row_index"]: row for row in read_rows(there) if row["shard"] == "a"} == before
    assert not there.lance_dir.joinpath("images.lance").exists()
    search = open_search(LanceStore.of(there))
    for query in ("green", "gre*"):
        assert [hit["caption"] for hit in search.find(query).hits] == ["a green boat"]


@pytest.mark.exhaustive
def test_a_release_in_a_bucket_can_be_deleted(
    settings: Settings, buckets: Buckets, bucket: str
) -> None:
    ingest(settings, "a", "a red boat")
    first = refresh(settings)
    ingest(settings, "a", "a blue boat")
    second = refresh(settings)
    store = LanceStore.of(move_to_bucket(settings, buckets, bucket))

    assert find_release(store, first).release == first
    # A training loop opens it by its address alone.
    assert open_release(store.uri("images"), first).to_table()["caption"].to_pylist() == [
        "a red boat"
    ]
    delete_release(store, first, keep_days=0)

    assert [manifest.release for manifest in list_releases(store)] == [second]
    assert store.open("images").count_rows() == 1


@pytest.mark.exhaustive
def test_a_stream_from_a_bucket_obeys_the_list_of_removals_there(
    settings: Settings, buckets: Buckets, bucket: str
) -> None:
    ingest(settings, "a", *[f"caption {number}" for number in range(100)])
    tag = refresh(settings)
    there = move_to_bucket(settings, buckets, bucket)
    uri, columns = LanceStore.of(there).uri("images"), ("url", "split")
    urls = {row["url"] for row in open_split(uri, tag, "train", columns, seed=1)}
    removed = min(urls)

    read_removals(there, removed)

    left = {row["url"] for row in open_split(uri, tag, "train", columns, seed=1)}
    assert left == urls - {removed}


@pytest.mark.exhaustive
def test_a_subset_of_a_release_in_a_bucket_is_there_too(
    settings: Settings, buckets: Buckets, bucket: str
) -> None:
    ingest(settings, "a", "a red boat", "a blue boat", "a red car")
    tag = refresh(settings)
    there = move_to_bucket(settings, buckets, bucket)
    store = LanceStore.of(there)
    subset = DeclaredSubset("red", search="red", columns=("image_id", "url", "caption"))

    made = make_subset(store, SubsetOrder(subset, "run"), lambda _: None)

    assert made.is_new
    captions = store.open("red", tag).to_table()["caption"].to_pylist()
    assert sorted(captions) == ["a red boat", "a red car"]
    assert not make_subset(store, SubsetOrder(subset, "run"), lambda _: None).is_new
    read_removals(there, "a.test")
    assert list_unclean(store) == ["red"]


def test_a_store_that_has_too_much_to_do_is_asked_again(
    store: LanceStore, buckets: Buckets
) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.overwrite("images", ROWS),
        lambda: store.removals.write(Removals(location="a")),
        lambda: store.create_tag("images", "one", 1),
        lambda: store.open("images", "one").to_table(),
    ]
    for use in uses:
        buckets.fail(3)
        use()
        assert buckets.failures_left == 0

    assert store.open("images", "one").to_table().equals(ROWS)
    assert store.removals.read().location == "a"


def test_writers_at_once_lose_nothing(store: LanceStore) -> None:
    """Without any lock: what keeps their commits apart is the store's condition."""
    store.ensure("numbers", pa.schema([pa.field("number", pa.int64())]))

    def append(number: int) -> None:
        rows = pa.table({"number": [number]})
        fragments = store.write_fragments("numbers", rows.to_reader(), 10)
        operation = lance.LanceOperation.Append(fragments)
        store.commit("numbers", lance.Transaction(1, operation))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(12)))

    found = store.open("numbers").to_table()["number"].to_pylist()
    assert sorted(found) == list(range(12))


PROCESSES = 8
NUMBERS = pa.schema([pa.field("shard", pa.string()), pa.field("number", pa.int64())])


@pytest.mark.exhaustive
@pytest.mark.usefixtures("catalog")
def test_processes_that_replace_shards_of_one_table_lose_and_double_nothing(
    store: LanceStore, bucket: str, tmp_path: Path
) -> None:
    """Eight replace eight shards each, of which all have one row, and then two."""
    shards = [f"{number:02}" for number in range(PROCESSES**2)]
    store.ensure("images", NUMBERS)
    first = pa.table({"shard": shards, "number": [-1] * len(shards)}, NUMBERS)
    fragments = store.write_fragments("images", first.to_reader(), 1)
    store.commit("images", lance.Transaction(1, lance.LanceOperation.Append(fragments)))
    before = store.open("images").version

    places = [tmp_path / str(number) for number in range(PROCESSES)]
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        every = [shards[number::PROCESSES] for number in range(PROCESSES)]
        work = partial(replace_in_process, dict(os.environ), bucket)
        list(pool.map(work, places, every))

    dataset = store.open("images")
    assert dataset.version == before + len(shards)
    rows = dataset.to_table().sort_by([("shard", "ascending"), ("number", "ascending")])
    assert rows.equals(pa.concat_tables(write_numbers(shard) for shard in shards).combine_chunks())
    assert all(len(find_fragments(dataset, shard)) == 1 for shard in shards)


def write_numbers(shard: str) -> pa.Table:
    return pa.table({"shard": [shard] * 2, "number": [int(shard), 1000 + int(shard)]}, NUMBERS)


def replace_in_process(
    environment: dict[str, str], bucket: str, folder: Path, shards: list[str]
) -> None:
    os.environ.update(environment)
    store = LanceStore(folder / "lance", bucket=f"{bucket}/lance")
    for shard in shards:
        rows = write_numbers(shard).to_reader()
        with store.lock_shard(shard):
            replace_shard(store, "images", shard, rows, expected_count=2, properties={})


WRITES: dict[str, Callable[[LanceStore], object]] = {
    "ensure": lambda store: store.ensure("images", ROWS.schema),
    "overwrite": lambda store: store.overwrite("images", ROWS),
    "write_fragments": lambda store: store.write_fragments("images", ROWS.to_reader(), 10),
    "write_anew": lambda store: store.write_anew("images", ROWS.to_reader(), 10),
    "removals": lambda store: store.removals.write(Removals()),
}


@pytest.mark.parametrize("write", WRITES)
def test_an_unsafe_store_is_refused_before_anything_is_written(
    unsafe_buckets: Buckets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: str
) -> None:
    for name, value in unsafe_buckets.environment.items():
        monkeypatch.setenv(name, value)
    place = unsafe_buckets.create()
    store = LanceStore(tmp_path / "lance", bucket=f"{place}/lance")

    with raises("bucket-unsafe") as raised:
        WRITES[write](store)

    assert len(str(raised.value).splitlines()) == 1
    assert unsafe_buckets.list_names(place) == []


def test_the_store_is_tried_once_a_process(store: LanceStore) -> None:
    store.overwrite("images", ROWS)
    before = check_safe.cache_info().misses
    store.overwrite("images", ROWS)

    assert check_safe.cache_info().misses == before


def test_a_bucket_that_is_not_there_takes_one_line(bucket: str, tmp_path: Path) -> None:
    store = LanceStore(tmp_path / "lance", bucket=f"{bucket.replace('laion-', 'none-')}/lance")
    for use in (
        lambda: store.overwrite("images", ROWS),
        store.removals.read,
        lambda: store.find("images"),
        store.list_tables,
    ):
        with raises("bucket-unusable") as raised:
            use()
        assert len(str(raised.value).splitlines()) == 1


def test_without_the_extra_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9/without-the-extra")
    monkeypatch.setitem(sys.modules, "boto3", None)
    store = LanceStore(tmp_path, bucket="s3://bucket/lance")
    for use in (lambda: store.overwrite("images", ROWS), store.removals.read):
        with raises("bucket-library-missing"):
            use()
