"""The next machine knows what one has fetched or computed of a shard, until it is committed."""

import time
from pathlib import Path

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.shard_chunks import ShardChunks, remove_chunks, remove_old_chunks
from laion_assets.stores.vector_cache import VectorCache
from laion_assets_tests.servers.buckets import Buckets

pytestmark = pytest.mark.exhaustive

PICTURE = FetchedPicture(
    "https://a.test/1.jpg",
    "success",
    http_status=200,
    final_url="https://b.test/1.jpg",
    seconds=0.25,
    received_bytes=9,
    fetched_at="2026-11-27T10:00:00+00:00",
    md5="0" * 32,
    picture=b"\xff\xd8 picture",
    width=2,
    height=3,
    original_width=4,
    original_height=6,
    exif="{}",
)
FAILED = FetchedPicture("https://a.test/2.jpg", "failed_to_download", "timeout", "late", True)


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> LanceStore:
    """The tables in a bucket."""
    return LanceStore(tmp_path / "lance", bucket=f"{bucket}/lance")


def open_pictures(folder: Path, store: LanceStore, shard: str = "a") -> PictureCache:
    return PictureCache(folder, "size", ShardChunks.of(store, shard, "pictures", "size"))


def list_chunks(buckets: Buckets, bucket: str) -> list[str]:
    return [name for name in buckets.list_names(bucket) if name.endswith(".arrow")]


def test_another_machine_takes_the_pictures_of_a_shard(
    store: LanceStore, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    one, two = (open_pictures(tmp_path / name, store) for name in ("one", "two"))
    one.put([FAILED])
    one.put([PICTURE, FetchedPicture("https://ü.test/ 3", "failed_to_download", "bad_url", "ü")])
    known = one.read([PICTURE.url, FAILED.url, "https://ü.test/ 3"])

    assert sum(map(len, two.take_chunks())) == 3

    assert two.read(known) == known
    assert known[PICTURE.url] == PICTURE
    # What it has taken, and what it has written, it does not take again.
    assert list(two.take_chunks()) == list(one.take_chunks()) == []
    assert list(open_pictures(tmp_path / "two", store, "b").take_chunks()) == []
    other_size = PictureCache(tmp_path / "two", "o", ShardChunks.of(store, "a", "pictures", "o"))
    assert list(other_size.take_chunks()) == []

    remove_chunks(store, ["b"])
    remove_chunks(store, ["a"], "vectors")
    assert len(list_chunks(buckets, bucket)) == 2
    remove_chunks(store, ["a"], "pictures")
    assert list_chunks(buckets, bucket) == []
    assert two.read(known) == known


def test_a_picture_that_is_there_stays(store: LanceStore, tmp_path: Path) -> None:
    one, two = (open_pictures(tmp_path / name, store) for name in ("one", "two"))
    late = FetchedPicture(PICTURE.url, "failed_to_download", "timeout", "late", True)
    one.put([late])
    two.put([PICTURE])

    assert list(two.take_chunks()) == [[late]]
    assert two.read([PICTURE.url]) == {PICTURE.url: PICTURE}
    # And one that came later takes the place of what had no picture.
    assert list(one.take_chunks()) == [[PICTURE]]
    assert one.read([PICTURE.url]) == {PICTURE.url: PICTURE}


def test_another_machine_takes_the_vectors_of_a_shard(store: LanceStore, tmp_path: Path) -> None:
    def open_cache(name: str, encoder: str = "one") -> VectorCache:
        chunks = ShardChunks.of(store, "a", "vectors", encoder)
        return VectorCache(tmp_path / name, encoder, chunks)

    open_cache("here").put({"1": b"\x01\x02", "2": None})
    there = open_cache("there")

    assert list(there.take_chunks()) == [{"1": b"\x01\x02", "2": None}]
    assert there.read(["1", "2", "3"]) == {"1": b"\x01\x02", "2": None}
    assert list(open_cache("there", "another").take_chunks()) == []


def test_old_chunks_are_removed(
    store: LanceStore, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    open_pictures(tmp_path / "one", store).put([PICTURE])

    remove_old_chunks(store, time.time() - 3600)
    assert len(list_chunks(buckets, bucket)) == 1
    remove_old_chunks(store, time.time() + 3600)
    assert list_chunks(buckets, bucket) == []


def test_tables_in_a_folder_have_no_chunks(tmp_path: Path) -> None:
    store = LanceStore(tmp_path / "lance")

    assert ShardChunks.of(store, "a", "pictures", "size") is None
    assert list(open_pictures(tmp_path / "one", store).take_chunks()) == []
    remove_chunks(store, ["a"])
    remove_old_chunks(store, time.time())
