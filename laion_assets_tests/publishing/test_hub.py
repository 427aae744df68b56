"""A release on the Hub: its readers, with their own libraries, see it whole or not at all."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import lance
import lancedb
import pytest

from laion_assets.curation.terms import Terms
from laion_assets.publishing import hub_target
from laion_assets.publishing.destinations import open_target
from laion_assets.publishing.hub_target import HubTarget
from laion_assets.publishing.publication import Published, PublishOrder, publish_dataset
from laion_assets.releases.manifest import Manifest
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.publishing.released import bring_whole
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.hub_server import sha256
from laion_assets_tests.servers.writable_hub import (
    TOKEN,
    Repository,
    StatusError,
    WritableHub,
    run_writable_hub,
)

pytestmark = [
    pytest.mark.slow,
    # huggingface_hub sends large files so where it does not use Xet.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning"),
]

DATASET = "lab/lemurs"
PLACE = f"hf://datasets/{DATASET}"
FILES_A_COMMIT = 8
# Ends what hangs.
LIMIT_S = 300
TERMS = Terms(license="cc-by-4.0", contact="removals@a.test")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WritableHub]:
    """A Hub without any dataset, which Lance and huggingface_hub use."""
    from huggingface_hub import constants

    with run_writable_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.origin)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        # The Hub's own way to bring large files has no server here.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


def publish(
    settings: Settings, hub: WritableHub, tag: str | None = None, terms: Terms = TERMS
) -> Published:
    order = PublishOrder(settings.publish_dir, tag, terms, settings.curation_file)
    target = open_target(PLACE, hub.origin)
    return publish_dataset(LanceStore(settings.lance_dir), target, order)


def open_published(table: str = "train", version: str | int | None = None) -> lance.LanceDataset:
    return lance.dataset(
        f"{PLACE}/data/{table}.lance", version=version, storage_options={"hf_token": TOKEN}
    )


def look(hub: WritableHub) -> tuple[str | None, int | None]:
    """Returns the release that a reader finds, and the rows of its newest version.

    Whatever it finds is whole: the record's tag opens all tables with their rows.
    """
    repository = hub.repositories.get(DATASET)
    if repository is None or "release.json" not in repository.files:
        assert repository is None or not any("_versions" in path for path in repository.files)
        return None, None
    record = Manifest.model_validate_json(repository.files["release.json"])
    rows = {"train": "images", "domain_counts": "domain_counts", "entity_counts": "entity_counts"}
    for table, name in rows.items():
        for version in (record.release, None):
            opened = open_published(table, version)
            assert opened.version == record.lance_versions[table]
            assert opened.to_table().num_rows == record.row_counts[name]
    return record.release, open_published().count_rows()


def test_a_release_is_published_whole(data: Settings, hub: WritableHub) -> None:
    made = publish(data, hub)

    repository = hub.repositories[DATASET]
    assert look(hub) == ("first", 78)
    assert repository.is_private
    assert repository.tags == {"first": repository.head}
    messages = [message for _, message, _ in repository.commits]
    assert messages == ["initial commit", "Files of the next release, 1 of 1", "Release first"]
    assert (
        open_published()
        .to_table()
        .equals(LanceStore(data.lance_dir).open("images", "first").to_table())
    )
    assert made.place == PLACE
    card = repository.files["README.md"].decode()
    assert f'lancedb.connect("{PLACE}/data")' in card
    assert f'load_dataset("{DATASET}"' in card


@pytest.mark.exhaustive
def test_lancedb_reads_it_where_it_is(data: Settings, hub: WritableHub) -> None:
    publish(data, hub)

    database = lancedb.connect(f"{PLACE}/data", storage_options={"hf_token": TOKEN})
    table = database.open_table("train")
    assert len(table) == 78
    query = table.search("fox", query_type="fts", fts_columns="caption").where("shard = 'b'")
    assert [hit["shard"] for hit in query.limit(3).to_list()] == ["b"] * 3
    table.checkout("first")
    assert table.count_rows("punsafe < 0.5") == 38
    assert list(table.tags.list()) == ["first"]


@pytest.mark.exhaustive
def test_the_next_release_sends_only_what_is_new(data: Settings, hub: WritableHub) -> None:
    publish(data, hub)
    uploaded = set(hub.uploads)
    again = publish(data, hub)
    assert not again.is_new
    assert set(hub.uploads) == uploaded
    bring_whole(data, "c", 5)
    refresh(data, "second")

    made = publish(data, hub)

    repository = hub.repositories[DATASET]
    before = repository.commits[2][2]
    new = {path for path, content in repository.files.items() if before.get(path) != content}
    assert len(new) == made.sent_files
    assert before.keys() <= repository.files.keys()
    assert look(hub) == ("second", 117)
    assert open_published(version="first").count_rows() == 78
    assert list(repository.tags) == ["first", "second"]


def test_a_card_that_is_not_filled_in_goes_nowhere(data: Settings, hub: WritableHub) -> None:
    with raises("publish-terms-missing") as found:
        publish(data, hub, terms=Terms(license="mit"))

    assert str(found.value).startswith(f"{data.curation_file} [publish]: ")
    assert "`contact`" in str(found.value)
    assert hub.requests == []


def publish_once(folder: Path, endpoint: str, start: Connection) -> None:
    """Publishes in a process of its own, once somebody says so."""
    from huggingface_hub import constants

    os.environ.update(HF_ENDPOINT=endpoint, HF_TOKEN=TOKEN)
    constants.HF_HUB_DISABLE_XET = True
    hub_target.COMMIT_FILES = FILES_A_COMMIT
    settings = Settings.default(folder)
    order = PublishOrder(settings.publish_dir, None, TERMS)
    start.recv()
    publish_dataset(LanceStore(settings.lance_dir), HubTarget(DATASET, endpoint), order)


def kill_at_write(settings: Settings, hub: WritableHub, number: int) -> bool:
    """Publishes, and kills that at a request that writes; returns whether there were fewer."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=publish_once, args=(settings.data_dir, hub.origin, there))
    process.start()
    first = hub.write_count

    def kill(count: int) -> None:
        if count == first + number:
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            raise StatusError(503)

    hub.before_write = kill
    here.send("start")
    process.join(LIMIT_S)
    hub.before_write = lambda _: None
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


@pytest.mark.exhaustive
def test_whatever_request_is_the_last_readers_see_a_whole_release(
    data: Settings, hub: WritableHub
) -> None:
    """The process is killed at a request that writes, and the next one goes on from there."""
    publish(data, hub)
    bring_whole(data, "c", 5)
    refresh(data, "second")
    seen, uploads = [look(hub)], len(hub.uploads)
    number = 1
    while not kill_at_write(data, hub, number):
        seen.append(look(hub))
        number += 1

    assert number > 3
    # Only the tag may be missing when a process has died behind the commit.
    assert seen[0] == ("first", 78)
    assert set(seen) <= {("first", 78), ("second", 117)}
    assert seen == sorted(seen)
    assert look(hub) == ("second", 117)
    repository = hub.repositories[DATASET]
    assert repository.tags.keys() == {"first", "second"}
    # No large file was brought that the release does not have: what was merged was merged once.
    large = {sha256(content) for content in repository.files.values()} & hub.uploads.keys()
    assert len(hub.uploads) == len(large) > uploads
    assert list(data.publish_dir.iterdir()) == []


@pytest.mark.exhaustive
def test_a_process_killed_before_the_tag_of_the_hub_leaves_it_to_the_next(
    data: Settings, hub: WritableHub
) -> None:
    def refuse(_: int) -> None:
        if "release.json" in hub.repositories.get(DATASET, Repository(True, [("", "", {})])).files:
            raise StatusError(500)

    hub.before_write = refuse
    with raises("hub-status"):
        publish(data, hub)
    hub.before_write = lambda _: None
    assert look(hub) == ("first", 78)
    assert hub.repositories[DATASET].tags == {}

    assert not publish(data, hub).is_new
    assert hub.repositories[DATASET].tags == {"first": hub.repositories[DATASET].head}


@pytest.mark.exhaustive
def test_somebody_elses_commit_meanwhile_is_not_overwritten(
    data: Settings, hub: WritableHub
) -> None:
    publish(data, hub)
    bring_whole(data, "c", 5)
    refresh(data, "second")
    repository = hub.repositories[DATASET]

    def interfere(_: int) -> None:
        hub.before_write = lambda _: None
        repository.commit({"notes.txt": b"by hand"}, "by hand")

    hub.before_write = interfere
    with raises("hub-changed-meanwhile"):
        publish(data, hub)
    assert look(hub) == ("first", 78)

    publish(data, hub)
    assert look(hub) == ("second", 117)
    assert repository.files["notes.txt"] == b"by hand"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"README.md": b"# mine"}, None),
        ({"data/train.parquet": b"PAR1"}, "publish-place-taken"),
        ({"data/train.lance/_versions/1.manifest": b"?"}, "publish-place-taken"),
        ({"release.json": b"{}"}, "publish-record-unreadable"),
    ],
    ids=["card", "parquet", "lance", "record"],
)
def test_a_dataset_with_other_files_is_refused(
    data: Settings, hub: WritableHub, files: dict[str, bytes], code: str | None
) -> None:
    repository = hub.repositories[DATASET] = Repository(is_private=False)
    repository.commit({".gitattributes": b"", **files}, "by hand")

    if code is None:
        assert publish(data, hub).is_new
        assert not repository.is_private
        assert look(hub) == ("first", 78)
    else:
        with raises(code):
            publish(data, hub)
        assert len(repository.commits) == 1


def test_without_permission_there_is_one_line(
    data: Settings, hub: WritableHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[DATASET] = Repository(is_private=False)
    hub.repositories[DATASET].commit({}, "initial commit")
    monkeypatch.setenv("HF_TOKEN", "hf_other")

    with raises("hub-write-refused") as found:
        publish(data, hub)

    assert str(found.value).startswith(f"{PLACE}: not allowed (status 403); set HF_TOKEN")
    # What was made is kept for the next attempt.
    assert list(data.publish_dir.iterdir()) != []


def test_a_hub_that_does_not_answer_is_named(data: Settings, hub: WritableHub) -> None:
    order = PublishOrder(data.publish_dir, None, TERMS)
    with raises("hub-publish-failed"):
        publish_dataset(LanceStore(data.lance_dir), HubTarget(DATASET, "http://127.0.0.1:9"), order)
    assert hub.requests == []


@pytest.mark.parametrize("place", ["hf://lab/lemurs", "hf://datasets/lemurs", "s3://b/p"])
def test_another_place_is_no_destination(place: str) -> None:
    with raises("publish-place-unknown"):
        open_target(place, "http://127.0.0.1:9")
