"""The comparisons run, at a size that measures nothing."""

import json
import sys
from pathlib import Path

import pytest

from laion_assets_tests.integration.conftest import Shell

# They are no part of the product: `make test-exhaustive` runs them, with the extra `bench`.
pytestmark = pytest.mark.exhaustive


def run(shell: Shell, name: str, *options: object) -> str:
    """Runs a benchmark; returns what it prints."""
    result = shell.run(sys.executable, "-m", f"benchmarks.{name}", *map(str, options))
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_comparison_runs(shell: Shell, tmp_path: Path) -> None:
    sizes = ["--rows", "300", "--shards", "1", "--tiny-shards", "1", "--rounds", "1"]
    run(shell, "compare", *sizes, "--output", tmp_path)
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert page.count("| laion backfill |") == 2
    assert "The product takes, times the bare calls" in page
    assert "The whole run:" in page
    chart = (tmp_path / "speed.svg").read_text(encoding="utf-8")
    assert chart.count("<rect") >= 3


def test_the_quick_form_writes_ratios(shell: Shell, tmp_path: Path) -> None:
    sizes = ["--rows", "300", "--rounds", "2", "--queries", "3"]
    output = tmp_path / "quick.json"
    run(shell, "quick", *sizes, "--output", output)
    found = json.loads(output.read_text(encoding="utf-8"))
    for figure in ("wall_s", "cpu_s"):
        for ratio in ("product/bare", "bare/floor"):
            spread = found["ratios"][figure][ratio]
            assert 0 < spread["min"] <= spread["median"] <= spread["max"]
    assert found["run"].keys() >= {"wall_s", "cpu_s", "load_before", "load_after", "steal_percent"}
    assert found["run"]["cpu_s"] > sum(found["cpu_s"]["product"].values()) / 3
    assert found["searches_ms"]


def test_the_load_of_the_search_page_runs(shell: Shell, tmp_path: Path) -> None:
    sizes = ["--rows", "300", "--seconds", "0.2", "--minutes", "0.005"]
    run(shell, "serve", *sizes, "--output", tmp_path)
    page = (tmp_path / "SERVE.md").read_text(encoding="utf-8")
    assert "Failed in the long load: **0.00**" in page


def test_the_search_page_of_many_rows_is_measured(shell: Shell, tmp_path: Path) -> None:
    sizes = ["--rows", "3000", "--shards", "2", "--queries", "6", "--seconds", "0.2"]
    run(shell, "large", *sizes, "--output", tmp_path)
    page = (tmp_path / "LARGE.md").read_text(encoding="utf-8")
    assert page.count("| a middling word |") == 3
    assert "Answers with 1 and 4 threads of Lance are the same" in page


def test_reading_for_training_is_compared(shell: Shell) -> None:
    for name in ("torch", "datasets", "webdataset"):
        pytest.importorskip(name, reason="needs torch, datasets and webdataset, to compare with")
    sizes = ["--pictures", "600", "--rounds", "1", "--workers", "0"]
    assert "ratio of the better of the others" in run(shell, "training", *sizes, "--decode")


def test_the_making_of_subsets_runs(shell: Shell) -> None:
    sizes = ["--rows", "3400", "--picture-bytes", "2000", "--rounds", "1"]
    assert "34 of 3,400 rows, 34 pictures" in run(shell, "subsets", *sizes)


def test_a_table_of_many_shards_is_measured(shell: Shell, tmp_path: Path) -> None:
    output = tmp_path / "SCALE.md"
    run(shell, "many_shards", "--sizes", 2, 4, "--rounds", 1, "--report", output)
    page = output.read_text(encoding="utf-8")
    assert page.count("| release |") == 2
    assert page.count("| commit of a replaced shard |") == 2
