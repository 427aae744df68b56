"""The whole site under the command lines of compose.yaml, with visitors all the time.

Run `python -m benchmarks.site [--visitors 32] [--minutes 5]` from the repository root. Daemon, web
server and search page run as compose.yaml has them, in a temporary folder; Caddy stands before
them with the Caddyfile, if this machine has it. Without it, visitors do what Caddy does while the
page restarts: they ask again. Meanwhile a shard is loaded and released, one of its rows comes onto
the list of removals, each program is restarted and Caddy reads its file again, in turn, until the
time is over. The exit status is 1 if any request failed, or showed a removed row a minute after the
list was read. Writes `SITE.md`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import requests
from requests.adapters import HTTPAdapter

from benchmarks.compare import describe_machine
from benchmarks.measure import report_run
from laion_assets.settings import REPOSITORY
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
OLD_PATH = "/search.csv?q={}&release="
# A visitor waits as long as one is ready to, and reads a little before asking again.
PATIENCE_S = 60
READING_S = 0.1
# So long after the list was read no answer may show what is on it.
MAX_SHOWN_S = 60
OK = 200
# So much of an answer that is no page is shown.
SAID_CHARACTERS = 200
CADDYFILE = ("--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile")
# In the container, as LAION_REMOVALS has it.
LIST = "/data/removals.txt"


@dataclass
class Visits:
    """What visitors saw.

    Attributes:
        answers: how many answers had each status.
        failures: what went wrong, with the address.
        took_s: what each answer took.
        removed: when the list was read on which a row is, by a word of that row alone.
        seen: when the last answer was asked for that has this word. Moments are seconds since 1970.
    """

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    removed: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, answer: requests.Response, asked_at: float) -> None:
        """Counts an answer, and looks whether it shows what is removed."""
        with self._lock:
            self.answers[answer.status_code] += 1
            self.took_s.append(time.time() - asked_at)
            if answer.status_code != OK:
                said = " ".join(answer.text.split())[:SAID_CHARACTERS]
                self.failures.append(f"{path}: {answer.status_code} {said}")
            for word in re.findall(r"\bperson\d{4}\b", answer.text):
                self.seen[word] = max(asked_at, self.seen.get(word, 0))
                if asked_at - self.removed.get(word, asked_at) > MAX_SHOWN_S:
                    self.failures.append(f"{path}: shows {word}, which is removed")

    def note_error(self, path: str, error: Exception) -> None:
        """Counts a request without an answer."""
        with self._lock:
            self.failures.append(f"{path}: {error}")


class Site:
    """All programs of compose.yaml on this machine."""

    def __init__(self, folder: Path) -> None:
        self.place = make_container(folder)
        self.roles = {
            name: replace(role, environment={**role.environment, "LAION_REMOVALS": LIST})
            for name, role in read_roles().items()
        }
        self.proxy: Proxy | None = None
        # A release that visitors ask for by its name.
        self.pinned = ""
        self._list = Path(self.place.map(LIST))
        self._list.write_text("what\nunlisted.test\n", "utf-8")
        self._running: dict[str, ExitStack] = {}
        self._stack = ExitStack()
        self.url = self.place.url("8000")

    def __enter__(self) -> Self:
        for name in self.roles:
            self.start(name)
        if shutil.which("caddy"):
            self.proxy = self._stack.enter_context(run_caddy(self.place))
            self.url = self.proxy.site
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

    def release(self, number: int) -> None:
        """Loads a new shard and releases it, as an operator does: a person and two others."""
        shards = self.place.root / "data" / "shards"
        shards.mkdir(parents=True, exist_ok=True)
        people = [f"person{number:04}", "somebody", "nobody"]
        rows = {
            "URL": [f"https://{person}.test/{number}.jpg" for person in people],
            "TEXT": [f"a red fox of {person} on a grey hill" for person in people],
        }
        pq.write_table(pa.table(rows), shards / f"new-{number}.parquet")
        self.pinned = self._refresh("--all")

    def remove(self, number: int) -> float:
        """Removes the person of a shard; returns when the list was read."""
        with self._list.open("a", encoding="utf-8") as file:
            file.write(f"person{number:04}.test\n")
        self._refresh("--missing")
        kept = json.loads((self.place.root / "data/lance/removals.json").read_text("utf-8"))
        return datetime.fromisoformat(kept["changed_at"]).timestamp()

    def reload_proxy(self) -> None:
        """Lets Caddy read its file again, as `docker compose exec caddy caddy reload` does."""
        if self.proxy:
            run_program(["caddy", "reload", *CADDYFILE], self.proxy.environment)

    def _refresh(self, which: str) -> str:
        result = self.roles["daemon"].run(self.place, "laion", "backfill", which)
        assert result.returncode == 0, result.stderr
        shards = len(list((self.place.root / "data" / "shards").glob("*.parquet")))
        removed = len(self._list.read_text("utf-8").splitlines()) - 2
        images = 3 * shards - removed
        return wait_for(lambda: self._find_release(images), f"the release with {images} images")

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
    environment: dict[str, str]


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Runs a program to its end, and fails with what it said if it fails."""
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@contextmanager
def run_caddy(place: Place, **settings: str) -> Iterator[Proxy]:
    """Runs Caddy with the Caddyfile as it is, without TLS and at free ports."""
    ports = [find_free_port() for _ in range(3)]
    site, dagster = (f"http://127.0.0.1:{port}" for port in ports[:2])
    environment = {
        "PATH": str(Path(shutil.which("caddy") or "caddy").parent),
        "HOME": str(place.root / "tmp"),
        "CADDY_ADMIN": f"127.0.0.1:{ports[2]}",
        "LAION_HOST": site,
        "LAION_DAGSTER_HOST": dagster,
        "LAION_LOGIN_HASH": "$2a$04$" + "." * 53,
        "LAION_SEARCH": place.url("8000").removeprefix("http://"),
        "LAION_DAGSTER": place.url("3000").removeprefix("http://"),
        **settings,
    }
    program = shutil.which("caddy")
    assert program
    command = [program, "run", *CADDYFILE]
    log = place.root / "caddy.log"
    with run_in_background(command, place.root, environment, log) as process:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text("utf-8")
            try:
                requests.get(dagster, timeout=PATIENCE_S)
            except requests.ConnectionError:
                return False
            return True

        wait_for(is_up, "Caddy")
        yield Proxy(site, dagster, environment)


@contextmanager
def visit(site: Site, visitors: int) -> Iterator[Visits]:
    """Lets visitors ask for pages, each from an address of its own, until the block is left."""
    visits, is_over = Visits(), threading.Event()

    def ask(number: int) -> None:
        rng = random.Random(number)  # noqa: S311
        address = f"127.0.1.{number + 1}"
        while not is_over.wait(READING_S):
            paths = [*PATHS, OLD_PATH + site.pinned] if site.pinned else PATHS
            path = rng.choice(paths).format(rng.choice(WORDS))
            asked_at = time.time()
            try:
                answer = ask_page(site, path, address)
            except requests.RequestException as error:
                visits.note_error(path, error)
            else:
                visits.note(path, answer, asked_at)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    try:
        yield visits
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


class FromAddress(HTTPAdapter):
    """Asks from one of the addresses of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Makes the connections."""
        super().init_poolmanager(*arguments, **options, source_address=(self._address, 0))


def ask_page(site: Site, path: str, address: str) -> requests.Response:
    """Returns the answer that a visitor of this address gets."""
    while True:
        try:
            with requests.Session() as session:
                session.mount("http://", FromAddress(address))
                return session.get(site.url + path, timeout=PATIENCE_S)
        except requests.ConnectionError:
            # As `lb_try_duration` has it; with Caddy there is no reason for it.
            if site.proxy:
                raise
            time.sleep(0.25)


@dataclass
class Report:
    """What happened.

    Attributes:
        visits: what visitors saw.
        has_proxy: whether Caddy stood before the page.
        seconds: how long visitors asked.
        steps: how long each step took, by what was done, in seconds.
        shown_s: for how long each removed row was shown after the list was read.
    """

    visits: Visits
    has_proxy: bool
    seconds: float = 0.0
    steps: dict[str, list[float]] = field(default_factory=dict)
    shown_s: list[float] = field(default_factory=list)

    def do(self, what: str, step: Callable[[], object]) -> None:
        """Does something, and notes how long it took."""
        started = time.monotonic()
        step()
        self.steps.setdefault(what, []).append(time.monotonic() - started)


def live(folder: Path, visitors: int, seconds: float) -> Report:
    """Runs the site with visitors: every step once, and again until the time is over."""
    with Site(folder) as site:
        site.release(0)
        site.wait_for_health("search")
        with visit(site, visitors) as visits:
            report = Report(visits, site.proxy is not None)
            started, number = time.monotonic(), 1
            while number == 1 or time.monotonic() - started < seconds:
                go_round(site, report, number)
                number += 1
            report.seconds = time.monotonic() - started
    return report


def go_round(site: Site, report: Report, number: int) -> None:
    """Does every step once."""
    visits, word = report.visits, f"person{number:04}"

    def remove() -> None:
        read_at = site.remove(number)
        # What is noted from now on is looked at as it comes; what came before is in `seen`.
        visits.removed[word] = read_at
        report.shown_s.append(max(0.0, visits.seen[word] - read_at))

    report.do("a release", lambda: site.release(number))
    wait_for(lambda: word in visits.seen, f"an answer with {word}")
    report.do("a removal, with the load and the release that follow", remove)
    for name in site.roles:
        report.do(f"a restart of `{name}`", lambda name=name: site.restart(name))  # type: ignore[misc]
    if site.proxy:
        report.do("a new configuration for Caddy", site.reload_proxy)


def write_page(report: Report, visitors: int) -> str:
    """Returns the report in Markdown."""
    visits = report.visits
    took = sorted(visits.took_s)
    before = "behind Caddy" if report.has_proxy else "without Caddy"
    lines = [
        "# The site while it is released, cleaned and restarted",
        "",
        describe_machine(),
        "",
        f"{visitors} visitors {before} for {report.seconds:.0f} s: {len(took):,} answers, "
        f"{len(took) / report.seconds:.0f} a second; half of them within "
        f"{1000 * took[len(took) // 2]:.0f} ms, 95 % within "
        f"{1000 * took[int(0.95 * len(took))]:.0f} ms, the slowest {took[-1]:.1f} s. "
        f"Failed: **{len(visits.failures)}**.",
        "",
        f"A removed row was last shown {max(report.shown_s):.1f} s after the list was read "
        f"({MAX_SHOWN_S} at most).",
        "",
        "| what was done meanwhile | times | longest s |",
        "| --- | ---: | ---: |",
        *(f"| {what} | {len(s)} | {max(s):.0f} |" for what, s in report.steps.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks")
    options = parser.parse_args()
    # Whoever stops this stops all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        report = live(Path(folder) / "site", options.visitors, 60 * options.minutes)
    page = write_page(report, options.visitors)
    (options.output / "SITE.md").write_text(page, encoding="utf-8")
    failures = report.visits.failures
    print(page, *Counter(failures).most_common(10), sep="\n")
    sys.exit(1 if failures or max(report.shown_s) > MAX_SHOWN_S else 0)


if __name__ == "__main__":
    report_run(main)
