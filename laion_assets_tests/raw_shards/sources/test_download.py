"""Shards from web servers: fetched once, resumed, verified, refused in one line."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from laion_assets.errors import LaionError, ShardError
from laion_assets.raw_shards.fetch import bring_shard, fetch_shard
from laion_assets.raw_shards.progress import Progress
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.raw_shards.sources.urls import describe_url
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import (
    HTML,
    Answer,
    FileServer,
    Serve,
    date,
    redirect,
    send,
    stall,
)
from laion_assets_tests.servers.hub_server import sha256

OLD, NEW = make_shard("old"), make_shard("new", rows=5)
LARGE = make_shard("large", rows=30, image_bytes=1_000_000)
PATH = "/x/s.parquet"
OTHER_SHA256 = "ab" * 32


def read_folder(store: RawStore) -> dict[str, tuple[bytes, int]]:
    """What is in the folder, but for a part that is to be gone on from."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in store.folder.iterdir()
        if not path.name.startswith(".s.part")
    }


# --- What goes wrong -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """Answers of a server, and what a person is told.

    Attributes:
        answers: of the server.
        reason: the message after the name of the shard.
        requests: that were made.
        sha256: that was promised.
        is_part_kept: whether what came is there for the next attempt.
        timeout_s: of a silence; 60 ends only what hangs.
    """

    answers: list[Answer]
    reason: str
    requests: int = 1
    sha256: str | None = None
    is_part_kept: bool = False
    timeout_s: float = 60


def retried(
    answer: Answer, reason: str, *, is_part_kept: bool = False, timeout_s: float = 60
) -> Failure:
    reason = f"{reason} (3 attempts)"
    return Failure([answer], reason, 3, is_part_kept=is_part_kept, timeout_s=timeout_s)


SIZE = len(NEW)
NETWORK = "check the network and try again"
CUT_OFF = "is cut off: it does not end with a parquet footer; fetch it again"
FAILED = "the server failed; try again later"
FAILURES = {
    "401": Failure(
        [send(401)],
        "status 401, not allowed; "
        "set HF_TOKEN for the Hub, or a login in .netrc for another server",
    ),
    "403": Failure(
        [send(403)],
        "status 403, not allowed; ask for access, set HF_TOKEN for the Hub, or get a new link",
    ),
    "404": Failure([send(404)], "status 404, no such file; correct LAION_SHARDS"),
    "410": Failure([send(410)], "status 410, the file was removed; correct LAION_SHARDS"),
    "416": Failure(
        [send(416)],
        "status 416, the server cannot send the part that was asked for; try again",
    ),
    "429": retried(send(429), "status 429, too many requests; try again later"),
    "500": retried(send(500), f"status 500, {FAILED}"),
    "503": retried(send(503), f"status 503, {FAILED}"),
    "503, then 404": Failure(
        [send(503), send(404)], "status 404, no such file; correct LAION_SHARDS", 2
    ),
    "error page with status 404": Failure(
        [send(404, HTML)], "status 404, no such file; correct LAION_SHARDS"
    ),
    "error page with status 200": Failure(
        [send(200, HTML)],
        "is a web page and not a parquet file; correct the address, or fetch it again",
    ),
    "empty": Failure([send(200)], "is empty; fetch it again"),
    "truncated at the server": Failure([Serve(NEW[:-20])], CUT_OFF),
    "less announced than sent": Failure([Serve(NEW, announced_bytes=SIZE - 20)], CUT_OFF),
    "more announced than sent": retried(
        Serve(NEW, announced_bytes=SIZE + 9, etag="", modified=""),
        f"the connection broke off at byte {SIZE:,} of {SIZE + 9:,}; {NETWORK}",
        is_part_kept=True,
    ),
    "silent": retried(stall, "the server does not answer; try again later", timeout_s=2),
    "silent in the middle": retried(
        Serve(NEW, stall_bytes=300),
        f"the server fell silent at byte 900 of {SIZE:,}; {NETWORK}",
        is_part_kept=True,
        timeout_s=2,
    ),
    "cut before the body": retried(
        Serve(NEW, cut_bytes=0),
        f"the connection broke off at byte 0 of {SIZE:,}; {NETWORK}",
        is_part_kept=True,
    ),
    "cut in the middle": retried(
        Serve(NEW, cut_bytes=300),
        f"the connection broke off at byte 900 of {SIZE:,}; {NETWORK}",
        is_part_kept=True,
    ),
    "cut in the middle of chunks": retried(
        Serve(NEW, cut_bytes=300, is_chunked=True, etag="", modified=""),
        f"the connection broke off at byte 300; {NETWORK}",
        is_part_kept=True,
    ),
    "another checksum than promised": Failure(
        [Serve(NEW)],
        f"SHA-256 is {sha256(NEW)} but should be {OTHER_SHA256}; "
        "fetch it again or correct LAION_SHARDS",
        sha256=OTHER_SHA256,
    ),
    "another checksum than the server promises": Failure(
        [Serve(NEW, headers={"X-Linked-Etag": f'"{OTHER_SHA256}"'})],
        f"SHA-256 is {sha256(NEW)} but should be {OTHER_SHA256}; "
        "fetch it again or correct LAION_SHARDS",
    ),
    "two promises": Failure(
        [Serve(NEW, headers={"X-Linked-Etag": f'"{sha256(NEW)}"'})],
        f"the server has SHA-256 {sha256(NEW)}, not {OTHER_SHA256}; "
        "correct LAION_SHARDS or get the right file",
        sha256=OTHER_SHA256,
    ),
    "compressed": Failure(
        [Serve(NEW, headers={"Content-Encoding": "gzip"})],
        "the server sent it with encoding gzip; serve the plain file",
    ),
    "redirect to ftp": Failure(
        [redirect("ftp://127.0.0.1/s.parquet")],
        "redirected to ftp://127.0.0.1/s.parquet, which is not https; check the link",
    ),
    "redirect to a file": Failure(
        [redirect("file:///etc/passwd")],
        "redirected to file:///etc/passwd, which is not https; check the link",
    ),
    "redirect with a secret": Failure(
        [redirect("ftp://me:word@127.0.0.1/s.parquet?key=hidden#hidden")],
        "redirected to ftp://127.0.0.1/s.parquet, which is not https; check the link",
    ),
    "redirect to no URL": Failure(
        [redirect("http://[::1/s.parquet")], "not a valid URL; correct the link"
    ),
    "redirect loop": Failure([redirect(PATH)], "redirected more than 5 times; check the link", 6),
    "redirect, then 403": Failure(
        [redirect(PATH), send(403)],
        "status 403, not allowed; ask for access, set HF_TOKEN for the Hub, or get a new link",
        2,
    ),
}


# A silence is waited for, three times.
CASES = [
    pytest.param(case, marks=pytest.mark.slow if failure.timeout_s < 60 else ())
    for case, failure in FAILURES.items()
]


@pytest.mark.parametrize("case", CASES)
def test_a_failure_says_what_to_do_and_the_old_file_stays(
    server: FileServer, rules: SourceRules, store: RawStore, case: str
) -> None:
    failure = FAILURES[case]
    url = server.put(PATH, Serve(OLD))
    old = fetch_shard(describe_url(url, None), store, rules)
    before = read_folder(store)
    server.put(PATH, *failure.answers)
    rules = replace(rules, timeout_s=failure.timeout_s)

    with pytest.raises(ShardError) as refusal:
        fetch_shard(describe_url(f"{url}?key=hidden", failure.sha256), store, rules)

    assert str(refusal.value) == f"{url}: {failure.reason}"
    assert len(server.requests) == failure.requests
    assert read_folder(store) == before
    assert sorted(before) == ["s.json", "s.parquet"]
    assert store.read("s") == old
    assert (store.folder / ".s.part").exists() == failure.is_part_kept


@pytest.mark.parametrize("case", CASES)
def test_after_a_failure_the_right_file_is_fetched(
    server: FileServer, rules: SourceRules, store: RawStore, case: str
) -> None:
    failure = FAILURES[case]
    source = describe_url(server.put(PATH, *failure.answers), failure.sha256)
    with pytest.raises(ShardError):
        fetch_shard(source, store, replace(rules, timeout_s=failure.timeout_s))
    server.put(PATH, Serve(NEW, etag='"v3"'))

    record = fetch_shard(replace(source, sha256=None, version=None), store, rules)

    assert (record.sha256, record.file_rows) == (sha256(NEW), 5)
    assert sorted(path.name for path in store.folder.iterdir()) == ["s.json", "s.parquet"]


def test_a_promise_is_kept_by_what_came_before_it_was_made(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(NEW, cut_bytes=300))
    with pytest.raises(ShardError, match="broke off"):
        fetch_shard(describe_url(url, None), store, rules)
    server.put(PATH, Serve(NEW))

    with pytest.raises(ShardError) as refusal:
        fetch_shard(describe_url(url, OTHER_SHA256), store, rules)

    assert f"SHA-256 is {sha256(NEW)} but should be {OTHER_SHA256}" in str(refusal.value)


# --- Unchanged and changed files -----------------------------------------------------------------

PROMISED: dict[str, tuple[Answer, str | None]] = {
    "etag": (Serve(NEW, modified=""), None),
    "weak etag": (Serve(NEW, etag='W/"v1"', modified=""), None),
    "time": (Serve(NEW, etag=""), None),
    "checksum": (Serve(NEW, etag="", modified=""), sha256(NEW)),
}


@pytest.mark.parametrize("case", PROMISED)
def test_an_unchanged_file_is_not_sent_again(
    server: FileServer, rules: SourceRules, store: RawStore, case: str
) -> None:
    answer, promise = PROMISED[case]
    source = describe_url(server.put(PATH, answer), promise)
    first = fetch_shard(source, store, rules)
    before = read_folder(store)
    server.put(PATH, answer)

    second = fetch_shard(source, store, rules)

    assert (second, second.fetched_at) == (first, first.fetched_at)
    assert server.sent_bytes == 0
    assert read_folder(store) == before


def test_an_unchanged_file_of_a_server_that_does_not_heed_conditions_is_not_read(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, send(200, NEW, ETag='"v1"'))
    first = fetch_shard(describe_url(url, None), store, rules)
    before = read_folder(store)

    assert fetch_shard(describe_url(url, None), store, rules) == first
    assert read_folder(store) == before


CHANGED: dict[str, tuple[Answer, Answer]] = {
    "etag": (Serve(OLD, modified=""), Serve(NEW, modified="")),
    "time": (Serve(OLD, etag=""), Serve(NEW, etag="", modified=date(1))),
    "no word for it": (Serve(OLD, etag="", modified=""), Serve(NEW, etag="", modified="")),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_file_is_fetched(
    server: FileServer, rules: SourceRules, store: RawStore, case: str
) -> None:
    first, second = CHANGED[case]
    source = describe_url(server.put(PATH, first, second), None)
    old = fetch_shard(source, store, rules)
    new = fetch_shard(source, store, rules)

    assert (old.sha256, new.sha256) == (sha256(OLD), sha256(NEW))
    assert (store.folder / "s.parquet").read_bytes() == NEW


def test_a_file_that_rotted_on_the_disk_is_fetched_again(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    source = describe_url(server.put(PATH, Serve(NEW)), None)
    good = fetch_shard(source, store, rules)
    rotten = store.folder / "s.parquet"
    rotten.write_bytes(NEW[:50] + b"\xff" + NEW[51:])
    os.utime(rotten, ns=(good.modified_ns, good.modified_ns))
    assert store.read("s") == good

    again = fetch_shard(source, store, rules)

    assert again.sha256 == good.sha256
    assert rotten.read_bytes() == NEW


def test_a_file_that_is_found_in_another_place_is_recorded_from_there(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    fetch_shard(describe_url(server.put(PATH, Serve(NEW)), None), store, rules)
    moved = server.put("/y/s.parquet", Serve(NEW))

    assert fetch_shard(describe_url(moved, None), store, rules).source == moved


# --- Breaks, crashes and company -----------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_large_file_arrives_over_a_server_that_cuts_every_connection(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(LARGE, cut_bytes=2_000_000))
    progress = Progress("s")

    record = fetch_shard(describe_url(url, None), store, rules, progress)

    assert record.sha256 == sha256(LARGE)
    assert server.sent_bytes <= 1.05 * len(LARGE)
    assert progress.transferred_bytes == len(LARGE)


def fetch(url: str, store: RawStore, rules: SourceRules) -> None:
    """What another process does."""
    fetch_shard(describe_url(url, None), store, rules)


@pytest.fixture
def start() -> Iterator[Callable[..., multiprocessing.process.BaseProcess]]:
    """Starts functions in processes of their own."""
    context = multiprocessing.get_context("forkserver")
    processes: list[Any] = []

    def start_one(*arguments: object) -> multiprocessing.process.BaseProcess:
        processes.append(context.Process(target=fetch, args=arguments))
        processes[-1].start()
        return processes[-1]  # type: ignore[no-any-return]

    yield start_one
    for process in processes:
        process.kill()
        process.join()
        process.close()


Start = Callable[..., multiprocessing.process.BaseProcess]


def wait_for_part(store: RawStore, size: int) -> None:
    """Waits until so much of a download has come."""
    part, deadline = store.folder / ".s.part", time.monotonic() + 60
    while not part.exists() or part.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.exhaustive
def test_a_download_goes_on_after_kill_9(
    server: FileServer, rules: SourceRules, store: RawStore, start: Start
) -> None:
    # The server stops there, so that nothing is on its way when the process is killed.
    url = server.put(PATH, Serve(LARGE, stall_bytes=10_000_000), Serve(LARGE))
    process = start(url, store, replace(rules, timeout_s=60))
    wait_for_part(store, 10_000_000)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    came = (store.folder / ".s.part").stat().st_size
    progress = Progress("s")

    record = fetch_shard(describe_url(url, None), store, rules, progress)

    assert record.sha256 == sha256(LARGE)
    assert server.requests[1].headers["Range"] == f"bytes={came}-"
    assert progress.transferred_bytes == server.requests[1].sent_bytes == len(LARGE) - came
    assert server.sent_bytes <= 1.05 * len(LARGE)


@pytest.mark.slow
def test_what_was_begun_before_the_file_changed_is_not_gone_on_from(
    server: FileServer, rules: SourceRules, store: RawStore, start: Start
) -> None:
    url = server.put(PATH, Serve(LARGE, stall_bytes=1_000_000), Serve(NEW))
    process = start(url, store, replace(rules, timeout_s=60))
    wait_for_part(store, 1_000_000)
    process.kill()
    process.join()

    record = fetch_shard(describe_url(url, None), store, rules)

    assert record.sha256 == sha256(NEW)
    assert server.requests[1].headers["Range"] == "bytes=1000000-"


@pytest.mark.exhaustive
def test_processes_that_want_the_same_shard_transfer_it_once(
    server: FileServer, rules: SourceRules, store: RawStore, start: Start
) -> None:
    url = server.put(PATH, Serve(LARGE))
    processes = [start(url, store, replace(rules, timeout_s=30)) for _ in range(3)]
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert server.sent_bytes == len(LARGE)
    assert store.read("s").sha256 == sha256(LARGE)


# --- The disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[RawStore]:
    """A store on a file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "laion-assets-test", str(disk)]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            yield RawStore(disk / "raw")
            subprocess.run(["umount", str(disk)], check=True)
            return
    pytest.skip("a small disk can be mounted by root alone")


@pytest.mark.exhaustive
def test_a_download_onto_a_full_disk_leaves_the_old_file_and_no_part(
    server: FileServer, rules: SourceRules, small_disk: RawStore
) -> None:
    url = server.put(PATH, Serve(OLD), Serve(LARGE, is_chunked=True))
    old = fetch_shard(describe_url(url, None), small_disk, rules)
    before = read_folder(small_disk)

    with pytest.raises(LaionError) as refusal:
        fetch_shard(describe_url(url, None), small_disk, rules)

    assert (
        str(refusal.value) == f"{small_disk.folder}: the disk is full; make room, then run it again"
    )
    assert read_folder(small_disk) == before
    assert sorted(path.name for path in small_disk.folder.iterdir()) == ["s.json", "s.parquet"]
    assert small_disk.read("s") == old


def test_a_file_that_has_no_room_is_not_begun(
    server: FileServer, rules: SourceRules, small_disk: RawStore
) -> None:
    url = server.put(PATH, Serve(LARGE))

    with pytest.raises(ShardError) as refusal:
        fetch_shard(describe_url(url, None), small_disk, rules)

    assert re.fullmatch(
        rf"{re.escape(url)}: needs {len(LARGE):,} bytes, and the disk has [\d,]+ left; "
        "make room, then try again: the download resumes",
        str(refusal.value),
    )
    assert list(small_disk.folder.iterdir()) == []


def test_a_wrong_promise_is_refused_though_the_server_has_what_is_here(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(OLD))
    old = fetch_shard(describe_url(url, None), store, rules)

    with pytest.raises(ShardError, match=f"but should be {'0' * 64}; fetch it again"):
        fetch_shard(describe_url(url, "0" * 64), store, rules)

    assert store.read("s") == old


def test_a_file_that_is_gone_from_its_server_stays(
    server: FileServer, rules: SourceRules, store: RawStore
) -> None:
    url = server.put(PATH, Serve(OLD))
    assert bring_shard([url], "s", store, rules)[1] is False
    server.put(PATH, send(404))

    raw, is_gone = bring_shard([url], "s", store, rules)

    assert (raw, is_gone) == (store.read("s"), True)
    with raises("http-status"):
        bring_shard([server.put("/t.parquet", send(404))], "t", store, rules)


def test_a_copy_onto_a_full_disk_leaves_the_old_file(small_disk: RawStore, tmp_path: Path) -> None:
    local = tmp_path / "s.parquet"
    local.write_bytes(OLD)
    old = fetch_shard(describe_file(local), small_disk)
    before = read_folder(small_disk)
    local.write_bytes(LARGE)

    with pytest.raises(LaionError) as refusal:
        fetch_shard(describe_file(local), small_disk)

    # It is not begun.
    assert str(refusal.value).startswith(f"copying {local}: needs up to ")
    assert str(refusal.value).endswith(" MB more, then try again")
    assert read_folder(small_disk) == before
    assert small_disk.read("s") == old
