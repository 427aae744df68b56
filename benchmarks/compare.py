"""The product beside the shell recipe of 2022, the bare engines and the least that they can do.

Run `make bench` (settings: ROWS, SHARDS, ROUNDS), or `python -m benchmarks.compare [--rows 1728119]
[--shards 7] [--rounds 3] [--output FOLDER]`. Everything runs as processes of their own, from the
start of Python to their end, the rounds interleaved. Writes `RESULTS.md` and `speed.svg`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.chart import draw_bars
from benchmarks.measure import Cost, Watch, folder_bytes, median, run_measured, spread
from benchmarks.search import COMMON, ask_all, choose_queries
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import read_sheet
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.releases.manifest import find_versions
from laion_assets.search.filter import EVERYTHING
from laion_assets.search.search import open_search
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore

LAION = str(Path(sys.executable).with_name("laion"))
DAGSTER = str(Path(sys.executable).with_name("dagster"))
TINY_ROWS = 1000
RECIPE = "shell recipe of 2022"
PRODUCT = "laion backfill"
BARE = "the same calls without Dagster"
FLOOR = "floor: read, write twice, index"
HEADERS = ("", "wall s", "least to most", "CPU s", "largest MiB", "together MiB", "written MB")


@dataclass
class Results:
    """Tables and sentences, in the order in which they were found.

    Attributes:
        lines: of the page.
        bars: wall seconds for the chart, by label.
    """

    lines: list[str] = field(default_factory=list)
    bars: dict[str, float] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Adds a paragraph, and prints it."""
        print(text, flush=True)
        self.lines += [text, ""]

    def tabulate(self, costs: Mapping[str, Sequence[Cost]]) -> None:
        """Adds a table of medians."""
        rows = [HEADERS, ("---", *["---:"] * (len(HEADERS) - 1))]
        for label, some in costs.items():
            m = median(some)
            figures = (m.cpu_s, m.largest_mib, m.together_mib, m.written_mb)
            rows.append((label, f"{m.wall_s:.1f}", spread(some), *(f"{f:,.0f}" for f in figures)))
        self.say("\n".join(f"| {' | '.join(row)} |" for row in rows))

    def relate(self, sentence: str, ratio: float, limit: str) -> None:
        """Adds a ratio beside what it is to be."""
        self.say(f"{sentence}: **{ratio:.2f}** ({limit}).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--shards", type=int, default=7)
    parser.add_argument("--tiny-shards", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks")
    options = parser.parse_args()
    results, watch = Results(), Watch()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as name:
        sizes = Sizes(options.rows, options.shards, options.tiny_shards)
        bench = Bench(Path(name), sizes, options.rounds)
        results.lines += describe_run(bench)
        for scenario in (one_shard, growth, replacement, tiny_shards):
            scenario(bench, results)
        results.say(watch.describe())
    page = "# What the benchmarks measured\n\n" + "\n".join(results.lines).rstrip() + "\n"
    (options.output / "RESULTS.md").write_text(page, encoding="utf-8")
    chart = draw_bars("One shard, and everything the site of 2022 had: seconds", results.bars)
    (options.output / "speed.svg").write_text(chart, encoding="utf-8")


@dataclass(frozen=True)
class Sizes:
    """What is measured: shards of so many rows, and tiny ones."""

    rows: int
    shard_count: int
    tiny_shards: int


class Bench:
    """A folder with sample shards, and how each contestant is run over them."""

    def __init__(self, folder: Path, sizes: Sizes, rounds: int) -> None:
        self.folder = folder
        self.sizes = sizes
        self.rounds = rounds
        self.sheets = Settings.default(folder).sheets
        names = [row[0] for kind, at in self.sheets.items() for row in read_sheet(kind, at).rows]
        spec = SampleSpec(sizes.shard_count, sizes.rows)
        self.files = write_sample_shards(folder / "shards", names, spec)
        self.other_files = write_sample_shards(
            folder / "other", names, SampleSpec(sizes.shard_count, sizes.rows, seed=1)
        )
        tiny = SampleSpec(sizes.tiny_shards, TINY_ROWS, seed=2)
        self.tiny_files = write_sample_shards(folder / "tiny", names, tiny)

    def run_recipe(self, data_dir: Path, files: Sequence[Path]) -> Cost:
        """The shell recipe of 2022."""
        names = ["--names", *self.sheets.values()]
        return run_measured([*module("shell_recipe"), str(data_dir), *map(str, files), *names])

    def run_floor(self, data_dir: Path, files: Sequence[Path]) -> Cost:
        """The least that the engines can do."""
        return run_measured([*module("floor"), str(data_dir), *map(str, files)])

    def run_bare(self, data_dir: Path, files: Sequence[Path]) -> Cost:
        """Our statements and calls without Dagster."""
        return run_measured([*module("bare"), str(data_dir), *map(str, files), "--refresh"])

    def run_product(self, data_dir: Path, files: Sequence[Path], *arguments: str) -> Cost:
        """`laion backfill`, with counts and release after it."""
        environment = self.environment(data_dir, files)
        return run_measured([LAION, "backfill", *(arguments or ["--all"])], environment)

    def run_refresh(self, data_dir: Path, files: Sequence[Path], **variables: str) -> Cost:
        """The job `refresh_counts` alone."""
        job = ["job", "execute", "-m", "laion_assets.definitions", "-j", "refresh_counts"]
        return run_measured([DAGSTER, *job], self.environment(data_dir, files) | variables)

    def environment(self, data_dir: Path, files: Sequence[Path]) -> dict[str, str]:
        """The settings of the product."""
        return {
            "LAION_DATA_DIR": str(data_dir),
            "LAION_SHARDS": ",".join(map(str, files)),
            "DAGSTER_HOME": str(REPOSITORY),
            "LAION_HISTORY_DIR": str(data_dir / "dagster"),
        }

    def list_contestants(self) -> dict[str, Callable[[Path, Sequence[Path]], Cost]]:
        """Returns all who can run here, from the slowest to the floor."""
        contestants: dict[str, Callable[[Path, Sequence[Path]], Cost]] = {
            RECIPE: self.run_recipe,
            PRODUCT: self.run_product,
            BARE: self.run_bare,
            FLOOR: self.run_floor,
        }
        if not (find_spec("sqlite_utils") and find_spec("pandas") and shutil.which("sqlite3")):
            del contestants[RECIPE]
        return contestants

    def new_folder(self) -> Iterator[Path]:
        """Yields as many data folders as there are rounds, each for a while."""
        for number in range(self.rounds):
            folder = self.folder / f"round-{number}"
            yield folder
            shutil.rmtree(folder, ignore_errors=True)


def module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}"]


def describe_run(bench: Bench) -> list[str]:
    """Says when, where and with what it was measured."""
    return [
        describe_machine(),
        "",
        f"{len(bench.files)} sample shards of {bench.sizes.rows:,} rows, "
        f"{folder_bytes(*bench.files) / 1e6:,.0f} MB of parquet; medians of {bench.rounds} "
        "interleaved rounds. Every figure is of whole processes, from the start of Python on.",
        "",
    ]


def describe_machine() -> str:
    """Says when, and on what machine with which versions."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    versions = ", ".join(f"{name} {version}" for name, version in find_versions().items())
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return (
        f"{day}; {os.cpu_count()} cores ({', '.join(sorted(models)) or platform.machine()}), "
        f"{memory_gib:.0f} GiB of memory; {versions}."
    )


def one_shard(bench: Bench, results: Results) -> None:
    """Everything that the site of 2022 had, from one shard."""
    results.say("## One shard: clean table, domains, full-text search, counts of all names")
    contestants = bench.list_contestants()
    if RECIPE not in contestants:
        results.say("Without the shell recipe: it needs `sqlite3` and the extra `bench`.")
    costs: dict[str, list[Cost]] = {label: [] for label in contestants}
    disk: list[float] = []
    for folder in bench.new_folder():
        for label, run in contestants.items():
            costs[label].append(run(folder / label.replace(" ", "-"), bench.files[:1]))
        disk.append(measure_disk(folder / "laion-backfill", bench.files[:1]))
    results.tabulate(costs)
    *recipe, product, bare, floor = (median(some).wall_s for some in costs.values())
    for seconds in recipe:
        ratio = seconds / product
        results.relate("The recipe takes, times the product", ratio, "4 at least, aim 8")
    results.relate("The product takes, times the bare calls", product / bare, "1.15 at most")
    results.relate("The bare calls take, times the floor", bare / floor, "1.3 at most")
    results.relate(
        "DuckDB, Lance and indices are, times the parquet file",
        statistics.median(disk),
        "2 at most",
    )
    results.bars.update({label: median(some).wall_s for label, some in costs.items()})


def measure_disk(data_dir: Path, files: Sequence[Path]) -> float:
    kept = folder_bytes(data_dir / "laion.duckdb", data_dir / "lance")
    return kept / folder_bytes(*files)


def growth(bench: Bench, results: Results) -> None:
    """Several shards at once."""
    results.say("## More shards: `laion backfill --all`")
    counts = sorted({n for n in (1, 2, 4) if n < len(bench.files)} | {len(bench.files)})
    costs: dict[str, list[Cost]] = {f"{n} shards": [] for n in counts}
    disk = 0.0
    for folder in bench.new_folder():
        for n in counts:
            costs[f"{n} shards"].append(bench.run_product(folder / str(n), bench.files[:n]))
        disk = measure_disk(folder / str(counts[-1]), bench.files)
    results.tabulate(costs)
    one, most = median(costs[f"{counts[0]} shards"]), median(costs[f"{counts[-1]} shards"])
    limit = f"{counts[-1] * 7.3 / 7:.1f} at most"
    results.relate(f"{counts[-1]} shards take, times one", most.wall_s / one.wall_s, limit)
    results.relate("Peak memory of all processes, in GiB", most.together_mib / 1024, "2 at most")
    results.relate("Disk, times the parquet files", disk, "2 at most")


def replacement(bench: Bench, results: Results) -> None:
    """A table that is there already."""
    results.say(f"## Changes to a table of {len(bench.files)} shards")
    source = bench.folder / "source"
    source.mkdir()
    data_dir = bench.folder / "changing"
    files = [Path(shutil.copy(file, source)) for file in bench.files]
    bench.run_product(data_dir, files)
    fresh = ask(data_dir)
    costs: dict[str, list[Cost]] = {
        "one shard replaced": [],
        "one new name": [],
        "nothing new": [],
    }
    for number, (file, other) in enumerate(zip(files, bench.other_files, strict=True)):
        shutil.copy(other, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)
        replaced = bench.run_product(data_dir, files, file.stem)
        if number >= bench.rounds:
            continue
        costs["one shard replaced"].append(replaced)
        sheet = bench.folder / f"artists-{number}.csv"
        artists = Path(bench.sheets["artists"]).read_text(encoding="utf-8").rstrip("\n")
        new_names = "".join(f"\nHilma af Klint the {n}th" for n in range(number + 1))
        sheet.write_text(artists + new_names + "\n", encoding="utf-8")
        sheets = {"LAION_SHEET_ARTISTS": str(sheet)}
        costs["one new name"].append(bench.run_refresh(data_dir, files, **sheets))
        costs["nothing new"].append(bench.run_refresh(data_dir, files, **sheets))
    results.tabulate(costs)
    worn = ask(data_dir)
    results.say(
        f"Queries, p50 in ms: freshly built {fresh:.1f}, every shard replaced by itself {worn:.1f}."
    )
    results.relate("Replaced tables answer in, times fresh ones", worn / fresh, "1.1 at most")


def ask(data_dir: Path) -> float:
    """Returns the median time of queries as they occur in captions, in milliseconds."""
    lance = LanceStore(data_dir / "lance")
    search = open_search(lance)
    images = open_released(lance, find_release(lance), "images")
    step = max(1, images.count_rows() // 20_000)
    rows = list(range(0, images.count_rows(), step))
    captions = images.take(rows, columns=["caption"])["caption"].to_pylist()
    queries = choose_queries(captions, 40)
    texts = [text for sort, some in queries.items() if sort != COMMON for text in some]
    ask_all(search, texts, EVERYTHING)
    return statistics.median(ask_all(search, texts, EVERYTHING))


def tiny_shards(bench: Bench, results: Results) -> None:
    """Many small shards, where what is done for each counts."""
    results.say(f"## {bench.sizes.tiny_shards} shards of {TINY_ROWS:,} rows")
    costs: dict[str, list[Cost]] = {PRODUCT: [], BARE: []}
    for folder in bench.new_folder():
        costs[PRODUCT].append(bench.run_product(folder / "product", bench.tiny_files))
        costs[BARE].append(bench.run_bare(folder / "bare", bench.tiny_files))
    results.tabulate(costs)
    product, bare = (median(some).wall_s for some in costs.values())
    each = (product - bare) / bench.sizes.tiny_shards
    results.say(f"Dagster's runs, events and pages cost {each:.2f} s a shard.")


if __name__ == "__main__":
    main()
