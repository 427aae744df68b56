"""`laion serve` as a person starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import (
    Shell,
    count_rows,
    release_source,
    write_source,
)
from laion_assets_tests.integration.web_ui import LIMIT_S
from laion_assets_tests.pipeline import read_removals

GUIDE = (REPOSITORY / "docs" / "how-to" / "search-page.md").read_text(encoding="utf-8")
ADDRESSES = re.findall(r"^\$ curl 'http://127\.0\.0\.1:8000(.+)'$", GUIDE, flags=re.M)


@contextmanager
def start(shell: Shell, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Starts the search page at a free port; yields its address and process."""
    command = ["laion", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        said = process.stdout.readline()
        try:
            assert said.startswith("http://127.0.0.1:"), process.stderr.read()
            yield said.split("/ ")[0], process
        finally:
            process.terminate()


@contextmanager
def serve(shell: Shell, *arguments: str) -> Iterator[str]:
    """Runs the search page at a free port; yields its address."""
    with start(shell, *arguments) as (url, process):
        try:
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in complaints


def list_workers(url: str) -> set[str]:
    """Returns the processes that answer, by number and start."""
    text = requests.get(f"{url}/metrics", timeout=60).text
    return set(re.findall(r"^process_start_time_seconds\{.*$", text, flags=re.M))


def has_counted(url: str, count: int) -> bool:
    """Returns whether so many searches were answered, as all processes together tell."""
    line = f'laion_requests_total{{page="search",status="200"}} {count}.0'
    return line in requests.get(f"{url}/metrics", timeout=60).text


def list_children(process_id: int) -> list[int]:
    """Returns the processes that one has started and that answer requests."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text("ascii").split()
    return [pid for pid in map(int, children) if b"spawn_main" in read_command(pid)]


def read_command(process_id: int) -> bytes:
    return Path(f"/proc/{process_id}/cmdline").read_bytes()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Waits for what will come, unless something hangs."""
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask_all(url: str, times: int = 40) -> list[requests.Response]:
    """Asks over many connections, so that each worker gets one of them."""
    return [requests.get(url, timeout=60) for _ in range(times)]


@pytest.mark.exhaustive
def test_the_newest_release_is_served_until_somebody_stops_it(demo: Shell) -> None:
    with serve(demo) as url:
        home = requests.get(f"{url}/index.json", timeout=20).json()
        assert home["image_count"] == sum(count_rows(demo.settings)[1].values())
        assert len(ADDRESSES) > 1
        for address in ADDRESSES:
            response = requests.get(url + address, timeout=20)
            assert response.status_code == 200
            assert len(response.content) > 40


@pytest.mark.exhaustive
def test_without_a_release_the_page_says_how_to_make_one(shell: Shell) -> None:
    with serve(shell) as url:
        response = requests.get(url, timeout=20)

    assert response.status_code == 503
    assert "laion backfill --all" in response.text


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--release", "never"], "no release 'never'"),
        (["--host", "192.0.2.1"], "192.0.2.1:8000: Cannot assign requested address"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid:8000: "),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    demo: Shell, arguments: list[str], reason: str
) -> None:
    result = demo.run("laion", "serve", *arguments)

    assert result.returncode == 1
    assert reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.exhaustive
def test_a_port_that_is_taken_is_named(demo: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = demo.run("laion", "serve", "--port", port)

    assert result.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use; choose another" in result.stderr


several = pytest.mark.skipif(sys.platform != "linux", reason="several processes need Linux")


@pytest.mark.exhaustive
@several
def test_a_worker_that_dies_is_replaced_and_the_site_goes_on(shell: Shell) -> None:
    release_source(shell, write_source(shell, "a", "a fox"))
    with start(shell, "--workers", "2") as (url, process):
        wait_until(lambda: len(list_workers(url)) == 2)
        before, pids = list_workers(url), list_children(process.pid)
        assert len(pids) == 2
        answered = Counter(r.status_code for r in ask_all(f"{url}/search.json?q=fox"))
        assert answered == {200: 40}
        # A request is counted after its answer.
        wait_until(lambda: has_counted(url, 40))

        os.kill(pids[0], signal.SIGKILL)
        # Until all of its sockets are closed.
        wait_until(lambda: not Path(f"/proc/{pids[0]}").exists())
        assert {r.status_code for r in ask_all(f"{url}/search.json?q=fox", 10)} == {200}
        wait_until(lambda: len(list_workers(url)) == 2)
        assert len(list_workers(url) & before) == 1
        # What the dead one counted is not lost, and no request of it is waited for.
        wait_until(lambda: has_counted(url, 50))
        figures = requests.get(f"{url}/metrics", timeout=60).text
        assert "laion_requests_waiting 0.0" in figures

        pids = list_children(process.pid)
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert "worker 0 ended (SIGKILL)" in complaints or "worker 1 ended (SIGKILL)" in complaints
    assert "Traceback" not in complaints
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.exhaustive
@several
def test_all_workers_show_a_new_release_hide_what_was_removed_and_end_with_who_started_them(
    shell: Shell,
) -> None:
    release_source(shell, write_source(shell, "a", "a fox"))
    with start(shell, "--workers", "2") as (url, process):
        wait_until(lambda: len(list_workers(url)) == 2)
        release = release_source(shell, write_source(shell, "b", "a fox", rows=4))

        def say(total: int) -> bool:
            answers = ask_all(f"{url}/search.json?q=fox")
            return {(a.json()["release"], a.json()["total"]) for a in answers} == {(release, total)}

        wait_until(lambda: say(7))
        read_removals(shell.settings, "*.b.test")
        wait_until(lambda: say(3))

        pids = list_children(process.pid)
        assert len(pids) == 2
        process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.exhaustive
@several
def test_limits_hold_over_all_workers_and_lines_of_the_log_are_whole(shell: Shell) -> None:
    release_source(shell, write_source(shell, "a", "a fox"))
    options = ("--workers", "2", "--requests-per-second", "0.5", "--access-log")
    with start(shell, *options) as (url, process):
        wait_until(lambda: len(list_workers(url)) == 2)
        address = f"{url}/about?containing={'x' * 5_000}"
        with ThreadPoolExecutor(8) as visitors:
            started = time.monotonic()
            answers = list(visitors.map(lambda _: requests.get(address, timeout=60), range(10)))
            saved_up = (time.monotonic() - started) * 0.5
        statuses = Counter(answer.status_code for answer in answers)
        # Ten seconds' worth, and what was saved up meanwhile; each other one is too much.
        assert 5 <= statuses[400] <= 6 + saved_up
        assert statuses[400] + statuses[429] == 10
        process.send_signal(signal.SIGINT)
        log, _ = process.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines()]
    assert Counter(line["status"] for line in lines if line["path"] == "/about") == statuses
