"""What Dagster loads, as its pages need it."""

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from laion_assets.definitions import build_defs
from laion_assets.settings import REPOSITORY, Settings


def test_no_two_assets_say_that_they_are_the_same_table(settings: Settings) -> None:
    """Dagster would link them."""
    specs = build_defs(settings).resolve_all_asset_specs()
    names = Counter(spec.metadata.get("dagster/table_name") for spec in specs)
    del names[None]

    assert {"images", "images.lance", "domain_counts"} <= names.keys()
    assert [name for name, count in names.items() if count > 1] == []


def test_every_job_can_be_started_and_everything_that_starts_one_is_off(settings: Settings) -> None:
    defs = build_defs(settings)
    repository = defs.get_repository_def()
    statuses = {each.default_status.value for each in repository.schedule_defs}
    statuses |= {each.default_status.value for each in repository.sensor_defs}

    assert {job.name for job in repository.get_all_jobs()} >= {
        "ingest_shards",
        "refresh_counts",
        "clean_history",
    }
    assert statuses == {"STOPPED"}


@pytest.mark.exhaustive
def test_make_dev_leaves_out_dagsters_warning_about_another_command(tmp_path: Path) -> None:
    line = next(
        line
        for line in (REPOSITORY / "Makefile").read_text(encoding="utf-8").splitlines()
        if line.endswith("dagster dev")
    )
    variable, value = shlex.split(line)[0].split("=", 1)

    def greet(**variables: str) -> str:
        """What it says before it finds that it has no instance."""
        environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": "not absolute", **variables}
        command = [str(Path(sys.executable).with_name("dagster")), "dev", "-m", "nothing"]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert "must be an absolute path" in result.stderr
        return result.stderr

    assert "is superseded" in greet()
    assert "is superseded" not in greet(**{variable: value})
