"""`laion serve` as a person starts it."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import Shell

GUIDE = (REPOSITORY / "docs" / "how-to" / "search-page.md").read_text(encoding="utf-8")
ADDRESSES = re.findall(r"^\$ curl 'http://127\.0\.0\.1:8000(.+)'$", GUIDE, flags=re.M)


@contextmanager
def serve(shell: Shell, *arguments: str) -> Iterator[str]:
    """Runs the search page at a free port; yields its address."""
    command = ["laion", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            said = process.stdout.readline()
            assert said.startswith("http://127.0.0.1:"), process.stderr.read()
            yield said.split("/ ")[0]
        finally:
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in complaints


def test_the_newest_release_is_served_until_somebody_stops_it(demo: Shell) -> None:
    with serve(demo) as url:
        home = requests.get(f"{url}/index.json", timeout=20).json()
        assert home["image_count"] == 139_288
        assert len(ADDRESSES) > 1
        for address in ADDRESSES:
            response = requests.get(url + address, timeout=20)
            assert response.status_code == 200
            assert len(response.content) > 40


def test_without_a_release_the_page_says_how_to_make_one(shell: Shell) -> None:
    with serve(shell) as url:
        response = requests.get(url, timeout=20)

    assert response.status_code == 503
    assert "laion backfill --all" in response.text


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


def test_a_port_that_is_taken_is_named(demo: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = demo.run("laion", "serve", "--port", port)

    assert result.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use; choose another" in result.stderr
