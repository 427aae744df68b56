"""Buckets, at moto's server."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from laion_assets.errors import ShardError
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.bucket import find_object
from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.raw_shards.sources.source import Source, SourceRules, tell_nobody
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import Serve, run_file_server, send
from laion_assets_tests.servers.hub_server import sha256

SECRET = "dummy-secret"  # noqa: S105


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of moto's server."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def rules(moto: str, monkeypatch: pytest.MonkeyPatch) -> SourceRules:
    """Buckets are at moto, and nobody asks Amazon who we are."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return SourceRules(bucket_endpoint=moto, timeout_s=60, attempts=1, backoff_s=0.01)


class Bucket:
    """A bucket of a test."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.name = f"laion-{uuid4().hex[:12]}"
        client.create_bucket(Bucket=self.name)

    def put(self, path: str, content: bytes) -> str:
        """Uploads an object, and returns its URL."""
        self._client.put_object(Bucket=self.name, Key=path, Body=content)
        return f"s3://{self.name}/{path}"

    def remove(self, path: str) -> None:
        """Removes an object."""
        self._client.delete_object(Bucket=self.name, Key=path)


@pytest.fixture
def bucket(moto: str, rules: SourceRules) -> Bucket:  # noqa: ARG001 - sets the credentials
    return Bucket(boto3.client("s3", endpoint_url=moto))


def find(location: str, rules: SourceRules) -> Source:
    """The one shard of a location."""
    listing = list_shards([location], rules)
    assert listing.problems == []
    (source,) = listing.sources.values()
    return source


PATTERNS = {
    "one.parquet": ["one"],
    "data/*.parquet": ["test-0", "train-0", "train-1"],
    "data/train-[1-9].parquet": ["train-1"],
    "data/train-{0..1}.parquet": ["train-0", "train-1"],
    "**/*.parquet": ["one", "test-0", "train-0", "train-1", "train-2"],
    "d*/deep/*.parquet": ["train-2"],
    "none/*.parquet": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_path_or_glob_names_objects(bucket: Bucket, rules: SourceRules, pattern: str) -> None:
    for path in ("one", "data/train-0", "data/train-1", "data/test-0", "data/deep/train-2"):
        bucket.put(f"{path}.parquet", b"x")
    bucket.put("data/read.me", b"x")

    listing = list_shards([f"s3://{bucket.name}/{pattern}"], rules)

    assert (list(listing.sources), listing.problems) == (PATTERNS[pattern], [])


def make_keyed() -> bytes:
    file = io.BytesIO()
    columns = {"url": ["https://a.test/1"], "caption": ["a"], "key": ["0"]}
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def make_npy(rows: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((rows, 4), "f4"))
    return file.getvalue()


@pytest.mark.exhaustive
def test_what_lies_beside_a_shard_comes_with_it_once(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    url = bucket.put("metadata/a b.parquet", make_keyed())
    assert not fetch_shard(find(url, rules), store, rules).has_pictures
    bucket.put("metadata/a b.tar", b"an archive")
    bucket.put("embeddings/a b.npy", make_npy(1))
    reports = list[int]()

    for _ in range(2):
        raw = fetch_shard(find(url, rules), store, rules, lambda done, _: reports.append(done))

    assert store.archive_path("a b").read_bytes() == b"an archive"
    assert store.vectors_path("a b").read_bytes() == make_npy(1)
    assert (raw.has_pictures, raw.archive_sha256) == (True, sha256(b"an archive"))
    assert (raw.has_vectors, raw.vectors_sha256) == (True, sha256(make_npy(1)))
    assert reports == [0, len(b"an archive"), 0, len(make_npy(1))]

    # Another archive takes its place, and one that is gone leaves that.
    bucket.put("metadata/a b.tar", b"another archive")
    changed = fetch_shard(find(url, rules), store, rules)
    assert changed.archive_sha256 == sha256(b"another archive")
    bucket.remove("metadata/a b.tar")
    assert fetch_shard(find(url, rules), store, rules) == changed
    assert [p.name for p in store.archives.folder.iterdir()] == ["a b.tar"]

    # What lies right beside the parquet file goes before a folder of another layout.
    bucket.put("metadata/a b.npy", make_npy(2))
    assert fetch_shard(find(url, rules), store, rules).vectors_sha256 == sha256(make_npy(2))
    bucket.put("metadata/a b.npy", b"<html>")
    with raises("vectors-no-npy-there"):
        fetch_shard(find(url, rules), store, rules)
    assert store.vectors_path("a b").read_bytes() == make_npy(2)


def test_a_bucket_that_hides_what_it_lacks_has_nothing_beside(rules: SourceRules) -> None:
    place = Source("a", "s3://some-bucket/a.tar", "s3://some-bucket/a.tar")
    with run_file_server() as server:
        rules = replace(rules, bucket_endpoint=server.origin)
        for status in (403, 404):
            server.put("/some-bucket/a.tar", send(status))
            assert find_object(place, rules) is None
        server.put("/some-bucket/a.tar", send(400))
        with pytest.raises(ShardError, match=r"a\.tar: .*; check LAION_SHARDS"):
            find_object(place, rules)


def test_an_object_is_fetched_once(bucket: Bucket, rules: SourceRules, store: RawStore) -> None:
    content, reports = make_shard(rows=100), list[int]()
    url = bucket.put("a b/it's #1.parquet", content)
    place = url.replace("#", "?")

    first, second = (
        fetch_shard(find(place, rules), store, rules, lambda done, _: reports.append(done))
        for _ in range(2)
    )

    assert first.sha256 == sha256(content)
    assert (second, second.fetched_at) == (first, first.fetched_at)
    assert reports == [0, len(content)]
    assert sorted(p.name for p in store.folder.iterdir()) == [
        "it's #1.json",
        "it's #1.parquet",
    ]


def test_a_glob_and_a_path_give_one_object_one_version(bucket: Bucket, rules: SourceRules) -> None:
    url = bucket.put("data/s.parquet", make_shard())

    assert find(url, rules) == find(url.replace("s.parquet", "*.parquet"), rules)


LIST = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>bucket</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>
<IsTruncated>false</IsTruncated><Contents><Key>s.parquet</Key><Size>{size}</Size>
<LastModified>2023-11-14T22:13:20.678Z</LastModified></Contents></ListBucketResult>"""


def test_a_server_that_lists_fractions_of_a_second_has_the_object_too(
    rules: SourceRules, store: RawStore
) -> None:
    """As MinIO does, while it answers HEAD with whole seconds as HTTP has them."""
    content = make_shard()
    with run_file_server() as server:
        server.put("/bucket", send(200, LIST.format(size=len(content)).encode()))
        server.put("/bucket/s.parquet", Serve(content))
        rules = replace(rules, bucket_endpoint=server.origin)
        source = find("s3://bucket/*.parquet", rules)

        assert fetch_shard(source, store, rules).sha256 == sha256(content)
        assert find("s3://bucket/s.parquet", rules) == source


@pytest.mark.slow
def test_a_changed_object_is_fetched_again(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    for content in (make_shard("old"), make_shard("newer")):
        url = bucket.put("s.parquet", content)

        assert fetch_shard(find(url, rules), store, rules).sha256 == sha256(content)


@pytest.mark.exhaustive
def test_a_download_goes_on_where_a_killed_process_stopped(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    content, reports = make_shard(rows=10, image_bytes=1_000_000), list[int]()
    source = find(bucket.put("s.parquet", content), rules)

    def die(done_bytes: int, _: int | None) -> None:
        if done_bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_shard(source, store, rules, die)
    record = fetch_shard(source, store, rules, lambda done, _: reports.append(done))

    assert record.sha256 == sha256(content)
    assert reports == [8 << 20, len(content)]


def test_a_part_of_another_content_is_thrown_away(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    source = find(bucket.put("s.parquet", make_shard("old")), rules)

    def die(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_shard(source, store, rules, die)
    content = make_shard("newer")
    source = find(bucket.put("s.parquet", content), rules)

    assert fetch_shard(source, store, rules).sha256 == sha256(content)


def test_an_object_that_changes_meanwhile_is_refused(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    source = find(bucket.put("s.parquet", make_shard()), rules)

    def change(done_bytes: int, _: int | None) -> None:
        if done_bytes:
            bucket.put("s.parquet", make_shard("another one"))

    with pytest.raises(ShardError) as refusal:
        fetch_shard(source, store, rules, change)

    assert str(refusal.value) == f"{source.name}: changed while it was fetched; try again"
    assert list(store.folder.iterdir()) == []


def test_an_object_that_is_gone_leaves_the_old_file(
    bucket: Bucket, rules: SourceRules, store: RawStore
) -> None:
    old = fetch_shard(find(bucket.put("s.parquet", make_shard()), rules), store, rules)
    source = find(bucket.put("s.parquet", make_shard("a newer one")), rules)
    bucket.remove("s.parquet")

    with pytest.raises(ShardError) as refusal:
        fetch_shard(source, store, rules)

    assert str(refusal.value).startswith(f"{source.name}: ")
    assert str(refusal.value).endswith("; check LAION_SHARDS, the credentials and the network")
    assert store.read("s") == old


def test_what_is_not_there_is_a_line(bucket: Bucket, rules: SourceRules) -> None:
    one, glob = f"s3://{bucket.name}/none.parquet", f"s3://{bucket.name}-none/*.parquet"

    listing = list_shards([one, glob], rules)

    assert listing.sources == {}
    assert listing.problems[0] == f"{one}: no such object; correct LAION_SHARDS"
    assert listing.problems[1] == f"{glob}: no such bucket; correct LAION_SHARDS"


def test_a_server_that_refuses_is_a_line_without_the_secret(rules: SourceRules) -> None:
    with run_file_server() as server:
        server.put("/bucket/s.parquet", send(403))
        location = "s3://bucket/s.parquet"
        listing = list_shards([location], replace(rules, bucket_endpoint=server.origin))

    (problem,) = listing.problems
    assert problem.startswith(f"{location}: ")
    assert "ACCESS_DENIED" in problem
    assert problem.endswith("; check LAION_SHARDS, the credentials and the network")
    assert SECRET not in problem


@pytest.mark.parametrize("is_anonymous", [False, True], ids=["signed", "anonymous"])
def test_requests_are_signed_unless_told_otherwise(
    rules: SourceRules, store: RawStore, is_anonymous: bool
) -> None:
    with run_file_server() as server:
        server.put("/bucket/s.parquet", Serve(make_shard()))
        rules = replace(rules, bucket_endpoint=server.origin, is_anonymous=is_anonymous)
        source = find("s3://bucket/s.parquet", rules)
        fetch_shard(source, store, rules, tell_nobody)
        signatures = [request.headers.get("Authorization", "") for request in server.requests]

    assert [bool(signature) for signature in signatures] == [not is_anonymous] * len(signatures)
    assert SECRET not in "".join(signatures)


@pytest.mark.parametrize("location", ["spark.parquet", "spark.parquet/", "s*.parquet"])
def test_a_folder_named_as_a_file_is_named_with_what_to_write(
    bucket: Bucket, rules: SourceRules, location: str
) -> None:
    bucket.put("spark.parquet/part-0.parquet", b"x")
    place = f"s3://{bucket.name}"

    listing = list_shards([f"{place}/{location}"], rules)

    assert listing.sources == {}
    assert listing.problems == [
        f"{place}/spark.parquet: is a folder; write {place}/spark.parquet/*.parquet in LAION_SHARDS"
    ]


@pytest.mark.parametrize(
    ("pattern", "shards"),
    [
        ("spark.parquet/*.parquet", ["part-0"]),
        ("data/*.parquet", ["X"]),
        ("data/X.PARQUET", ["X"]),
        ("**/*.parquet", ["X", "part-0"]),
    ],
)
def test_the_files_of_such_a_folder_and_any_case_are_found(
    bucket: Bucket, rules: SourceRules, pattern: str, shards: list[str]
) -> None:
    bucket.put("spark.parquet/part-0.parquet", b"x")
    bucket.put("data/X.PARQUET", b"x")

    listing = list_shards([f"s3://{bucket.name}/{pattern}"], rules)

    assert (list(listing.sources), listing.problems) == (shards, [])
