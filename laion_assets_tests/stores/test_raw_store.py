import hashlib
import os
from pathlib import Path

import pytest

from laion_assets.errors import ShardError
from laion_assets.stores.raw_store import RawShard, RawStore


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path / "raw")


def describe(shard: str, path: Path) -> RawShard:
    content, status = path.read_bytes(), path.stat()
    return RawShard(
        shard=shard,
        source=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=len(content),
        file_rows=1,
        modified_ns=status.st_mtime_ns,
    )


def put(store: RawStore, shard: str, content: bytes, origin: Path) -> RawShard:
    origin.write_bytes(content)
    with store.lock(shard), store.link(shard, origin) as linked:
        record = describe(shard, linked)
        store.put_in_place(record, linked)
    return record


def list_names(store: RawStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_a_file_that_was_put_in_place_is_found_with_its_record(
    store: RawStore, tmp_path: Path
) -> None:
    record = put(store, "s", b"rows", tmp_path / "origin")

    assert store.path("s").samefile(tmp_path / "origin")
    assert [store.find("s"), store.read("s"), store.find_whole("s")] == [record] * 3
    assert store.find_all(["s", "t"]) == {"s": record}
    assert list_names(store) == ["s.json", "s.parquet"]


def test_a_link_that_was_not_put_in_place_is_gone(store: RawStore, tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(b"rows")

    with store.lock("s"), store.link("s", tmp_path / "origin") as linked:
        assert store.list_shards() == {"s"}
        assert linked.read_bytes() == b"rows"

    assert list_names(store) == []
    assert (tmp_path / "origin").exists()


def test_another_content_with_the_old_size_and_time_is_not_whole(
    store: RawStore, tmp_path: Path
) -> None:
    record = put(store, "s", b"rows", tmp_path / "origin")
    store.path("s").write_bytes(b"ROWS")
    os.utime(store.path("s"), ns=(record.modified_ns, record.modified_ns))

    assert store.find("s") == record
    assert store.find_whole("s") is None


def test_a_file_that_was_replaced_after_it_was_read_is_noticed(
    store: RawStore, tmp_path: Path
) -> None:
    record = put(store, "s", b"rows", tmp_path / "origin")
    store.check_unchanged(record)
    put(store, "s", b"other rows", tmp_path / "newer")

    with pytest.raises(ShardError):
        store.check_unchanged(record)


@pytest.mark.parametrize("record", ["", "{", "[]", '{"shard": "s"}', '{"unknown": 1}'])
def test_a_record_that_cannot_be_read_counts_as_none(
    store: RawStore, tmp_path: Path, record: str
) -> None:
    put(store, "s", b"rows", tmp_path / "origin")
    (store.folder / "s.json").write_text(record, encoding="utf-8")

    assert store.find("s") is None
    with pytest.raises(ShardError):
        store.read("s")


def test_removing_a_shard_leaves_the_others(store: RawStore, tmp_path: Path) -> None:
    for shard in ("s", "s.t"):
        put(store, shard, b"rows", tmp_path / f"{shard}-origin")
        store.part(shard).path.touch()

    store.remove("s")

    assert store.list_shards() == {"s.t"}
    assert list_names(store) == [".s.t.part", "s.t.json", "s.t.parquet"]


def test_nothing_is_made_where_nothing_is_removed(store: RawStore) -> None:
    store.remove("s")

    assert not store.folder.exists()
    assert store.list_shards() == set()


def test_a_refusal_of_the_disk_names_the_folder_and_no_hidden_file(store: RawStore) -> None:
    hidden = str(store.folder / ".s.part")

    reason = store.find_reason(OSError(28, "No space left on device", hidden))

    assert reason is not None
    assert reason.startswith(f"{store.folder}: ")
