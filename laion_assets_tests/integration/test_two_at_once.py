"""Two copies of `laion`, or of the daemon, on one data folder never harm each other."""

from pathlib import Path

import pytest

from laion_assets.releases.catalog import newest_release
from laion_assets.settings import REPOSITORY
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.integration.test_daemon import (
    DAEMON,
    IMPATIENT_DEFINITIONS,
    drop,
    find_ended,
)
from laion_assets_tests.integration.web_ui import run_in_background, run_web_ui, wait_for

pytestmark = pytest.mark.integration

ROWS = {"a": 3, "b": 5, "c": 8}


def check(shell: Shell) -> None:
    """All rows are there once, in both tables and in the release, and nothing is left over."""
    assert count_rows(shell.settings) == (ROWS, ROWS)
    newest = newest_release(LanceStore(shell.settings.lance_dir))
    assert newest
    assert {shard.shard: shard.image_count for shard in newest.shards} == ROWS
    assert newest.row_counts["images"] == sum(ROWS.values())
    looked = shell.run("laion", "doctor", "--hash")
    assert looked.returncode == 0, looked.stdout
    status = shell.run("laion", "status")
    assert status.returncode == 0, status.stdout


@pytest.mark.exhaustive
def test_two_backfills_of_the_same_shards(shell: Shell) -> None:
    for shard, rows in ROWS.items():
        drop(shell, shard, make_shard(shard, rows))

    results = shell.run_all([["laion", "backfill", "--all"]] * 2)

    assert [result.returncode for result in results] == [0, 0], results
    check(shell)


@pytest.mark.exhaustive
def test_a_backfill_beside_a_backup_and_a_doctor(shell: Shell, tmp_path: Path) -> None:
    for shard, rows in ROWS.items():
        drop(shell, shard, make_shard(shard, rows))
    assert shell.run("laion", "backfill", "--all").returncode == 0
    for shard, rows in ROWS.items():
        drop(shell, shard, make_shard(f"new {shard}", rows))

    loaded, backed_up, looked = shell.run_all(
        [
            ["laion", "backfill", "--missing"],
            ["laion", "backup", str(tmp_path / "backup")],
            ["laion", "doctor"],
        ]
    )

    assert (loaded.returncode, backed_up.returncode) == (0, 0), (loaded, backed_up)
    # It may see a file that is newer than what is loaded, and nothing else.
    wrong = [line for line in looked.stdout.splitlines() if line.startswith("wrong")]
    assert all("is newer than what is loaded" in line for line in wrong), wrong
    check(shell)
    other = Shell(tmp_path / "restored", shell.variables)
    assert other.run("laion", "restore", str(tmp_path / "backup")).returncode == 0
    assert other.run("laion", "backfill", "--missing").returncode == 0
    check(other)


@pytest.mark.exhaustive
def test_two_daemons_with_the_sensor_on(shell: Shell, tmp_path: Path) -> None:
    definitions, log = tmp_path / "impatient.py", tmp_path / "log.txt"
    definitions.write_text(IMPATIENT_DEFINITIONS, encoding="utf-8")
    drop(shell, "a", make_shard("a", ROWS["a"]))
    command = ["dagster-webserver", "-f", str(definitions)]
    daemon = [*DAEMON, "-f", str(definitions)]
    with (
        run_web_ui(command, REPOSITORY, shell.environment, log) as web_ui,
        run_in_background(daemon, REPOSITORY, shell.environment, log),
        run_in_background(daemon, REPOSITORY, shell.environment, log),
    ):
        web_ui.start_sensor("discover_shards")
        wait_for(lambda: find_ended(web_ui, "refresh_counts", 1), "the first release")
        for shard in ("b", "c"):
            drop(shell, shard, make_shard(shard, ROWS[shard]))

        def is_released() -> bool:
            newest = newest_release(LanceStore(shell.settings.lance_dir))
            return newest is not None and len(newest.shards) == len(ROWS)

        wait_for(is_released, "a release of all shards")
        runs = wait_for(lambda: find_ended(web_ui, "ingest_shards", len(ROWS)), "all runs")
        wait_for(lambda: find_ended(web_ui, "refresh_counts", 2), "the last refresh")
    assert {run.shard for run in runs} == set(ROWS)
    check(shell)
