"""The asset checks pass on sound tables, and fail on those that were tampered with."""

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.counts.checks import build_checks
from laion_assets.counts.refresh import refresh_entity_counts
from laion_assets.names.sheets import refresh_sheet
from laion_assets.orchestration.check_steps import build_check_steps
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.resources import Warehouse
from laion_assets_tests.conftest import WriteSheet, copy_made, make_settings
from laion_assets_tests.pipeline import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two shards and three kinds of names, counted."""
    folder = tmp_path_factory.mktemp("counted")
    artists = ("Claude Monet", "é", "D'Artagnan", '"')
    settings = make_settings(
        folder, artists=artists, celebrities=("Monet",), characters=("nothing",)
    )
    for shard in "ab":
        captions = [f"{shard} by claude monet", "É", "nothing"]
        urls = [f"https://a.test/{shard}/{n}" for n in range(len(captions))]
        source = folder / f"{shard}.parquet"
        pq.write_table(pa.table({"url": urls, "caption": captions}), source)
        load(settings, shard, source)
    database = Database(settings.database)
    for kind, location in settings.sheets.items():
        refresh_sheet(database, kind, location)
    refresh_entity_counts(database, settings.sheets)
    return settings


@pytest.fixture
def counted(settings: Settings, made: Settings) -> Settings:
    """A copy of them."""
    return copy_made(made, settings)


def run_checks(settings: Settings) -> dict[str, dg.AssetCheckEvaluation]:
    """Runs every check as Dagster does; returns the evaluations by asset and name."""
    result = dg.Definitions(
        asset_checks=build_check_steps(build_checks(settings.sheets)),
        resources={"warehouse": Warehouse(path=str(settings.database))},
    )
    job = dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions.merge(result, dg.Definitions(jobs=[job]))
    run = defs.resolve_job_def("checks").execute_in_process()
    evaluations = run.get_asset_check_evaluations()
    return {f"{e.asset_key.to_user_string()}.{e.check_name}": e for e in evaluations}


@pytest.mark.exhaustive
def test_sound_tables_pass_every_check(counted: Settings) -> None:
    checks = run_checks(counted)
    assert len(checks) == 6
    assert all(check.passed for check in checks.values())
    fts5 = checks["entity_counts.equals_fts5"].metadata
    assert (fts5["names"].value, fts5["captions"].value) == (6, 3)


def test_a_wrong_count_fails_the_comparison_with_fts5(
    counted: Settings, database: Database
) -> None:
    with database.write() as connection:
        connection.execute("UPDATE caption_matches SET image_count = 7 WHERE phrase = 'e'")
    check = run_checks(counted)["entity_counts.equals_fts5"]
    assert not check.passed
    assert check.metadata["differing_names"].value == "é: 7, FTS5 1"


def test_a_missing_count_fails_the_check_of_every_name(
    counted: Settings, database: Database
) -> None:
    with database.write() as connection:
        connection.execute("DELETE FROM caption_matches WHERE phrase = 'e' AND shard = 'b'")
    check = run_checks(counted)["entity_counts.every_name_counted"]
    assert not check.passed
    assert check.metadata["uncounted_pairs"].value == 1
    assert check.metadata["shards"].value == "b"


def test_a_list_of_which_no_name_is_in_a_caption_is_warned_of(
    counted: Settings, database: Database
) -> None:
    with database.write() as connection:
        connection.execute("UPDATE entity_counts SET image_count = 0 WHERE kind = 'artists'")

    check = run_checks(counted)["entity_counts.names_match"]

    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["lists_without_match"].value == "artists"


@pytest.mark.parametrize(
    ("names", "passed"), [(["A", "B"], True), (["A"], False)], ids=["half", "less than half"]
)
def test_a_sheet_that_lost_more_than_half_of_its_names_is_warned_of(
    counted: Settings,
    database: Database,
    write_sheet: WriteSheet,
    names: list[str],
    passed: bool,
) -> None:
    write_sheet("artists", *names)
    refresh_sheet(database, "artists", counted.sheets["artists"])
    check = run_checks(counted)["artists.names_kept"]
    assert check.passed is passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["names_before"].value == 4
