"""`<shard>.tar` comes with its shard where the source has it, and only if it can be wanted."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.raw_shards.sources.urls import describe_url
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.servers.file_server import FileServer, Serve, send

PATH, BESIDE = "/x/s.parquet", "/x/s.tar"
TAR = b"an archive"


def make_file(**columns: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"url": ["https://a.test/1"], "caption": ["a"], **columns}), file)
    return file.getvalue()


KEYED = make_file(key=["0"])


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path / "raw")


def test_an_archive_comes_from_a_web_server_once(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(KEYED))
    server.put(BESIDE, Serve(TAR))
    raw = fetch_shard(describe_url(url, None), store, rules)
    assert store.archive_path("s").read_bytes() == TAR
    assert raw.archive_sha256 == hashlib.sha256(TAR).hexdigest()
    assert raw.has_pictures
    assert store.read("s") == raw

    before = server.sent_bytes
    assert fetch_shard(describe_url(url, None), store, rules) == raw
    assert server.sent_bytes - before < len(TAR)

    # Another one of the same shard, and then none, which leaves that.
    server.put(BESIDE, Serve(TAR * 2))
    changed = fetch_shard(describe_url(url, None), store, rules)
    assert changed.archive_sha256 == hashlib.sha256(TAR * 2).hexdigest()
    server.put(BESIDE, send(404))
    assert fetch_shard(describe_url(url, None), store, rules) == changed
    assert sorted(path.name for path in store.archives.folder.iterdir()) == ["s.tar"]

    store.remove("s")
    assert list(store.archives.folder.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_without_an_archive_has_a_shard_without_pictures(
    server: FileServer, rules: SourceRules, store: RawStore, status: int
) -> None:
    url = server.put(PATH, Serve(KEYED))
    server.put(BESIDE, send(status))
    raw = fetch_shard(describe_url(url, None), store, rules)
    assert (raw.has_pictures, raw.archive_sha256) == (False, None)


def test_a_server_that_fails_to_send_an_archive_is_asked_again(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(KEYED))
    server.put(BESIDE, send(503))
    with pytest.raises(ShardError, match=r"s\.tar"):
        fetch_shard(describe_url(url, None), store, rules)
    server.put(BESIDE, Serve(TAR))
    assert fetch_shard(describe_url(url, None), store, rules).has_pictures


@pytest.mark.parametrize(
    ("content", "has_pictures"),
    [
        (make_file(), False),
        (make_file(key=["0"], jpg=pa.array([b"x"], pa.binary())), True),
        (make_file(image=pa.array([b"x"], pa.binary())), True),
    ],
    ids=["no keys", "keys and pictures", "pictures"],
)
def test_no_archive_is_asked_for_where_none_can_be_used(
    server: FileServer, rules: SourceRules, store: RawStore, content: bytes, has_pictures: bool
) -> None:
    url = server.put(PATH, Serve(content))
    server.put(BESIDE, Serve(TAR))
    raw = fetch_shard(describe_url(url, None), store, rules)
    assert (raw.has_pictures, raw.archive_sha256) == (has_pictures, None)
    assert BESIDE not in [request.path for request in server.requests]


def test_nobody_who_wants_no_pictures_fetches_archives(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(KEYED))
    server.put(BESIDE, Serve(TAR))
    rules = replace(rules, is_bringing_archives=False)
    assert fetch_shard(describe_url(url, None), store, rules).archive_sha256 is None


def test_an_archive_in_a_folder_is_linked(tmp_path: Path, store: RawStore) -> None:
    source = tmp_path / "s.parquet"
    source.write_bytes(KEYED)
    assert not fetch_shard(describe_file(source), store).has_pictures
    source.with_suffix(".tar").write_bytes(TAR)
    raw = fetch_shard(describe_file(source), store)
    assert raw.archive_sha256 == hashlib.sha256(TAR).hexdigest()
    assert store.archive_path("s").samefile(source.with_suffix(".tar"))
