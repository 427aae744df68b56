"""The search page under load, beside Datasette over the database of the 2022 recipe.

Run `python -m benchmarks.serve [--rows 1728119] [--minutes 10] [--output FOLDER]`. The servers run
as processes of their own, one after the other, and so does the load: 32 connections, each of which
asks as soon as it has its answer. Writes `SERVE.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from urllib.parse import quote_plus

from benchmarks.bare import ingest, refresh
from benchmarks.compare import LAION, describe_machine
from benchmarks.measure import Watch
from benchmarks.search import read_sample
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import read_sheet
from laion_assets.settings import REPOSITORY, Settings

CONNECTIONS = 32
HITS = 20
# Of the seed's kind: searches that somebody might type.
SEARCHES = 50
STARTING_S = 60
# With the suffix of the path.
FORMS = {"HTML": "", "JSON": ".json"}


@dataclass
class Load:
    """What came of a load.

    Attributes:
        seconds: how long it took.
        latencies_s: of each answer, from when it was due.
        statuses: how many answers had each status of HTTP.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    @property
    def failed(self) -> int:
        """Answers that were none."""
        return len(self.latencies_s) - self.statuses[200]

    def quantile_ms(self, share: float) -> float:
        """Returns the latency that a share of the answers kept to, in milliseconds."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def describe(self, label: str) -> str:
        """Returns a row of the table."""
        numbers = (self.per_second, self.quantile_ms(0.5), self.quantile_ms(0.95), self.failed)
        cells = [label, f"{len(self.latencies_s):,}", *(f"{number:,.0f}" for number in numbers)]
        return f"| {' | '.join(cells)} |"


HEADER = (
    "|  | answers | a second | p50 ms | p95 ms | failed |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--seconds", type=float, default=15, help="of each load")
    parser.add_argument("--minutes", type=float, default=10, help="of the long load")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        watch = Watch()
        lines = measure(Path(folder), options.rows, options.seconds, options.minutes)
        lines += ["", watch.describe()]
    page = "# The search page under load\n\n" + "\n".join(lines) + "\n"
    (options.output / "SERVE.md").write_text(page, encoding="utf-8")


def measure(folder: Path, rows: int, seconds: float, minutes: float) -> list[str]:
    """Returns the lines of the page."""
    settings = Settings.default(folder)
    names = [row[0] for kind, at in settings.sheets.items() for row in read_sheet(kind, at).rows]
    (file,) = write_sample_shards(folder / "shards", names, SampleSpec(1, rows))
    ingest(settings, file)
    refresh(settings)
    recipe = [sys.executable, "-m", "benchmarks.shell_recipe", str(folder), str(file)]
    subprocess.run(recipe, cwd=REPOSITORY, check=True, capture_output=True)
    captions, _ = read_sample(settings)
    sorts = {"a rare word": choose_rare_words(captions), "words typed": iterate_searches(captions)}
    known = {sort: list(islice(queries, SEARCHES)) for sort, queries in sorts.items()}
    said = Report(seconds)
    with run_datasette(folder / "laion.db") as url:
        slow = load_datasette(said, url, known)
    with run_laion(settings) as (url, process_id):
        fast = load_laion(said, url, sorts)
        typed, some = sorts["words typed"], known["words typed"]
        run(url, (ours(q, "") for q in some))
        again = said.load(
            "`laion serve`: asked again, HTML", url, (ours(q, "") for q in cycle(some))
        )
        half = fast["words typed, HTML"] / 2
        calm = said.load("words typed, HTML, half of that", url, (ours(q, "") for q in typed), half)
        before = read_memory_mib(process_id)
        long = run(url, (ours(q, "") for q in mix(typed, some)), 60 * minutes)
        said.add(f"HTML for {minutes:g} minutes, every other asked again", long)
        after = read_memory_mib(process_id)
    for sort, per_second in slow.items():
        limit = "5 at least" if "HTML" in sort else "no limit"
        said.relate(f"The first time, {sort}, times Datasette", fast[sort] / per_second, limit)
    page_ratio = again.per_second / slow["a rare word, HTML"]
    said.relate("Asked again, times Datasette with a rare word", page_ratio, "100 at least")
    said.relate("p95 at half of the load, in ms", calm.quantile_ms(0.95), "50 at most")
    said.relate("Failed in the long load", long.failed, "0")
    memory = f"{before:,.0f} to {after:,.0f} MiB"
    said.relate("Memory after the long load, times before", after / before, memory)
    return said.lines


def load_datasette(
    said: Report, url: str, searches: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Returns how many answers a second Datasette gives, by sort and form."""
    rates = {}
    for sort, some in searches.items():
        # Once before, so that the disk is read.
        run(url, (theirs(q, "") for q in some))
        for form, suffix in FORMS.items():
            label = f"{sort}, {form}"
            paths = (theirs(q, suffix) for q in cycle(some))
            rates[label] = said.load(f"Datasette: {label}", url, paths).per_second
    return rates


def load_laion(said: Report, url: str, searches: Mapping[str, Iterator[str]]) -> dict[str, float]:
    """Returns how many answers a second we give, to what nobody asked before."""
    rates = {}
    for sort, fresh in searches.items():
        run(url, (ours(q, "") for q in islice(fresh, SEARCHES)))
        for form, suffix in FORMS.items():
            label = f"{sort}, {form}"
            paths = (ours(q, suffix) for q in fresh)
            rates[label] = said.load(f"`laion serve`: {label}", url, paths).per_second
    return rates


class Report:
    """Lines that are printed as they come."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.lines = [describe_machine(), "", HEADER]
        print(HEADER, flush=True)

    def load(
        self, label: str, url: str, paths: Iterator[str], per_second: float | None = None
    ) -> Load:
        """Loads a server, and adds a row."""
        found = run(url, paths, self.seconds, per_second)
        self.add(label, found)
        return found

    def add(self, label: str, found: Load) -> None:
        """Adds a row."""
        self.lines.append(found.describe(label))
        print(self.lines[-1], flush=True)

    def relate(self, sentence: str, number: float, limit: str) -> None:
        """Adds a figure beside what it is to be."""
        self.lines += ["", f"{sentence}: **{number:.2f}** ({limit})."]
        print(self.lines[-1], flush=True)


def choose_rare_words(captions: Sequence[str]) -> Iterator[str]:
    """Yields words that few captions have, in no order."""
    words = Counter(word for c in captions for word in set(re.findall(r"[a-z]{3,}", c.lower())))
    rare = sorted(word for word, n in words.items() if n <= 3)
    random.Random(0).shuffle(rare)  # noqa: S311
    return iter(rare)


def iterate_searches(captions: Sequence[str]) -> Iterator[str]:
    """Yields words and pairs of words from captions, none twice."""
    rng = random.Random(0)  # noqa: S311
    seen = set()
    while True:
        words = re.findall(r"\b[a-z]{3,}\b", rng.choice(captions).lower())
        if words:
            text = " ".join(dict.fromkeys(rng.choices(words, k=rng.choice((1, 2, 2, 3)))))
            if text not in seen:
                seen.add(text)
                yield text


def mix(fresh: Iterator[str], some: Sequence[str]) -> Iterator[str]:
    """Yields what nobody asked for and what somebody did, in turns."""
    for known in cycle(some):
        yield next(fresh)
        yield known


def ours(text: str, suffix: str) -> str:
    return f"/search{suffix}?q={quote_plus(text)}"


def theirs(text: str, suffix: str) -> str:
    # Our pages have their number and facets too.
    return f"/laion/images{suffix}?_search={quote_plus(text)}&_size={HITS}&_facet=domain_id"


@contextmanager
def run_laion(settings: Settings) -> Iterator[tuple[str, int]]:
    """Runs the search page; yields its address and process."""
    environment = {**os.environ, "LAION_DATA_DIR": str(settings.data_dir)}
    with subprocess.Popen(
        [LAION, "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split("/ ")[0], process.pid
        finally:
            process.terminate()


@contextmanager
def run_datasette(database: Path, *options: str) -> Iterator[str]:
    """Runs Datasette as it comes, or with options; yields its address."""
    port = "8931"
    command = [sys.executable, "-m", "datasette", "serve", str(database), "--port", port, *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(wait_for("127.0.0.1", int(port)))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def wait_for(host: str, port: int) -> None:
    deadline = time.monotonic() + STARTING_S
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


def run(
    url: str, paths: Iterator[str], seconds: float | None = None, per_second: float | None = None
) -> Load:
    """Loads a server, to the end of that."""
    return asyncio.run(load(url, paths, seconds, per_second))


async def load(
    url: str, paths: Iterator[str], seconds: float | None = None, per_second: float | None = None
) -> Load:
    """Asks for the paths with 32 connections.

    Args:
        url: of the server.
        paths: what to ask for.
        seconds: for how long; until the paths end if there is none.
        per_second: how many are due a second; None: as many as can be.
    """
    host, port = url.removeprefix("http://").split(":")
    found, numbers = Load(), count()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for path in paths:
            due = time.perf_counter()
            if per_second:
                due = started + next(numbers) / per_second
                await asyncio.sleep(max(0, due - time.perf_counter()))
            if seconds and time.perf_counter() - started > seconds:
                break
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            found.statuses[await read_answer(reader)] += 1
            found.latencies_s.append(time.perf_counter() - due)
        writer.close()

    opening = (asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS))
    connections = await asyncio.gather(*opening)
    # Each connection asks once at least, however long it took to open all.
    started = time.perf_counter()
    await asyncio.gather(*(ask(*connection) for connection in connections))
    found.seconds = time.perf_counter() - started
    return found


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Reads an answer to its end; returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if length := re.search(rb"\r\ncontent-length: (\d+)", head):
        await reader.readexactly(int(length[1]))
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return int(head[9:12])


def read_memory_mib(process_id: int) -> float:
    """Returns the memory that a process and those it started have, each shared page once."""
    places = [Path(f"/proc/{pid}/smaps_rollup") for pid in list_family(process_id)]
    told = [place.read_text(encoding="ascii") for place in places]
    return sum(int(re.findall(r"^Pss: +(\d+)", text, flags=re.M)[0]) for text in told) / 1024


def list_family(process_id: int) -> list[int]:
    """Returns a process and all that it started."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii")
    return [process_id, *(pid for child in children.split() for pid in list_family(int(child)))]


if __name__ == "__main__":
    main()
