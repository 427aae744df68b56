"""The whole site under the command lines of compose.yaml, with visitors all the time.

Run `python -m benchmarks.site [--visitors 32] [--minutes 5]` from the repository root. Daemon, web
server and search page run as compose.yaml has them, in a temporary folder; Caddy stands before
them with the Caddyfile, if this machine has it. Without it, visitors do what Caddy does while the
page restarts: they ask again. Meanwhile a shard is loaded and released, and each program is
restarted in turn, until the time is over. The exit status is 1 if any request failed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from benchmarks.measure import report_run
from laion_assets_tests.integration.deployment import (
    DEPLOY,
    Place,
    Role,
    make_container,
    read_roles,
)
from laion_assets_tests.integration.web_ui import find_free_port, run_in_background, wait_for

WORDS = ("fox", "red", "grey", "hill", "nobody")
PATHS = ("/", "/search?q={}", "/search.json?q={}", "/domains", "/releases", "/search.csv?q={}")
# A visitor waits as long as one is ready to.
PATIENCE_S = 60
OK = 200


@dataclass
class Visits:
    """What visitors saw.

    Attributes:
        answers: how many answers had each status.
        failures: what went wrong, with the address.
        longest_s: what the slowest answer took.
    """

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        with self._lock:
            self.answers[status] += 1
            self.longest_s = max(self.longest_s, seconds)
            if status != OK:
                self.failures.append(f"{path}: {status}")

    def note_error(self, path: str, error: Exception) -> None:
        """Counts a request without an answer."""
        with self._lock:
            self.failures.append(f"{path}: {error}")


class Site:
    """All programs of compose.yaml on this machine."""

    def __init__(self, folder: Path) -> None:
        self.place = make_container(folder)
        self.roles = read_roles()
        self._running: dict[str, ExitStack] = {}
        self._stack = ExitStack()
        self.url = self.place.url("8000")
        self.has_proxy = shutil.which("caddy") is not None

    def __enter__(self) -> Self:
        for name in self.roles:
            self.start(name)
        if self.has_proxy:
            self.url = self._stack.enter_context(run_caddy(self.place)).site
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in list(self._running):
            self.stop(name)
        self._stack.close()

    def start(self, name: str) -> None:
        """Starts a program."""
        stack = ExitStack()
        stack.enter_context(self.roles[name].start(self.place))
        self._running[name] = stack

    def stop(self, name: str) -> None:
        """Stops a program."""
        self._running.pop(name).close()

    def restart(self, name: str) -> None:
        """Does what `docker compose restart NAME` does, and waits until it is well."""
        self.stop(name)
        self.start(name)
        self.wait_for_health(name)

    def wait_for_health(self, name: str) -> None:
        """Waits until a program is well."""
        role: Role = self.roles[name]
        wait_for(lambda: role.is_healthy(self.place), f"the health of {name}")

    def release(self, shard: str) -> str:
        """Loads a new shard and releases it, as an operator does; returns the tag."""
        folder = self.place.root / "data" / "shards"
        folder.mkdir(parents=True, exist_ok=True)
        captions = [f"a red fox of {shard}", f"a grey hill of {shard}"]
        rows = {"URL": [f"https://{shard}.test/{n}.jpg" for n in range(2)], "TEXT": captions}
        pq.write_table(pa.table(rows), folder / f"{shard}.parquet")
        result = self.roles["daemon"].run(self.place, "laion", "backfill", "--all")
        assert result.returncode == 0, result.stderr
        images = 2 * len(list(folder.glob("*.parquet")))
        return str(wait_for(lambda: self._find_release(images), f"the release with {shard}"))

    def _find_release(self, images: int) -> str | None:
        try:
            health = requests.get(f"{self.place.url('8000')}/healthz", timeout=PATIENCE_S)
        except requests.ConnectionError:
            return None
        shown = health.json() if health.status_code == OK else {}
        return shown["release"] if shown.get("images") == images else None


@dataclass(frozen=True)
class Proxy:
    """Caddy's addresses for visitors and for operators."""

    site: str
    dagster: str


@contextmanager
def run_caddy(place: Place, **settings: str) -> Iterator[Proxy]:
    """Runs Caddy with the Caddyfile as it is, without TLS and at free ports."""
    ports = [find_free_port() for _ in range(3)]
    proxy = Proxy(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    environment = {
        "PATH": str(Path(shutil.which("caddy") or "caddy").parent),
        "HOME": str(place.root / "tmp"),
        "CADDY_ADMIN": f"127.0.0.1:{ports[2]}",
        "LAION_HOST": proxy.site,
        "LAION_DAGSTER_HOST": proxy.dagster,
        "LAION_LOGIN_HASH": "$2a$04$" + "." * 53,
        "LAION_SEARCH": place.url("8000").removeprefix("http://"),
        "LAION_DAGSTER": place.url("3000").removeprefix("http://"),
        **settings,
    }
    program = shutil.which("caddy")
    assert program
    command = [program, "run", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
    log = place.root / "caddy.log"
    with run_in_background(command, place.root, environment, log) as process:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text("utf-8")
            try:
                requests.get(proxy.dagster, timeout=PATIENCE_S)
            except requests.ConnectionError:
                return False
            return True

        wait_for(is_up, "Caddy")
        yield proxy


@contextmanager
def visit(site: Site, visitors: int) -> Iterator[Visits]:
    """Lets visitors ask for pages, each as soon as it has its answer, until the block is left."""
    visits, is_over = Visits(), threading.Event()

    def ask(number: int) -> None:
        rng = random.Random(number)  # noqa: S311
        while not is_over.is_set():
            path = rng.choice(PATHS).format(rng.choice(WORDS))
            started = time.monotonic()
            try:
                status = ask_page(site, path)
            except requests.RequestException as error:
                visits.note_error(path, error)
            else:
                visits.note(path, status, time.monotonic() - started)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    try:
        yield visits
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def ask_page(site: Site, path: str) -> int:
    """Returns the status of an answer."""
    while True:
        try:
            return requests.get(site.url + path, timeout=PATIENCE_S).status_code
        except requests.ConnectionError:
            # As `lb_try_duration` has it; with Caddy there is no reason for it.
            if site.has_proxy:
                raise
            time.sleep(0.25)


def list_steps(site: Site) -> list[Callable[[], object]]:
    """Returns what happens while visitors ask; a removal becomes one more step."""
    numbers = iter(range(1_000_000))
    return [
        lambda: site.release(f"new-{next(numbers)}"),
        *(lambda name=name: site.restart(name) for name in site.roles),
    ]


def live(folder: Path, visitors: int, seconds: float) -> Visits:
    """Runs the site with visitors: every step once, and again until the time is over."""
    with Site(folder) as site:
        site.release("first")
        site.wait_for_health("search")
        with visit(site, visitors) as visits:
            started, steps = time.monotonic(), list_steps(site)
            is_first = True
            while is_first or time.monotonic() - started < seconds:
                for step in steps:
                    step()
                is_first = False
    return visits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        visits = live(Path(folder) / "site", options.visitors, 60 * options.minutes)
    print(f"{visits.answers.total():,} answers, the slowest {visits.longest_s:.1f} s")
    print(f"failed: {len(visits.failures)}", *Counter(visits.failures).most_common(10), sep="\n")
    sys.exit(1 if visits.failures else 0)


if __name__ == "__main__":
    report_run(main)
