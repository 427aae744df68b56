"""The asset `datasette`, as Dagster runs it."""

import hashlib
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.definitions import build_defs, build_resources
from laion_assets.exports.asset import datasette
from laion_assets.releases.catalog import find_release
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
def test_a_run_exports_the_release_that_its_config_names(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    ingest(settings, "a", "a fox", "two foxes")
    refresh(settings, "one")
    ingest(settings, "b", "a third fox")
    refresh(settings, "two")

    def run(**config: object) -> dict[str, object]:
        result = dg.materialize(
            [datasette],
            instance=instance,
            resources=build_resources(settings),
            run_config={"ops": {"datasette": {"config": config}}},
        )
        (event,) = result.get_asset_materialization_events()
        return {key: value.value for key, value in event.materialization.metadata.items()}

    assert run()["release"] == "two"
    page = run(release="one", without_unsafe=True)

    file = Path(str(page["file"]))
    assert file == settings.datasette_file
    assert (page["release"], page["dagster/row_count"], page["hidden"]) == ("one", 2, 0)
    assert (page["domains"], page["names"], page["bytes"]) == (1, 3, file.stat().st_size)
    assert page["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    manifest = find_release(LanceStore(settings.lance_dir), "one")
    assert page["content_sha256"] == manifest.content_sha256


def test_it_comes_after_the_release_and_in_no_job(settings: Settings) -> None:
    defs = build_defs(settings)
    graph = defs.resolve_asset_graph()
    key = dg.AssetKey("datasette")

    assert graph.get(key).parent_keys == {dg.AssetKey("release")}
    jobs = [defs.resolve_job_def(job.name) for job in defs.jobs or ()]
    assert [job.name for job in jobs if key in job.asset_layer.selected_asset_keys] == []
