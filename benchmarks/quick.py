"""The ratios of `benchmarks.compare` and a few searches at a small size, as JSON.

Run `make bench-quick`, or `python -m benchmarks.quick [--rows 100000] [--rounds 3] [--queries 20]
[--output FILE]`. Two quiet cores take two minutes. Nothing is asserted: continuous integration
keeps the file, so that one can look at how the figures went.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.compare import BARE, FLOOR, PRODUCT, RECIPE, Bench, Sizes, describe_machine
from benchmarks.measure import Cost, Watch
from benchmarks.search import ask_all, choose_queries, read_sample
from laion_assets.search.filter import EVERYTHING
from laion_assets.search.search import open_search
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore

SHORT = {RECIPE: "recipe", PRODUCT: "product", BARE: "bare", FLOOR: "floor"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "quick.json")
    options = parser.parse_args()
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as name:
        bench = Bench(Path(name), Sizes(options.rows, 1, 1), options.rounds)
        found = measure(bench, options.queries)
    page = {
        "machine": describe_machine(),
        "rows": options.rows,
        "rounds": options.rounds,
        "run": watch.read(),
        **found,
    }
    options.output.write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["ratios"], indent=2), watch.describe(), options.output, sep="\n")


def measure(bench: Bench, query_count: int) -> dict[str, object]:
    """Returns seconds, ratios and the milliseconds of searches."""
    contestants = bench.list_contestants()
    costs: dict[str, list[Cost]] = {label: [] for label in contestants}
    searches: dict[str, dict[str, float]] = {}
    for folder in bench.new_folder():
        for label, run in contestants.items():
            costs[label].append(run(folder / SHORT[label], bench.files))
        searches = searches or search(folder / SHORT[PRODUCT], query_count)
    figures = ("wall_s", "cpu_s")
    return {
        **{
            figure: {
                SHORT[label]: summarize([getattr(cost, figure) for cost in some])
                for label, some in costs.items()
            }
            for figure in figures
        },
        "ratios": {figure: relate(costs, figure) for figure in figures},
        "searches_ms": searches,
    }


def relate(costs: Mapping[str, Sequence[Cost]], figure: str) -> dict[str, dict[str, float]]:
    """Returns how much more each takes than the next one, round by round."""
    return {
        f"{SHORT[more]}/{SHORT[less]}": summarize(
            [
                getattr(one, figure) / getattr(other, figure)
                for one, other in zip(costs[more], costs[less], strict=True)
            ]
        )
        for more, less in pairwise(costs)
    }


def search(data_dir: Path, query_count: int) -> dict[str, dict[str, float]]:
    """Returns the milliseconds of a few queries of each sort."""
    captions, _ = read_sample(Settings.default(data_dir))
    opened = open_search(LanceStore(data_dir / "lance"))
    return {
        sort: summarize(ask_all(opened, texts, EVERYTHING))
        for sort, texts in choose_queries(captions, query_count).items()
        if texts
    }


def summarize(figures: Sequence[float]) -> dict[str, float]:
    """Returns the least, the median and the greatest."""
    return {
        name: round(of(figures), 4)
        for name, of in (("min", min), ("median", statistics.median), ("max", max))
    }


if __name__ == "__main__":
    main()
