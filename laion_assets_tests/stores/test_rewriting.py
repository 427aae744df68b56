"""Files of a shard without what belongs to some rows, and the user's own files as they were."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.images.removed_rows import take_out_removed
from laion_assets.raw_shards.samples import SAMPLE_METADATA, is_sample_file
from laion_assets.removals.entries import read_entry
from laion_assets.settings import Settings
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.removal_file import Removals
from laion_assets.stores.rewriting import remove_from_parquet, remove_members, remove_vectors
from laion_assets_tests.pipeline import load


def write_archive(path: Path, *names: str) -> None:
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            content = f"the content of {name}".encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def read_archive(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
        return {name: file.read() for name, file in files if file is not None}


def test_a_parquet_file_still_says_that_its_rows_are_invented(tmp_path: Path) -> None:
    path, target = tmp_path / "a.parquet", tmp_path / "b.parquet"
    with pq.ParquetWriter(path, pa.schema({"url": pa.string()})) as writer:
        writer.add_key_value_metadata(SAMPLE_METADATA)
        writer.write_table(pa.table({"url": ["a", "b"]}))

    remove_from_parquet(path, target, [1])

    assert is_sample_file(path)
    assert is_sample_file(target)
    assert pq.read_table(target)["url"].to_pylist() == ["a", None]


def test_all_members_of_a_key_go_and_the_others_stay(tmp_path: Path) -> None:
    path, users = tmp_path / "s.tar", tmp_path / "users.tar"
    names = ("a/1.jpg", "a/1.txt", "1.json", "2.jpg", "11.jpg", "no-dot")
    write_archive(users, *names)
    path.hardlink_to(users)
    before = read_archive(users)

    remove_members(path, {"1"})

    left = {name: before[name] for name in names[3:]}
    assert read_archive(path) == left
    assert b"the content of 1." not in path.read_bytes()
    assert read_archive(users) == before
    remove_members(tmp_path / "missing.tar", {"1"})
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["s.tar", "users.tar"]


def test_the_vectors_of_a_row_are_zero_and_the_others_stay(tmp_path: Path) -> None:
    path, users = tmp_path / "s.npy", tmp_path / "users.npy"
    vectors = np.arange(12, dtype=np.float16).reshape(4, 3) + 1
    np.save(users, vectors)
    path.hardlink_to(users)

    remove_vectors(path, [1, 3, 9])

    found = np.load(path)
    assert not found[[1, 3]].any()
    assert np.array_equal(found[[0, 2]], vectors[[0, 2]])
    assert np.array_equal(np.load(users), vectors)
    path.write_bytes(b"no vectors")
    remove_vectors(path, [1])
    assert path.read_bytes() == b"no vectors"


@pytest.mark.exhaustive
def test_what_lies_beside_a_shard_loses_the_rows_too(settings: Settings) -> None:
    folder = settings.data_dir / "shards"
    folder.mkdir(parents=True)
    rows = {"url": [f"https://a.test/{n}" for n in range(3)], "caption": ["x"] * 3}
    keys = [100, 200, 300]
    pq.write_table(pa.table({**rows, "key": keys}), folder / "s.parquet")
    write_archive(folder / "s.tar", *(f"{key}.jpg" for key in keys))
    np.save(folder / "s.npy", np.ones((3, 2), np.float32))
    load(settings, "s", folder / "s.parquet")
    store = RawStore(settings.raw_dir)
    before = store.read("s")
    entry = read_entry(1, "https://a.test/1")
    assert entry is not None

    raw = take_out_removed(store, before, Removals(entries=(entry,)))

    assert list(read_archive(store.archive_path("s"))) == ["100.jpg", "300.jpg"]
    assert np.load(store.vectors_path("s")).sum(axis=1).tolist() == [2, 0, 2]
    assert (raw.archive_sha256, raw.vectors_sha256) == (
        before.archive_sha256,
        before.vectors_sha256,
    )
    load(settings, "s", folder / "s.parquet")
    assert list(read_archive(store.archive_path("s"))) == ["100.jpg", "300.jpg"]
    assert np.load(store.vectors_path("s")).sum(axis=1).tolist() == [2, 0, 2]
    assert store.read("s").list_removed() == [1]
