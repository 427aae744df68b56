"""What the sources have that is not here, and what is here that they have not."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from laion_assets.raw_shards import discovery
from laion_assets.raw_shards.discovery import Discovery, discover
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.runs import tick
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.servers.file_server import FileServer, Serve, date, send
from laion_assets_tests.servers.hub_server import Hub

OLD, NEW = make_shard("old"), make_shard("new", rows=5)


def fetch_all(locations: Iterable[str], store: RawStore, rules: SourceRules) -> set[str]:
    """Fetches what the locations name; returns the shards, which are partitions from now on."""
    sources = list_shards(locations, rules).sources
    for source in sources.values():
        fetch_shard(source, store, rules)
    return set(sources)


def is_quiet(found: Discovery) -> bool:
    """Whether there is nothing to say and nothing to do."""
    return found == Discovery([], [], [], {}, [], [])


def test_a_new_shard_is_due_until_it_is_fetched(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    locations = [server.put("/s.parquet", Serve(OLD))]

    first = discover(locations, store, rules, [])
    second = discover(locations, store, rules, ["s"])
    partitions = fetch_all(locations, store, rules)

    assert (first.new, list(first.due), second.new) == (["s"], ["s"], [])
    assert first.due == second.due
    assert is_quiet(discover(locations, store, rules, partitions))


def test_no_server_is_asked_if_nobody_wants_to_know(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    locations = [server.put("/s{0..9}.parquet", Serve(OLD))]

    found = discover(locations, store, rules, [], is_asking=False)

    assert len(found.new) == 10
    assert server.requests == []


def test_a_file_that_was_missing_is_due_again_once_it_is_there(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    locations = [server.put("/s.parquet", send(404))]
    missing = discover(locations, store, rules, [])
    server.put("/s.parquet", Serve(OLD))

    there = discover(locations, store, rules, ["s"])

    assert list(missing.due) == list(there.due) == ["s"]
    assert missing.due != there.due
    assert missing.problems == [f"{locations[0]}: status 404, no such file; correct LAION_SHARDS"]
    assert there.problems == []


CHANGES = {
    "etag": (Serve(OLD, modified=""), Serve(NEW, modified="")),
    "time": (Serve(OLD, etag=""), Serve(NEW, etag="", modified=date(1))),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_file_is_due_once_for_each_change(
    server: FileServer, rules: SourceRules, store: RawStore, case: str
) -> None:
    old, new = CHANGES[case]
    locations = [server.put("/s.parquet", old)]
    first = discover(locations, store, rules, ["s"])
    fetch_all(locations, store, rules)
    server.put("/s.parquet", new)

    second = discover(locations, store, rules, ["s"])
    third = discover(locations, store, rules, ["s"])

    assert (second.new, second.changed, list(second.due)) == ([], ["s"], ["s"])
    assert second == third
    assert first.due != second.due
    assert set(server.methods) == {"HEAD"}
    fetch_all(locations, store, rules)
    assert is_quiet(discover(locations, store, rules, ["s"]))


def test_a_changed_promise_is_a_change(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put("/s.parquet", Serve(OLD))
    fetch_all([url], store, rules)

    assert discover([f"{url}#sha256={'ab' * 32}"], store, rules, ["s"]).changed == ["s"]


def test_a_server_without_a_word_for_its_content_has_no_changes(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    locations = [server.put("/s.parquet", Serve(OLD, etag="", modified=""))]
    fetch_all(locations, store, rules)

    assert is_quiet(discover(locations, store, rules, ["s"]))


def test_no_server_is_asked_unless_it_is_wanted(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    locations = [server.put("/s.parquet", Serve(OLD), Serve(NEW))]
    fetch_all(locations, store, rules)
    server.requests.clear()

    assert is_quiet(discover(locations, store, rules, ["s"], is_asking=False))
    assert server.requests == []


def test_a_change_of_the_hub_is_in_its_list(hub: Hub, rules: SourceRules, store: RawStore) -> None:
    locations = ["hf://datasets/laion/small/*.parquet"]
    hub.publish("laion/small", {"a.parquet": OLD, "b.parquet": OLD})
    partitions = fetch_all(locations, store, rules)
    hub.publish("laion/small", {"a.parquet": OLD, "b.parquet": NEW, "c.parquet": NEW})

    found = discover(locations, store, rules, partitions)

    assert (found.new, found.changed, sorted(found.due)) == (["c"], ["b"], ["b", "c"])
    assert {"/api" in request.path for request in hub.server.requests} == {True}


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_change_of_a_local_file_is_its_size_or_time(
    rules: SourceRules, store: RawStore, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "s.parquet"
    path.write_bytes(OLD)
    locations = [str(tmp_path / "*.parquet")]
    fetch_all(locations, store, rules)
    assert is_quiet(discover(locations, store, rules, ["s"]))
    status = path.stat()
    if change == "size":
        path.unlink()
        path.write_bytes(NEW)
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(status.st_mtime_ns + 1, status.st_mtime_ns + 1))

    assert list(discover(locations, store, rules, ["s"]).due) == ["s"]


def test_a_shard_that_no_source_has_any_more_is_gone(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    locations = ["hf://datasets/laion/small/*.parquet"]
    hub.publish("laion/small", {"a.parquet": OLD, "b.parquet": OLD})
    partitions = fetch_all(locations, store, rules)
    hub.publish("laion/small", {"a.parquet": OLD})

    found = discover(locations, store, rules, partitions)

    assert found == Discovery([], [], ["b"], {}, [], [])
    assert (store.folder / "b.parquet").read_bytes() == OLD


def test_nothing_is_called_gone_while_a_source_cannot_be_listed(
    hub: Hub, rules: SourceRules, store: RawStore, tmp_path: Path
) -> None:
    (tmp_path / "a.parquet").write_bytes(OLD)
    location = "hf://datasets/laion/none/*.parquet"

    found = discover([str(tmp_path / "*.parquet"), location], store, rules, ["b"])

    assert (found.new, list(found.due), found.gone) == (["a"], ["a"], [])
    assert found.problems == [
        f"{location}: status 404, no such dataset, revision or folder; correct LAION_SHARDS"
    ]
    assert hub.cdn.requests == []


def test_two_sources_of_one_name_are_named_and_the_others_go_on(
    hub: Hub, rules: SourceRules, store: RawStore
) -> None:
    hub.publish("laion/small", {"a.parquet": OLD, "b.parquet": OLD})
    locations = ["hf://datasets/laion/small/*.parquet", f"{hub.cdn.origin}/x/b.parquet?key=hidden"]

    found = discover(locations, store, rules, ["b"])

    assert (found.new, list(found.due), found.gone) == (["a"], ["a"], [])
    assert found.problems == [
        f"shard 'b' comes from both hf://datasets/laion/small@main/b.parquet and "
        f"{hub.cdn.origin}/x/b.parquet; rename one of the files or leave it out of LAION_SHARDS"
    ]


def test_servers_that_do_not_answer_are_one_line(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    for number in range(3):
        server.put(f"/s{number}.parquet", Serve(OLD))
    locations = [f"{server.origin}/s{{0..2}}.parquet"]
    partitions = fetch_all(locations, store, rules)
    server.put("/s0.parquet", send(500))
    server.put("/s1.parquet", send(500))
    server.put("/s2.parquet", send(404))

    found = discover(locations, store, rules, partitions)

    assert found.problems == [
        f"{server.origin}/s0.parquet: status 500, the server failed; try again later "
        "(1 attempt) (and 1 more)"
    ]
    assert (found.new, found.changed, found.gone, found.due) == ([], [], ["s2"], {})


def test_servers_that_accept_and_never_answer_are_not_waited_for(
    tmp_path: Path, store: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the limits the lines would be those of requests that were given up themselves."""
    monkeypatch.setattr(discovery, "LISTING_S", 0.3)
    monkeypatch.setattr(discovery, "ASKING_S", 0.3)
    (tmp_path / "near.parquet").write_bytes(OLD)
    hub = "hf://datasets/org/set/*.parquet"
    with socket.create_server(("127.0.0.1", 0), backlog=9) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        url = f"{origin}/far.parquet"
        rules = SourceRules(hub_endpoint=origin, timeout_s=5)
        locations = [hub, url, f"{tmp_path}/*.parquet"]
        found = discover(locations, store, rules, ["gone"], is_hurried=True)

    assert found.problems == [
        f"{hub}: not listed within 0.3 s; try again later",
        f"{url}: no answer within 0.3 s for all; asked again later",
    ]
    assert (found.new, found.gone, found.unknown) == (["far", "near"], [], {"far", "gone"})


def test_all_that_a_tick_waits_for_leaves_some_of_its_20_seconds() -> None:
    assert discovery.LISTING_S + discovery.ASKING_S + tick.QUEUE_WAIT_S <= 17
