"""The search page at twelve million rows: start, memory, latencies, and the same answers always.

Run `python -m benchmarks.large [--rows 1728119] [--shards 7] [--queries 40] [--data-dir FOLDER]
[--output FOLDER]` from the repository root; 15 GB of disk and 8 GB of memory are enough. Makes a
release with `laion backfill`, measures it, replaces every shard by another one, and measures again;
then `laion serve` with 32 visitors, and SQLite FTS5 over the same captions. A folder that has a
release already is measured as it is. Writes `LARGE.md`.

Latencies are of pages that nobody asked for before. CPU seconds are of all threads: they are
steadier than wall seconds where other programs run. `search` is without the template, `page` with
it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, cycle, islice
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import requests

from benchmarks.bare import ingest, refresh
from benchmarks.compare import LAION, describe_machine
from benchmarks.measure import folder_bytes, run_measured
from benchmarks.search import COMMON, ask_fts5, build_fts5, choose_queries, read_sample
from benchmarks.serve import STARTING_S, iterate_searches, list_family, run, run_laion
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.images.registered_domain import registered_domain
from laion_assets.names.sheets import read_sheet
from laion_assets.search.search import CaptionSearch
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.chrome import Chrome
from laion_assets.web.current_release import GATHERING, Shelf
from laion_assets.web.pages import PAGES
from laion_assets.web.params import SearchQuery
from laion_assets.web.render import render_html
from laion_assets.web.responses import SearchPage
from laion_assets.web.visit import NotFoundError, Visit

HEADER = (
    "| | search CPU ms, p50 / p95 | page CPU ms, p50 / p95 | page ms, p50 / p95 | matches, p50 |\n"
    "| --- | ---: | ---: | ---: | ---: |"
)
# Searches whose answers are compared, and threads of Lance's pool that they are asked with.
SAME = 200
THREADS = (1, 4)
WARM_S = 1_800
# What Lance takes longer for, of a common word.
WARM_MS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--shards", type=int, default=7)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30, help="of the load")
    parser.add_argument("--data-dir", type=Path, help="made if none is named")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks")
    parser.add_argument("--part", choices=("latencies", "answers"), help="for itself")
    options = parser.parse_args()
    if options.part:
        settings = Settings.default(options.data_dir)
        if options.part == "latencies":
            print("\n".join(measure_pages(settings, options.queries)))
        else:
            print(digest_answers(settings))
        return
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        settings = Settings.default(options.data_dir or Path(folder))
        lines = [describe_machine(), "", *measure(settings, options)]
    page = "# The search page at twelve million rows\n\n" + "\n".join(lines) + "\n"
    (options.output / "LARGE.md").write_text(page, encoding="utf-8")


def measure(settings: Settings, options: argparse.Namespace) -> list[str]:
    """Returns the lines of the page."""
    lines = []
    if not (settings.data_dir / "lance").exists():
        lines += build(settings, options.rows, options.shards)
    captions, site = read_sample(settings)
    (settings.data_dir / "queries.json").write_text(
        json.dumps([choose_queries(captions, 3 * options.queries), registered_domain(site)])
    )
    lines += ["", "## As it was built", "", *run_part(settings, "latencies", options.queries)]
    lines += ["", *compare_threads(settings)]
    lines += ["", "## With 32 visitors", "", *load(settings, captions, options)]
    lines += ["", "## SQLite FTS5", "", *measure_fts5(settings, options.queries)]
    files = sorted((settings.data_dir / "shards").glob("*.parquet"))
    for place, file in enumerate(files):
        # Each has the rows of the next one.
        ingest(settings, files[(place + 1) % len(files)], file.stem)
    refresh(settings)
    title = "## After each shard was replaced once"
    lines += ["", title, "", *run_part(settings, "latencies", options.queries)]
    return lines


def build(settings: Settings, rows: int, shard_count: int) -> list[str]:
    """Makes a release; says what it cost."""
    names = [row[0] for kind, at in settings.sheets.items() for row in read_sheet(kind, at).rows]
    spec = SampleSpec(shard_count, rows)
    files = write_sample_shards(settings.data_dir / "shards", names, spec)
    cost = run_measured(
        [LAION, "backfill", "--all"],
        {
            "LAION_DATA_DIR": str(settings.data_dir),
            "LAION_SHARDS": ",".join(map(str, files)),
            "DAGSTER_HOME": str(REPOSITORY),
            "LAION_HISTORY_DIR": str(settings.data_dir / "dagster"),
        },
    )
    parquet, kept = (
        folder_bytes(*some) for some in (files, [settings.database, settings.data_dir / "lance"])
    )
    return say(
        f"`laion backfill --all` of {shard_count} shards of {rows:,} rows: {cost.wall_s:,.0f} s, "
        f"{cost.cpu_s:,.0f} CPU s, at most {cost.largest_mib:,.0f} MiB; DuckDB and Lance are "
        f"{kept / parquet:.2f} times the {parquet / 1e6:,.0f} MB of parquet."
    )


def run_part(
    settings: Settings, part: str, query_count: int, threads: int | None = None
) -> list[str]:
    """Returns what this program says in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large", "--part", part]
    command += ["--data-dir", str(settings.data_dir), "--queries", str(query_count)]
    variables = {} if threads is None else {"LANCE_CPU_THREADS": str(threads)}
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return say(*done.stdout.splitlines())


def measure_pages(settings: Settings, query_count: int) -> list[str]:
    """Returns what the start of the page takes, and rows of latencies."""
    pages = Pages(settings)
    queries, site = json.loads((settings.data_dir / "queries.json").read_text())
    lines = [*pages.lines, "", HEADER]
    parts = {
        sort: [texts[n::3] for n in range(3)] for sort, texts in queries.items() if sort != COMMON
    }
    for sort, (texts, _, _) in parts.items():
        lines.append(pages.time(sort, texts))
    common = queries[COMMON][:query_count]
    lines.append(pages.time(COMMON, common))
    few = query_count // len(parts) or 1
    mixed = [[t for some in parts.values() for t in some[n][:few]] for n in (1, 2)]
    filters: Mapping[str, Mapping[str, object]] = {
        "aesthetic 6.5..7": {"aesthetic": "6.5..7"},
        "one site": {"site": site},
        "large": {"size": "large"},
        "a label": {"nsfw": "NSFW"},
        "the hidden ones, too": {"max_punsafe": 1},
    }
    for name, only in filters.items():
        lines.append(pages.time(f"all but common ones, {name}", mixed[0], only))
        lines.append(pages.time(f"{COMMON}, {name}", common, only))
    for sort in ("aesthetic", "area_asc"):
        lines.append(pages.time(f"all but common ones, by {sort}", mixed[1], {"sort": sort}))
        lines.append(pages.time(f"{COMMON}, by {sort}", common, {"sort": sort}))
    lines.append(pages.time(f"{COMMON}, page 250", common, {"page": 250}))
    deep = {"page": 250, "sort": "similarity"}
    lines.append(pages.time(f"{COMMON}, page 250, by similarity", common, deep))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*lines, "", f"At most {peak_mib:,.0f} MiB of memory."]


class Pages:
    """The pages of a release, built in this process."""

    def __init__(self, settings: Settings) -> None:
        """Opens it as `laion serve` does, and waits for the common words."""
        self._shelf = Shelf(LanceStore(settings.lance_dir))
        started, cpu = time.perf_counter(), time.process_time()
        self._shelf.refresh()
        opened, opened_cpu = time.perf_counter() - started, time.process_time() - cpu
        for thread in threading.enumerate():
            if thread.name == GATHERING:
                thread.join()
        self.search: CaptionSearch = self._shelf.current.search
        self.lines = [
            f"{self._shelf.current.image_count:,} images. Opened in {opened:.1f} s "
            f"({opened_cpu:.1f} CPU s), common words gathered after "
            f"{time.perf_counter() - started:.0f} s ({time.process_time() - cpu:.0f} CPU s)."
        ]
        # What is read at the first slip of the pen.
        self.search.count_word("a")

    def time(
        self, label: str, texts: Sequence[str], only: Mapping[str, object] | None = None
    ) -> str:
        """Returns a row of the table."""
        page = next(page for page in PAGES if page.name == "search")
        rows = []
        for text in texts:
            query = SearchQuery.model_validate({"q": text, **(only or {})})
            visit = Visit(self._shelf, self._shelf.current, {}, query)
            started, cpu = time.perf_counter(), time.process_time()
            try:
                answer = page.build(visit)
            except NotFoundError:
                # A small table has no such page.
                continue
            assert isinstance(answer, SearchPage)
            searched = time.process_time() - cpu
            render_html(
                page.name,
                page=page,
                answer=answer,
                query=query,
                release=visit.release,
                chrome=Chrome("/search", query, False, ""),
            )
            spent = time.process_time() - cpu
            rows.append((searched, spent, time.perf_counter() - started, answer.total))
        if not rows:
            return f"| {label} | | | | |"
        *seconds, totals = zip(*rows, strict=True)
        cells = [label, *(show([1000 * s for s in some]) for some in seconds)]
        return f"| {' | '.join(cells)} | {sorted(totals)[len(totals) // 2]:,} |"


def digest_answers(settings: Settings) -> str:
    """Returns a digest of searches with their numbers, hits and facets."""
    queries, site = json.loads((settings.data_dir / "queries.json").read_text())
    search = Pages(settings).search
    chance = random.Random(0)  # noqa: S311
    texts = [text for some in queries.values() for text in some]
    digest = hashlib.sha256()
    for text in chance.sample(texts, min(SAME, len(texts))):
        only = chance.choice(({}, {"site": site}, {"aesthetic": "6.."}, {"size": "large"}))
        query = SearchQuery.model_validate(
            {"q": text, "sort": chance.choice(("relevance", "aesthetic")), **only}
        )
        page = chance.choice((0, 0, 20, 2000))
        found = search.find(query.q, only=query.only, order=query.order, limit=20, offset=page)
        hits = [(hit["shard"], hit["row_index"], hit["_score"]) for hit in found.hits]
        told = (found.total, found.hidden, found.unscored, hits)
        digest.update(repr((told, search.count_facets(query.q, query.only))).encode())
    return digest.hexdigest()


def compare_threads(settings: Settings) -> list[str]:
    """Says whether answers are the same, whatever the number of Lance's threads."""
    digests = {n: run_part(settings, "answers", 0, n)[-1] for n in THREADS}
    names = " and ".join(map(str, THREADS))
    verdict = "the same" if len(set(digests.values())) == 1 else "NOT the same"
    return say(f"Answers with {names} threads of Lance are {verdict} ({SAME} searches).")


def load(settings: Settings, captions: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Returns what visitors of `laion serve` wait, who ask as soon as they have their answers."""
    queries, _ = json.loads((settings.data_dir / "queries.json").read_text())
    typed = iterate_searches(captions)
    started = time.perf_counter()
    lines = ["| | answers | a second | p50 ms | p95 ms | failed |", "| --- " + "| ---: " * 5 + "|"]
    with run_laion(settings) as (url, process_id):
        ready_s = time.perf_counter() - started
        wait_until_warm(url, queries[COMMON][: options.queries])
        warm_s = time.perf_counter() - started
        loads: Mapping[str, Callable[[], Iterator[str]]] = {
            "words typed": lambda: (write(text) for text in typed),
            "one in four a common word": lambda: mix(typed, queries[COMMON][: options.queries]),
        }
        rates = []
        for label, paths in loads.items():
            found = run(url, paths(), options.seconds)
            rates.append(found.per_second)
            lines.append(found.describe(label))
        half = run(url, loads["words typed"](), options.seconds, rates[0] / 2)
        lines.append(half.describe("words typed, half of that"))
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in list_family(process_id)]
        memory = sum(int(status.split("VmHWM:")[1].split()[0]) for status in statuses)
    started_line = (
        f"`laion serve` answers after {ready_s:.1f} s, and has the common words after "
        f"{warm_s:.0f} s; at most {memory / 1024:,.0f} MiB in all its processes. "
        "32 connections on one machine."
    )
    return say(started_line, "", *lines)


def wait_until_warm(url: str, words: Sequence[str]) -> None:
    """Waits until the commonest words are quick."""
    deadline = time.monotonic() + WARM_S
    for word in words:
        for width in count(1):
            # Another search each time, as pages are kept.
            path = write(word, ".json", min_width=width)
            told = requests.get(f"{url}{path}", timeout=STARTING_S).json()
            # Without it, the page was too busy to answer in time.
            if told.get("took_ms", WARM_MS) < WARM_MS or time.monotonic() > deadline:
                break
            time.sleep(1)


def write(text: str, suffix: str = "", **parameters: object) -> str:
    extra = f"&{urlencode(parameters)}" if parameters else ""
    return f"/search{suffix}?q={quote_plus(text)}{extra}"


def mix(typed: Iterator[str], common: Sequence[str]) -> Iterator[str]:
    """Yields searches, every fourth for a common word with a filter that nobody asked for."""
    for number, word in enumerate(cycle(common)):
        yield from (write(text) for text in islice(typed, 3))
        yield write(word, min_width=1_000 + number // len(common))


def measure_fts5(settings: Settings, query_count: int) -> list[str]:
    """Returns what SQLite takes for the best 20 with their captions, and the number of hits."""
    queries, _ = json.loads((settings.data_dir / "queries.json").read_text())
    cpu = time.process_time()
    path = settings.data_dir / "captions.sqlite"
    fts5 = build_fts5(settings, path)
    lines = [
        f"Table and index: {time.process_time() - cpu:.0f} CPU s, {path.stat().st_size / 1e6:,.0f} "
        "MB. No filters, no facets, no page.",
        "",
        "| | CPU ms, p50 / p95 |",
        "| --- | ---: |",
    ]
    for sort, texts in queries.items():
        spent = []
        for text in texts[:query_count:2] if sort == COMMON else texts[: 3 * query_count : 3]:
            cpu = time.process_time()
            ask_fts5(fts5, text)
            spent.append(1000 * (time.process_time() - cpu))
        lines.append(f"| {sort} | {show(spent)} |")
    fts5.close()
    path.unlink()
    return say(*lines)


def show(milliseconds: Sequence[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{ordered[len(ordered) // 2]:,.0f} / {ordered[int(0.95 * len(ordered))]:,.0f}"


def say(*lines: str) -> list[str]:
    print("\n".join(lines), flush=True)
    return list(lines)


if __name__ == "__main__":
    main()
