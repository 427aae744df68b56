"""`laion export datasette`, beside the commands of 2022 that make the same file.

Run `python -m benchmarks.export [--rows 1728119] [--rounds 3] [--output FOLDER]` from the
repository root. The commands are those of `benchmarks.shell_recipe`, from the parquet file to the
last count; the export is one process, from a release of the same rows. Then Datasette serves the
export, and up to 200 searches of it are compared with our own: every total, and every row up to
1,000. Writes `EXPORT.md`. The exit status is 1 if an answer differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import requests

from benchmarks.answers import build
from benchmarks.compare import LAION, RECIPE, Results, describe_machine
from benchmarks.measure import Cost, Watch, median, run_measured
from benchmarks.search import choose_queries, read_sample
from benchmarks.serve import run_datasette
from laion_assets.search.filter import EVERYTHING
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore

# Of each of the five sorts of `choose_queries`.
SEARCHES = 40
# What Datasette has on a page at most, and we on one file in a moment.
MOST_ROWS = 1_000
EXPORT = "laion export datasette"
# A search of a common word of all captions may take longer than the second that it has.
OPTIONS = ("--setting", "sql_time_limit_ms", "60000", "--setting", "suggest_facets", "off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks")
    options = parser.parse_args()
    results, watch = Results(), Watch()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as name:
        settings = Settings.default(Path(name))
        # In a process of its own: one that this one starts has its peak of memory from here.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(build_in, settings.data_dir, options.rows).result()
        results.say(
            f"{describe_machine()}\n\n{options.rows:,} sample rows in one shard; medians of "
            f"{options.rounds} interleaved rounds. Every figure is of whole processes."
        )
        measure(settings, options.rounds, results)
        differing = compare_answers(settings, results)
    results.say(watch.describe())
    page = "# A release as a file for Datasette\n\n" + "\n".join(results.lines).rstrip() + "\n"
    (options.output / "EXPORT.md").write_text(page, encoding="utf-8")
    print(page, *differing, sep="\n")
    sys.exit(1 if differing else 0)


def build_in(folder: Path, rows: int) -> None:
    """Makes a release of one sample shard in a data folder."""
    build(Settings.default(folder), rows)


def measure(settings: Settings, rounds: int, results: Results) -> None:
    """Makes both files as often as there are rounds, and compares seconds and bytes."""
    costs: dict[str, list[Cost]] = {RECIPE: [], EXPORT: []}
    (shard,) = (settings.data_dir / "shards").glob("*.parquet")
    for _ in range(rounds):
        theirs = settings.data_dir / "recipe"
        (theirs / "laion.db").unlink(missing_ok=True)
        recipe = [sys.executable, "-m", "benchmarks.shell_recipe", str(theirs), str(shard)]
        costs[RECIPE].append(run_measured([*recipe, "--names", *settings.sheets.values()]))
        environment = {"LAION_DATA_DIR": str(settings.data_dir)}
        costs[EXPORT].append(run_measured([LAION, "export", "datasette"], environment))
    results.tabulate(costs)
    commands, export = (median(some) for some in costs.values())
    ratio = commands.wall_s / export.wall_s
    results.relate("The commands take, times the export", ratio, "4 at least")
    # Others may use the machine, too.
    ratio = commands.cpu_s / export.cpu_s
    results.relate("The same in seconds of the processors", ratio, "no limit")
    sizes = [file.stat().st_size for file in (settings.datasette_file, theirs / "laion.db")]
    label = f"The file has, times that of the commands ({sizes[1] / 1e6:,.0f} MB)"
    results.relate(label, sizes[0] / sizes[1], "1 at most")


def compare_answers(settings: Settings, results: Results) -> list[str]:
    """Asks Datasette and our own search the same; returns what they answer differently."""
    captions, _ = read_sample(settings)
    texts = [text for some in choose_queries(captions, SEARCHES).values() for text in some]
    search = open_search(LanceStore(settings.lance_dir))
    with run_datasette(settings.datasette_file, *OPTIONS) as url:
        differing = [line for text in texts if (line := compare(url, search, text))]
    results.say(f"Datasette and our own search differ in {len(differing)} of {len(texts)} answers.")
    return differing


def compare(url: str, search: CaptionSearch, text: str) -> str | None:
    """Returns how the answers to a search differ; None if they do not."""
    parameters = {"_search": text, "_size": str(MOST_ROWS), "_shape": "objects"}
    answer = requests.get(f"{url}/laion/images.json", parameters, timeout=120)
    answer.raise_for_status()
    found = answer.json()
    theirs = {(row["shard"], row["row_index"]) for row in found["rows"]}
    # All that are shown, of whatever score.
    limit = MOST_ROWS if found["filtered_table_rows_count"] <= MOST_ROWS else 1
    mine = search.find(text, only=EVERYTHING, limit=limit)
    if mine.total != found["filtered_table_rows_count"]:
        return f"{text}: {found['filtered_table_rows_count']:,} by Datasette, {mine.total:,} by us"
    places = {(hit["shard"], hit["row_index"]) for hit in mine.hits}
    if mine.total <= MOST_ROWS and theirs != places:
        return f"{text}: other rows, as {sorted(theirs ^ places)[:2]}"
    return None


if __name__ == "__main__":
    main()
