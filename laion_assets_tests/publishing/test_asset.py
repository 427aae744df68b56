"""The asset `published`, as Dagster runs it."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import lance
import pytest

from laion_assets.definitions import build_defs
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

KEY = dg.AssetKey("published")


@pytest.mark.exhaustive
def test_each_release_is_published_after_it(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    defs = build_defs(replace(settings, publish=str(place)))
    ingest(settings, "a", "a fox", "two foxes")
    job = defs.resolve_job_def("refresh_counts")

    result = job.execute_in_process(instance=instance)

    (event,) = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.asset_key == KEY
    ]
    page = {key: value.value for key, value in event.metadata.items()}
    assert (page["is_new"], page["place"], page["dagster/row_count"]) == (True, str(place), 2)
    assert page["missing_in_card"] == "license, contact"
    train = lance.dataset(place / "data" / "train.lance", version=str(page["release"]))
    assert train.count_rows() == 2
    assert defs.resolve_asset_graph().get(KEY).parent_keys == {dg.AssetKey("release")}


def test_without_a_place_there_is_no_such_asset(settings: Settings) -> None:
    defs = build_defs(settings)
    assert KEY not in defs.resolve_asset_graph().get_all_asset_keys()
    defs.resolve_job_def("refresh_counts")
