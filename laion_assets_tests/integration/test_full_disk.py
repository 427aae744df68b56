"""A disk that is full for a while: by itself, the sensor goes on where it stopped."""

import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.conftest import make_settings, make_shard
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.integration.test_daemon import DAEMON, drop, find_ended
from laion_assets_tests.integration.test_discovery import Pipeline
from laion_assets_tests.integration.test_status import fill, mount
from laion_assets_tests.integration.web_ui import run_in_background, run_web_ui, wait_for

pytestmark = pytest.mark.usefixtures("unchecked")


# Several ticks and runs go by in each wait, on a machine that may be busy.
LIMIT_S = 600
# The sensor as it is, but for its patience.
DEFINITIONS = """
from laion_assets.definitions import build_defs
from laion_assets.runs import attempts
from laion_assets.settings import Settings

attempts.PAUSES_S = (2,)
defs = build_defs(Settings.from_environment(), discovery_interval_s=1)
"""


@pytest.mark.exhaustive
def test_after_room_is_made_all_goes_on_by_itself(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    disk, source = tmp_path / "disk", tmp_path / "source"
    source.mkdir()
    with mount(disk, 60):
        made = make_settings(tmp_path)
        settings = replace(made, data_dir=disk / "data", shards=(f"{source}/*.parquet",))
        pipeline = Pipeline(settings, instance)
        (source / "a.parquet").write_bytes(make_shard("a"))
        assert [pipeline.tick(), pipeline.tick()] == [["a"], ["refresh_counts"]]
        fill(disk)
        (source / "b.parquet").write_bytes(make_shard("b", rows=5))
        assert pipeline.tick() == ["b"]
        refused = pipeline.evaluate()
        pipeline.heed(refused)
        (disk / "filler").unlink()
        pipeline.wait(1)

        assert [pipeline.tick() for _ in range(3)] == [["b"], ["refresh_counts"], []]
        assert not refused.run_requests
        assert re.search("b: .*make room.*, next try at ", str(refused.skip_reason))
        assert count_rows(settings) == ({"a": 3, "b": 5},) * 2


@pytest.mark.exhaustive
def test_after_room_is_made_all_goes_on_under_the_daemon(tmp_path: Path) -> None:
    """The history is on another disk, so that Dagster can say why nothing goes on."""
    definitions, log, disk = tmp_path / "impatient.py", tmp_path / "log.txt", tmp_path / "disk"
    definitions.write_text(DEFINITIONS, encoding="utf-8")
    variables = {
        "LAION_SHARDS": str(tmp_path / "source" / "*.parquet"),
        "LAION_HISTORY_DIR": str(tmp_path / "history"),
    }
    place = ["--python-file", str(definitions)]
    with mount(disk, 60):
        shell = Shell(disk / "data", variables)
        drop(shell, "a", make_shard("a"))
        assert shell.run("laion", "status").returncode == 0
        with (
            run_web_ui(
                ["dagster-webserver", *place], REPOSITORY, shell.forked_environment, log
            ) as web_ui,
            run_in_background([*DAEMON, *place], REPOSITORY, shell.forked_environment, log),
        ):
            web_ui.start_sensor("discover_shards")
            wait_for(lambda: find_ended(web_ui, "refresh_counts", 1), "the first release", LIMIT_S)
            fill(disk)
            drop(shell, "b", make_shard("b", rows=5))
            failed, *_ = wait_for(
                lambda: find_ended(web_ui, "ingest_shards", 2), "a refusal", LIMIT_S
            )
            failures = web_ui.list_failures(failed.run_id)
            (disk / "filler").unlink()
            wait_for(lambda: find_ended(web_ui, "refresh_counts", 2), "the second release", LIMIT_S)
            runs = web_ui.list_runs()

        assert (failed.shard, failed.status) == ("b", "FAILURE")
        (failure,) = failures
        assert "make room" in failure["failureMetadata"]["description"]
        assert [run.status for run in runs if run.job == "refresh_counts"] == ["SUCCESS"] * 2
        assert count_rows(shell.settings) == ({"a": 3, "b": 5},) * 2
