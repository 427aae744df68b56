"""Random searches of a release, compared with SQL over DuckDB and SQLite's FTS5.

Run `python -m benchmarks.answers [--rows 1728119] [--questions 1000] [--data-dir FOLDER]` from the
repository root. Each search is compared in its numbers, its first page and rows 5,000 to 5,020, and
in all rows of its export if there are up to 20,000. Prints what differs, and how many do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.bare import ingest, refresh
from benchmarks.measure import report_run, timed
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import read_sheet
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.current_release import Shelf
from laion_assets_tests.search.answers import compare, open_reference

MOST_EXPORTED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--data-dir", type=Path, help="with a release; made if none is named")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        settings = Settings.default(options.data_dir or Path(folder))
        if options.data_dir is None:
            build(settings, options.rows)
        if ask(settings, options.questions):
            sys.exit(1)


def build(settings: Settings, rows: int) -> None:
    """Makes a release of one sample shard."""
    names = [
        row[0] for kind, path in settings.sheets.items() for row in read_sheet(kind, path).rows
    ]
    spec = SampleSpec(shard_count=1, rows_per_shard=rows)
    (path,) = write_sample_shards(settings.data_dir / "shards", names, spec)
    ingest(settings, path)
    refresh(settings)


def ask(settings: Settings, question_count: int) -> int:
    """Prints each difference; returns how many searches have one."""
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    differing = 0
    with open_reference(settings) as reference:

        def compare_all() -> None:
            nonlocal differing
            for seed in range(question_count):
                question = reference.ask(seed)
                wrong = compare(shelf.current.search, reference, question, MOST_EXPORTED)
                differing += bool(wrong)
                print("".join(f"{difference}\n" for difference in wrong), end="", flush=True)

        seconds = timed(compare_all)
    images = shelf.current.image_count
    print(
        f"{differing} of {question_count:,} searches of {images:,} images differ ({seconds:.0f} s)"
    )
    return differing


if __name__ == "__main__":
    report_run(main)
