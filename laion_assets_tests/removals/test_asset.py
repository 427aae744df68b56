"""The asset `removals` in its job: checks, alarms, and a release that waits."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.alarms.causes import Heard
from laion_assets.alarms.findings import find_in_runs
from laion_assets.definitions import build_defs
from laion_assets.releases.catalog import find_release
from laion_assets.runs.backfill import Outcome, discover_shards, run_job
from laion_assets.runs.status import find_unread_lists
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]


def run(settings: Settings, instance: dg.DagsterInstance, job: str, shard: str | None) -> Outcome:
    outcome = run_job(build_defs(settings).resolve_job_def(job), instance, shard)
    assert outcome.reason is None
    return outcome


def test_a_removal_runs_through_the_jobs(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard, tmp_path: Path
) -> None:
    path = tmp_path / "removals.txt"
    settings = replace(settings, removals=str(path))
    urls = [f"https://{host}.test/1.jpg" for host in "abc"]
    write_shard("s", url=urls, caption=["a fox", "a hen", "an owl"])
    discover_shards(settings, instance)
    run(settings, instance, "ingest_shards", "s")
    path.write_text("b.test\nnobody.test\nno entry\n")

    told = run(settings, instance, "refresh_counts", None).metadata

    assert "release" not in told, "rows of it are to be removed first"
    shown = {name: told["removals"][name] for name in ("entries", "rows_removed", "shards_to_load")}
    assert shown == {"entries": 2, "rows_removed": 1, "shards_to_load": 1}
    assert told["removals"]["lines_unread"] == 1
    images = run(settings, instance, "ingest_shards", "s").metadata["images"]
    assert (images["rejected_removed"], images["dagster/partition_row_count"]) == (1, 2)
    assert "b.test" not in str(images)
    told = run(settings, instance, "refresh_counts", None).metadata
    assert told["release"]["rows_removed"] == 1
    assert told["removals"]["shards_to_load"] == 0
    assert find_release(LanceStore(settings.lance_dir)).removed_count == 1
    with Database(settings.database).read() as connection:
        assert connection.sql("SELECT domain FROM domain_counts ORDER BY 1").fetchall() == [
            ("a.test",),
            ("c.test",),
        ]

    path.write_text("what\n")
    told = run(settings, instance, "refresh_counts", None).metadata
    assert told["removals"]["entries"] == 2
    (unread,) = find_unread_lists(instance, ["removals"]).items()
    assert (unread[0], "has no entry" in unread[1]) == ("removals", True)
    findings = list(find_in_runs(instance, Heard(since=0), "http://ui"))
    alarms = {finding.cause for finding in findings if finding.cause}
    assert "check removals: list_read/" in alarms
    assert "check removals: entries_read/" in alarms
    path.write_text("b.test\nnobody.test\n")
    run(settings, instance, "refresh_counts", None)
    assert find_unread_lists(instance, ["removals"]) == {}
