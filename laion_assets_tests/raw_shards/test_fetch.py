import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.source import Source
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets_tests.raises import raises

# One of them is another file system than the folder of a test.
FOLDERS = ("/dev/shm", tempfile.gettempdir())  # noqa: S108


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source" / "s.parquet", rows=3)


@pytest.fixture
def far_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system, where no hard link leads."""
    here = tmp_path.stat().st_dev
    for path in map(Path, FOLDERS):
        if os.access(path, os.W_OK) and path.stat().st_dev != here:
            with tempfile.TemporaryDirectory(dir=path) as folder:
                yield Path(folder)
            return
    pytest.skip(f"there is no other file system than that of {tmp_path}")


def write_source(path: Path, rows: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://a.example/{i}.jpg" for i in range(rows)]
    pq.write_table(pa.table({"URL": urls, "TEXT": [f"Fox {i}" for i in range(rows)]}), path)
    return path


def expected_record(source: Path, rows: int) -> RawShard:
    content, status = source.read_bytes(), source.stat()
    return RawShard(
        shard="s",
        source=str(source),
        sha256=hashlib.sha256(content).hexdigest(),
        file_bytes=len(content),
        file_rows=rows,
        modified_ns=status.st_mtime_ns,
        version=f"{status.st_size}-{status.st_mtime_ns}",
    )


def file_of(shard: str, path: Path) -> Source:
    """A file that makes a shard, whatever its name."""
    return replace(describe_file(path), shard=shard)


def list_names(store: RawStore) -> list[str]:
    return sorted(p.name for p in store.folder.iterdir())


def test_the_file_is_linked_and_recorded(source: Path, store: RawStore) -> None:
    record = fetch_shard(file_of("s", source), store)

    assert record == expected_record(source, rows=3)
    assert store.path("s") == store.folder / "s.parquet"
    assert store.path("s").samefile(source)
    assert store.read("s") == record
    assert (
        json.loads((store.folder / "s.json").read_text(encoding="utf-8"))["sha256"] == record.sha256
    )
    assert list_names(store) == ["s.json", "s.parquet"]


def test_a_file_on_another_file_system_is_copied(far_folder: Path, store: RawStore) -> None:
    source = write_source(far_folder / "s.parquet", rows=4)

    record = fetch_shard(file_of("s", source), store)

    assert not store.path("s").samefile(source)
    assert store.path("s").read_bytes() == source.read_bytes()
    assert (record.sha256, record.file_rows) == (
        expected_record(source, rows=4).sha256,
        4,
    )
    assert store.read("s") == record
    assert list_names(store) == ["s.json", "s.parquet"]


def test_a_symbolic_link_brings_the_file_it_leads_to(
    source: Path, store: RawStore, tmp_path: Path
) -> None:
    link = tmp_path / "link.parquet"
    link.symlink_to(source)

    fetch_shard(file_of("s", link), store)

    assert not store.path("s").is_symlink()
    assert store.path("s").samefile(source)


def test_fetching_the_same_file_twice_leaves_no_temporary_files(
    source: Path, store: RawStore
) -> None:
    first = fetch_shard(file_of("s", source), store)

    assert fetch_shard(file_of("s", source), store) == first
    assert list_names(store) == ["s.json", "s.parquet"]


def test_the_raw_file_itself_can_be_the_source(source: Path, store: RawStore) -> None:
    fetch_shard(file_of("s", source), store)
    source.unlink()
    raw = store.path("s")

    assert fetch_shard(file_of("s", raw), store) == expected_record(raw, rows=3)
    assert list_names(store) == ["s.json", "s.parquet"]


def test_another_content_replaces_file_and_record(source: Path, store: RawStore) -> None:
    fetch_shard(file_of("s", source), store)
    source.unlink()
    write_source(source, rows=7)

    record = fetch_shard(file_of("s", source), store)

    assert record == expected_record(source, rows=7)
    assert store.read("s") == record
    assert store.path("s").read_bytes() == source.read_bytes()


def test_shards_are_kept_apart(source: Path, store: RawStore, tmp_path: Path) -> None:
    first = fetch_shard(file_of("s", source), store)
    second = fetch_shard(describe_file(write_source(tmp_path / "t.parquet", rows=5)), store)

    assert (store.read("s"), store.read("t")) == (first, second)


def make_nothing(path: Path) -> None:
    assert not path.exists()


def make_empty(path: Path) -> None:
    path.touch()


def make_html(path: Path) -> None:
    path.write_text("<!DOCTYPE html><title>404</title>" * 40, encoding="utf-8")


def make_truncated(path: Path) -> None:
    write_source(path, rows=10)
    path.write_bytes(path.read_bytes()[:-20])


def make_directory(path: Path) -> None:
    path.mkdir()


def make_without_url(path: Path) -> None:
    pq.write_table(pa.table({"link": ["u"], "TEXT": ["t"]}), path)


def make_wrong_type(path: Path) -> None:
    pq.write_table(pa.table({"URL": [1], "TEXT": ["t"]}), path)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no such file": (make_nothing, "no such file; correct LAION_SHARDS"),
    "empty": (make_empty, "is empty; fetch it again"),
    "html": (make_html, "is a web page and not a parquet file"),
    "truncated": (make_truncated, "is cut off"),
    "directory": (make_directory, "bad.parquet/*.parquet in LAION_SHARDS"),
    "no url column": (
        make_without_url,
        "no url column among link, TEXT; accepted names are url in any case",
    ),
    "wrong type": (make_wrong_type, "column URL is int64, but url must be text"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refusal_names_the_source_and_the_old_file_stays(
    source: Path, store: RawStore, tmp_path: Path, refused: str
) -> None:
    make, reason = REFUSED[refused]
    old = fetch_shard(file_of("s", source), store)
    bad = tmp_path / "bad.parquet"
    make(bad)

    with pytest.raises(ShardError) as refusal:
        fetch_shard(file_of("s", bad), store)

    message = str(refusal.value)
    assert message.startswith(f"{bad}: ")
    assert reason in message
    assert "\n" not in message
    assert store.read("s") == old
    assert store.path("s").samefile(source)
    assert list_names(store) == ["s.json", "s.parquet"]


@pytest.mark.parametrize("refused", REFUSED)
def test_a_first_refusal_leaves_nothing(store: RawStore, tmp_path: Path, refused: str) -> None:
    make, _ = REFUSED[refused]
    bad = tmp_path / "bad.parquet"
    make(bad)

    with pytest.raises(ShardError):
        fetch_shard(file_of("s", bad), store)

    assert not store.folder.exists() or list_names(store) == []


def test_a_shard_that_was_not_fetched_says_what_to_do(store: RawStore) -> None:
    with raises("raw-file-missing"):
        store.read("s")


def test_a_raw_file_that_was_removed_says_what_to_do(source: Path, store: RawStore) -> None:
    fetch_shard(file_of("s", source), store)
    store.path("s").unlink()

    with raises("raw-file-missing"):
        store.read("s")


def test_a_longer_file_than_was_verified_is_detected(source: Path, store: RawStore) -> None:
    record = fetch_shard(file_of("s", source), store)
    with source.open("ab") as file:
        file.write(b"more")
    os.utime(source, ns=(record.modified_ns, record.modified_ns))

    with raises("raw-file-changed"):
        store.read("s")


def test_a_file_changed_in_place_after_verification_is_detected(
    source: Path, store: RawStore
) -> None:
    """The raw file is a link to the source: who writes into that one writes into both."""
    record = fetch_shard(file_of("s", source), store)
    author = source.read_bytes().index(b"parquet-cpp")
    with source.open("r+b") as file:
        file.seek(author)
        file.write(b"P")
    os.utime(source, ns=(record.modified_ns + 1, record.modified_ns + 1))

    with raises("raw-file-changed"):
        store.read("s")

    assert fetch_shard(file_of("s", source), store) == store.read("s")
