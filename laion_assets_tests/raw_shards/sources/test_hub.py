"""Datasets of the Hugging Face Hub, as its API lists them."""

import logging
import math
from dataclasses import replace

import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.raw_shards.sources.urls import describe_url, read_version
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.servers.file_server import Serve, send
from laion_assets_tests.servers.hub_server import Hub, sha256

DATASET = "laion/small"
PATHS = (
    "README.txt",
    "one.parquet",
    "data/train-0.parquet",
    "data/train-1.parquet",
    "data/test-0.parquet",
    "data/deep/er/train-2.parquet",
)
FILES = {path: make_shard(path) for path in PATHS}
PLACE = f"hf://datasets/{DATASET}"


def list_well(location: str, rules: SourceRules) -> list[str]:
    """The shards of a location where nothing is wrong."""
    listing = list_shards([location], rules)
    assert listing.problems == []
    return list(listing.sources)


def list_badly(location: str, rules: SourceRules) -> str:
    """What is wrong with a location, in a line."""
    listing = list_shards([location], rules)
    assert listing.sources == {}
    (problem,) = listing.problems
    return problem


PATTERNS = {
    "one.parquet": ["one"],
    "data/train-0.parquet": ["train-0"],
    "*.parquet": ["one"],
    "data/*.parquet": ["test-0", "train-0", "train-1"],
    "data/train-[1-9].parquet": ["train-1"],
    "data/train-?.parquet": ["train-0", "train-1"],
    "data/train-{0..1}.parquet": ["train-0", "train-1"],
    "**/*.parquet": ["one", "test-0", "train-0", "train-1", "train-2"],
    "data/**/train-*.parquet": ["train-0", "train-1", "train-2"],
    "*/*/*/*.parquet": ["train-2"],
    "data/none-*.parquet": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("page_entries", [1, 1000], ids=["pages of one", "one page"])
def test_a_path_or_glob_names_files(
    hub: Hub, rules: SourceRules, pattern: str, page_entries: int
) -> None:
    hub.page_entries = page_entries
    hub.publish(DATASET, FILES)

    assert list_well(f"{PLACE}/{pattern}", rules) == PATTERNS[pattern]


def test_a_glob_in_a_folder_lists_that_folder_alone(hub: Hub, rules: SourceRules) -> None:
    hub.publish(DATASET, FILES)

    list_well(f"{PLACE}/data/*.parquet", rules)

    pages = math.ceil(4 / hub.page_entries)
    assert [(r.path, "recursive" in r.query) for r in hub.server.requests] == [
        (f"/api/datasets/{DATASET}/tree/main/data", False)
    ] * pages


def test_a_file_is_told_by_its_checksum(hub: Hub, rules: SourceRules) -> None:
    hub.publish(DATASET, FILES)

    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()

    checksum = sha256(FILES["one.parquet"])
    assert source.sha256 == checksum
    assert source.version == f"sha256:{checksum}"
    assert source.name == f"hf://datasets/{DATASET}@main/one.parquet"
    assert source.place == f"{rules.hub_endpoint}/datasets/{DATASET}/resolve/main/one.parquet"


REVISIONS = {
    "v1.0": ("v1.0", "v1.0"),
    "refs/convert/parquet": ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"),
    "refs/pr/12": ("refs/pr/12", "refs%2Fpr%2F12"),
    "encoded": ("my%2Fbranch", "my%2Fbranch"),
}


@pytest.mark.parametrize("case", REVISIONS)
def test_a_revision_is_asked_for_and_shown(
    hub: Hub, rules: SourceRules, store: RawStore, case: str
) -> None:
    asked, shown = REVISIONS[case]
    hub.publish(DATASET, {"data/s.parquet": make_shard("main")})
    hub.publish(DATASET, {"data/s.parquet": make_shard("it")}, asked.replace("%2F", "/"))
    location = f"{PLACE}@{asked}/data/*.parquet"

    (source,) = list_shards([location], rules).sources.values()
    record = fetch_shard(source, store, rules)

    assert record.source == f"{PLACE}@{shown}/data/s.parquet"
    assert record.sha256 == sha256(make_shard("it"))


def test_a_name_with_signs_of_a_url_is_fetched(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    path = "a b/it's 50% #1?.parquet"
    hub.publish(DATASET, {path: make_shard()})

    (source,) = list_shards([f"{PLACE}/a b/*.parquet"], rules).sources.values()
    record = fetch_shard(source, store, rules)

    assert (record.shard, record.sha256) == ("it's 50% #1?", sha256(make_shard()))


def test_the_token_goes_to_the_hub_and_never_to_the_server_of_the_bytes(
    hub: Hub, rules: SourceRules, store: RawStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.publish(DATASET, FILES, is_private=True)
    rules = replace(rules, hub_token=hub.token)

    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()
    record = fetch_shard(source, store, rules)

    assert record.sha256 == sha256(FILES["one.parquet"])
    tokens = {request.headers.get("Authorization") for request in hub.server.requests}
    assert tokens == {f"Bearer {hub.token}"}
    assert ["Authorization" in request.headers for request in hub.cdn.requests] == [False]
    written = "".join(p.read_text("latin-1") for p in store.folder.iterdir())
    for text in (caplog.text, written, repr(rules), repr(source), repr(record)):
        assert hub.token not in text
    assert "Signature" not in written


def test_a_private_dataset_asks_for_the_token(hub: Hub, rules: SourceRules) -> None:
    hub.publish(DATASET, FILES, is_private=True)
    location = f"{PLACE}/*.parquet"

    assert list_badly(location, rules) == (
        f"{location}: status 401, no such dataset, or not allowed; "
        "correct LAION_SHARDS or set HF_TOKEN"
    )


def test_a_dataset_that_was_renamed_is_followed(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    hub.publish(DATASET, FILES, is_private=True)
    hub.rename(DATASET, "relaion/small")
    rules = replace(rules, hub_token=hub.token)

    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()
    record = fetch_shard(source, store, rules)

    assert record.sha256 == sha256(FILES["one.parquet"])
    assert "/datasets/relaion/small/resolve/main/one.parquet" in {
        request.path for request in hub.server.requests
    }


def test_an_unchanged_file_is_known_by_the_list_alone(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    hub.publish(DATASET, FILES)
    location = f"{PLACE}/one.parquet"
    (source,) = list_shards([location], rules).sources.values()
    first = fetch_shard(source, store, rules)
    hub.publish(DATASET, FILES)

    (source,) = list_shards([location], rules).sources.values()

    assert fetch_shard(source, store, rules) == first
    assert (hub.cdn.requests, {"/api" in r.path for r in hub.server.requests}) == ([], {True})


def test_an_unchanged_file_by_its_plain_url_is_known_by_the_checksum_of_the_redirect(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    hub.publish(DATASET, FILES)
    url = f"{rules.hub_endpoint}/datasets/{DATASET}/resolve/main/one.parquet"
    source = describe_url(url, None)
    first = fetch_shard(source, store, rules)
    hub.cdn.requests.clear()

    assert first.version == f"sha256:{sha256(FILES['one.parquet'])}"
    assert read_version(source, rules) == first.version
    assert fetch_shard(source, store, rules) == first
    assert hub.cdn.requests == []


def test_a_changed_file_is_fetched(hub: Hub, rules: SourceRules, store: RawStore) -> None:
    location = f"{PLACE}/one.parquet"
    for content in (make_shard("old"), make_shard("new")):
        hub.publish(DATASET, {"one.parquet": content})
        (source,) = list_shards([location], rules).sources.values()

        assert fetch_shard(source, store, rules).sha256 == sha256(content)


def test_a_broken_download_goes_on_at_the_server_of_the_bytes(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    content = make_shard(rows=10, image_bytes=10_000)
    hub.publish(
        DATASET, {"one.parquet": content}, serve=lambda content: Serve(content, cut_bytes=50_000)
    )
    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()

    record = fetch_shard(source, store, rules)

    assert record.sha256 == sha256(content)
    assert hub.cdn.sent_bytes == len(content)


def test_bytes_that_are_not_those_of_the_list_are_refused(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    content, other = make_shard("right"), make_shard("wrong")
    hub.publish(DATASET, {"one.parquet": content}, serve=lambda _: Serve(other))
    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()

    with pytest.raises(ShardError) as refusal:
        fetch_shard(source, store, rules)

    assert str(refusal.value) == (
        f"{source.name}: SHA-256 is {sha256(other)} but should be {sha256(content)}; "
        "fetch it again or correct LAION_SHARDS"
    )
    assert list(store.folder.iterdir()) == []


def test_a_file_that_changed_after_it_was_listed_is_refused(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    old, new = make_shard("old"), make_shard("new")
    hub.publish(DATASET, {"one.parquet": old})
    (source,) = list_shards([f"{PLACE}/one.parquet"], rules).sources.values()
    hub.publish(DATASET, {"one.parquet": new})

    with pytest.raises(ShardError) as refusal:
        fetch_shard(source, store, rules)

    assert str(refusal.value) == (
        f"{source.name}: the server has SHA-256 {sha256(new)}, not {sha256(old)}; "
        "correct LAION_SHARDS or get the right file"
    )


REFUSED = {
    "no such file": ("none.parquet", "no such file on the Hub; correct LAION_SHARDS"),
    "no such folder": (
        "none/*.parquet",
        "status 404, no such dataset, revision or folder; correct LAION_SHARDS",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_a_line(hub: Hub, rules: SourceRules, case: str) -> None:
    path, reason = REFUSED[case]
    hub.publish(DATASET, FILES)

    assert list_badly(f"{PLACE}/{path}", rules) == f"{PLACE}/{path}: {reason}"


ANSWERS = {
    "page": (send(200, b"<html>"), "the Hub sent no list of files; check HF_ENDPOINT"),
    "object": (send(200, b'{"error": "x"}'), "the Hub sent no list of files; check HF_ENDPOINT"),
    "number": (send(200, b"1"), "the Hub sent no list of files; check HF_ENDPOINT"),
    "entry without a path": (
        send(200, b'[{"type": "file"}]'),
        "the Hub sent no list of files; check HF_ENDPOINT",
    ),
    "entry without an oid": (
        send(200, b'[{"type": "file", "path": "s.parquet"}]'),
        "the Hub sent no list of files; check HF_ENDPOINT",
    ),
    "403": (send(403), "status 403, not allowed; ask for access to the dataset and set HF_TOKEN"),
    "429": (
        send(429),
        "status 429, too many requests; set HF_TOKEN or try again later (3 attempts)",
    ),
    "500": (send(500), "status 500, the server failed; try again later (3 attempts)"),
    "truncated": (
        send(200, b"[]", Content_Length="99"),
        "the connection broke off; check the network and the link (3 attempts)",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_no_list_is_a_line(hub: Hub, rules: SourceRules, case: str) -> None:
    answer, reason = ANSWERS[case]
    hub.server.put(f"/api/datasets/{DATASET}/tree/main", answer)

    assert list_badly(f"{PLACE}/*.parquet", rules) == f"{PLACE}/*.parquet: {reason}"


def test_a_list_is_asked_for_again_after_a_failure(hub: Hub, rules: SourceRules) -> None:
    hub.publish(DATASET, FILES)
    tree = f"/api/datasets/{DATASET}/tree/main"
    hub.server.put(tree, send(503), *hub.server.answers[tree])

    assert list_well(f"{PLACE}/*.parquet", rules) == ["one"]


def test_a_list_never_leads_to_another_server_with_the_token(hub: Hub, rules: SourceRules) -> None:
    hub.server.put(
        f"/api/datasets/{DATASET}/tree/main",
        send(200, b"[]", Link=f'<{hub.cdn.origin}/next>; rel="next"'),
    )
    hub.cdn.put("/next", send(200, b"[]"))

    list_well(f"{PLACE}/*.parquet", replace(rules, hub_token=hub.token))

    assert ["Authorization" in request.headers for request in hub.cdn.requests] == [False]


SPARK = ("spark.parquet/part-0.parquet", "spark.parquet/_SUCCESS.txt", "data/X.PARQUET")


@pytest.mark.parametrize("location", ["spark.parquet", "spark.parquet/", "s*.parquet"])
def test_a_folder_named_as_a_file_is_named_with_what_to_write(
    hub: Hub, rules: SourceRules, location: str
) -> None:
    hub.publish(DATASET, {path: make_shard(path) for path in SPARK})

    assert list_badly(f"{PLACE}/{location}", rules) == (
        f"{PLACE}/spark.parquet: is a folder; write {PLACE}/spark.parquet/*.parquet in LAION_SHARDS"
    )


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
    hub: Hub, rules: SourceRules, pattern: str, shards: list[str]
) -> None:
    hub.publish(DATASET, {path: make_shard(path) for path in SPARK})

    assert list_well(f"{PLACE}/{pattern}", rules) == shards
