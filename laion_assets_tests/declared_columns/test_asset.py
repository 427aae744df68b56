"""The asset, and what is due of it."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from laion_assets.curation.place import CurationError
from laion_assets.curation.resource import CurationFile
from laion_assets.definitions import build_defs
from laion_assets.releases.catalog import newest_release
from laion_assets.runs.backfill import discover_shards, find_missing, run_job
from laion_assets.runs.due import Stage
from laion_assets.runs.status import look_around, read_due
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.declared_columns.test_add_declared import (
    RATIO,
    declare,
    join,
    make_rows,
    read,
    write,
)
from laion_assets_tests.integration.test_discovery import Pipeline
from laion_assets_tests.pictures.painting import paint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]


def run(
    settings: Settings, instance: dg.DagsterInstance, job: str = "ingest_shards"
) -> dict[str, Any]:
    outcome = run_job(build_defs(settings).resolve_job_def(job), instance, "a")
    assert outcome.reason is None
    return outcome.metadata.get("declared_columns", {})


def find_stage(settings: Settings) -> Stage | None:
    due = read_due(
        settings, ["a"], look_around(settings, ["a"]), CurationFile.build(settings).read()
    )
    return due.steps["a"].stage if "a" in due.steps else None


def test_declared_columns_come_with_the_shard(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    rows = make_rows(12)
    write_shard("a", **{name: rows[name].combine_chunks() for name in rows.column_names})
    discover_shards(settings, instance)
    assert run(settings, instance) == {}
    assert find_stage(settings) is None

    urls = rows["url"].to_pylist()[:4]
    labels = settings.data_dir / "x.parquet"
    write(labels, pa.table({"url": urls, "score": [1, 2, 3, 4]}))
    declare(settings, RATIO + join("x.parquet"))
    assert find_stage(settings) == Stage.DECLARE
    assert find_missing(settings, instance, ["a"]) == ["a"]
    metadata = run(settings, instance)
    assert metadata["columns_made"] == 2
    # Two of the file's are rejected.
    assert metadata["dagster/partition_row_count"] == 10
    records = {r.data["column"]: r.data for r in metadata["declared"].records}
    assert (records["ratio"]["values"], records["mine"]["values"]) == (8, 3)
    assert records["mine"]["oddities"] == "7 rows that the file does not have"
    assert find_stage(settings) is None

    # Another content of the file is due, and so is a file that is gone.
    write(labels, pa.table({"url": urls, "score": [1, 2, 3, 40]}))
    assert find_stage(settings) == Stage.DECLARE
    labels.unlink()
    assert find_stage(settings) == Stage.DECLARE
    job = build_defs(settings).resolve_job_def("ingest_shards")
    reason = run_job(job, instance, "a").reason
    assert reason is not None
    assert str(labels) in reason


@pytest.mark.exhaustive
def test_columns_that_read_pictures_come_again_after_them(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    rows = make_rows(3)
    columns = {name: rows[name].combine_chunks() for name in rows.column_names}
    write_shard("a", **columns, image=[paint(40), None, paint(50)])
    declare(settings, '[columns.size]\nsql = "octet_length(image)"\n' + RATIO)
    discover_shards(settings, instance)
    assert run(settings, instance)["columns_made"] == 2
    assert set(read(settings, "size").values()) == {None}

    assert run(settings, instance, "add_pictures")["columns_made"] == 1
    assert [value is None for value in read(settings, "size").values()] == [False, True, False]
    assert find_stage(settings) is None


def test_a_mistake_in_the_file_is_said_when_the_definitions_are_loaded(settings: Settings) -> None:
    settings.data_dir.mkdir()
    settings.curation_file.write_text("[columns.width]\nsql = '1'", encoding="utf-8")
    with pytest.raises(CurationError, match=r"\[columns\.width\]"):
        build_defs(settings)


@pytest.mark.exhaustive
def test_the_sensor_makes_what_is_declared_and_releases_it_and_drops_what_is_not(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    rows = make_rows(12)
    write_shard("a", **{name: rows[name].combine_chunks() for name in rows.column_names})
    pipeline = Pipeline(settings, instance)
    assert pipeline.tick() == ["a"]
    assert pipeline.tick() == ["refresh_counts"]
    assert pipeline.tick() == []

    declare(settings, RATIO)
    result = pipeline.evaluate()
    runs = result.run_requests or ()
    assert [(run.partition_key, run.asset_selection) for run in runs] == [
        ("a", [dg.AssetKey("declared_columns")])
    ]
    pipeline.heed(result)
    assert pipeline.tick() == ["refresh_counts"]
    store = LanceStore(settings.lance_dir)
    newest = newest_release(store)
    assert newest is not None
    assert [(c.column, c.value_count, c.shards_behind) for c in newest.declared] == [
        ("ratio", 8, ())
    ]
    assert pipeline.tick() == []

    # A mistake stops nothing that is there, and is said.
    settings.curation_file.write_text("[columns.ratio]\nsql = 'nope'", encoding="utf-8")
    assert "[columns.ratio.sql]" in str(pipeline.evaluate().skip_reason)
    declare(settings, "")
    assert pipeline.tick() == ["refresh_counts"]
    assert "ratio" not in store.open("images").schema.names
    assert pipeline.tick() == []
