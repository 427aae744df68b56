"""Each subset of `curation.toml` is an asset, which runs after a release."""

from typing import Any

import dagster as dg
import pytest

from docs.generate_reference import METADATA
from laion_assets.definitions import build_defs
from laion_assets.operations.status_report import read_status
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.subset_record import find_made
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.integration.test_discovery import Pipeline
from laion_assets_tests.subsets.shards import declare, make_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

LEMURS = '[subsets.lemurs]\nsearch = "lemur"\ncolumns = ["url", "caption", "width"]\n'
WIDE = '[subsets.wide]\nwhere = "width > 400"\n'


def refresh(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    outcome = run_job(build_defs(settings).resolve_job_def("refresh_counts"), instance)
    assert outcome.reason is None
    return outcome.metadata


def list_assets(settings: Settings) -> set[str]:
    specs = build_defs(settings).resolve_all_asset_specs()
    return {spec.key.to_user_string() for spec in specs}


@pytest.fixture
def loaded(settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard) -> Settings:
    """A shard in Lance."""
    rows = make_rows("a", 30).select(["url", "caption", "width", "height"])
    write_shard("a", **{name: rows[name].combine_chunks() for name in rows.column_names})
    discover_shards(settings, instance)
    job = build_defs(settings).resolve_job_def("ingest_shards")
    assert run_job(job, instance, "a").reason is None
    return settings


@pytest.mark.exhaustive
def test_subsets_are_made_with_the_release_if_something_changed_and_as_long_as_declared(
    loaded: Settings, instance: dg.DagsterInstance
) -> None:
    declare(loaded, LEMURS + WIDE)
    assert {"lemurs", "wide"} < list_assets(loaded)
    first = refresh(loaded, instance)
    lemurs = first["lemurs"]
    assert lemurs.keys() == METADATA["subsets"].keys() | {"duration_s"}
    table = LanceStore(loaded.lance_dir).open("lemurs", first["release"]["tag"]).to_table()
    assert table.schema.names == ["url", "caption", "width"]
    assert lemurs["dagster/row_count"] == table.num_rows > 3
    assert lemurs["release"] == first["release"]["tag"]
    assert lemurs["indices"] == "caption_idx"
    preview = [record.data for record in lemurs["preview"].records]
    assert preview == table.slice(0, 10).to_pylist()
    again = refresh(loaded, instance)
    assert {again[name]["is_new"] for name in ("lemurs", "wide")} == {False}

    # Another definition is made anew, and the others are not.
    declare(loaded, LEMURS.replace('"lemur"', '"fox"') + WIDE)
    metadata = refresh(loaded, instance)
    assert (metadata["lemurs"]["is_new"], metadata["wide"]["is_new"]) == (True, False)

    # What is declared no more has no asset, and keeps its table.
    job = build_defs(loaded).resolve_job_def("refresh_counts")
    declare(loaded, WIDE)
    assert "lemurs" not in list_assets(loaded)
    # A run that was planned before makes nothing.
    outcome = run_job(job, instance)
    assert (outcome.reason, "lemurs" in outcome.metadata) == (None, False)
    rows = LanceStore(loaded.lance_dir).open("lemurs").count_rows()
    assert rows == metadata["lemurs"]["dagster/row_count"]


@pytest.mark.exhaustive
def test_the_status_says_which_subsets_are_behind_and_which_are_left(
    loaded: Settings, instance: dg.DagsterInstance
) -> None:
    def read_states() -> dict[str, str]:
        return {each.subset: each.state for each in read_status(loaded, instance).subsets}

    declare(loaded, LEMURS + WIDE)
    assert read_states() == {"lemurs": "no release", "wide": "no release"}
    refresh(loaded, instance)
    status = read_status(loaded, instance)
    assert [each.state for each in status.subsets] == ["done", "done"]
    assert status.is_sound
    declare(loaded, LEMURS.replace('"lemur"', '"fox"') + "[subsets.more]\nlimit = 3\n")
    assert read_states() == {"lemurs": "behind", "more": "missing", "wide": "not declared"}
    assert not read_status(loaded, instance).is_sound
    lines = [each.describe() for each in read_status(loaded, instance).subsets]
    assert lines[0].endswith(", behind")
    assert lines[1].startswith("Subset more: missing; `laion backfill --missing` makes it.")
    assert "Reload all" in lines[1]
    assert "drop_table" in lines[2]
    refresh(loaded, instance)
    assert read_states() == {"lemurs": "done", "more": "done", "wide": "not declared"}
    assert read_status(loaded, instance).is_sound


@pytest.mark.exhaustive
def test_the_sensor_makes_subsets_that_changed(
    loaded: Settings, instance: dg.DagsterInstance
) -> None:
    declare(loaded, LEMURS)
    refresh(loaded, instance)
    pipeline = Pipeline(loaded, instance)
    assert pipeline.tick() == []
    # It has not loaded the second one, so it cannot make it.
    declare(loaded, LEMURS.replace('"lemur"', '"fox"') + WIDE)
    assert pipeline.tick() == ["refresh_counts"]
    said = pipeline.evaluate()
    assert said.run_requests == []
    assert "curation.toml declares the subset wide since" in str(said.skip_reason)
    record = find_made(LanceStore(loaded.lance_dir), "lemurs")
    assert record is not None
    assert record.definition["search"] == "fox"
    reloaded = Pipeline(loaded, instance)
    assert reloaded.tick() == ["refresh_counts"]
    assert "subset wide" not in str(reloaded.evaluate().skip_reason)
    assert find_made(LanceStore(loaded.lance_dir), "wide") is not None


def test_a_subset_that_cannot_be_made_leaves_the_others_and_the_release(
    loaded: Settings, instance: dg.DagsterInstance
) -> None:
    declare(loaded, '[subsets.seen]\nlike = "a lemur"\n' + WIDE)
    outcome = run_job(build_defs(loaded).resolve_job_def("refresh_counts"), instance)
    assert outcome.reason is not None
    assert "[subsets.seen]" in outcome.reason
    assert {"release", "wide"} < outcome.metadata.keys()
