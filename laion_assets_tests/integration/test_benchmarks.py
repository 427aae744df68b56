"""The comparison runs, at a size that measures nothing."""

import sys
from pathlib import Path

from laion_assets_tests.integration.conftest import Shell


def test_the_comparison_runs(shell: Shell, tmp_path: Path) -> None:
    sizes = ["--rows", "300", "--shards", "1", "--tiny-shards", "1", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.compare", *sizes, "--output", str(tmp_path)]
    result = shell.run(*command)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert page.count("| laion backfill |") == 2
    assert "The product takes, times the bare calls" in page
    chart = (tmp_path / "speed.svg").read_text(encoding="utf-8")
    assert chart.count("<rect") >= 3
