import re
from dataclasses import replace
from pathlib import Path

import pytest

from laion_assets.definitions import build_defs
from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.settings import (
    REPOSITORY,
    Settings,
    find_history_dir,
    list_shared,
)
from laion_assets_tests.raises import raises

BUNDLED_SHEETS = REPOSITORY / "data" / "sheets"
BUNDLED_KINDS = ("artists", "celebrities", "characters")


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})

    assert settings.data_dir == REPOSITORY / "data"
    assert settings.shards == (str(REPOSITORY / "data" / "shards" / "*.parquet"),)
    assert dict(settings.sheets) == {k: str(BUNDLED_SHEETS / f"{k}.csv") for k in BUNDLED_KINDS}


def test_the_default_settings_are_those_of_an_empty_environment() -> None:
    assert Settings.default(REPOSITORY / "data") == Settings.from_environment({})


def test_everything_that_is_written_is_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings.default(tmp_path)

    assert settings.raw_dir == tmp_path / "raw"
    assert settings.database == tmp_path / "laion.duckdb"
    assert settings.lance_dir == tmp_path / "lance"
    assert settings.history_dir == tmp_path / "dagster"


def test_the_bundled_sheets_are_there() -> None:
    for location in Settings.from_environment({}).sheets.values():
        assert Path(location).is_file()


def test_the_process_environment_is_read_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(tmp_path))

    assert Settings.from_environment().data_dir == tmp_path


def test_the_data_folder_brings_the_default_shards_with_it(tmp_path: Path) -> None:
    settings = Settings.from_environment({"LAION_DATA_DIR": f"  {tmp_path} "})

    assert settings.data_dir == tmp_path
    assert settings.shards == (str(tmp_path / "shards" / "*.parquet"),)


def test_a_bucket_has_the_tables_and_a_folder_the_rest(tmp_path: Path) -> None:
    environment = {"LAION_HOME": str(tmp_path), "LAION_DATA_DIR": " 's3://some-bucket/a/b=1/' "}
    settings = Settings.from_environment(environment)

    assert settings.bucket == "s3://some-bucket/a/b=1"
    assert settings.lance_bucket == "s3://some-bucket/a/b=1/lance"
    assert settings.data_dir == tmp_path / "data" / "s3" / "some-bucket" / "a" / "b=1"
    assert settings.history_dir == find_history_dir(environment) == settings.data_dir / "dagster"
    assert settings.database == settings.data_dir / "laion.duckdb"


def test_with_a_bucket_the_declared_columns_are_those_of_the_project(tmp_path: Path) -> None:
    environment = {"LAION_HOME": str(tmp_path), "LAION_DATA_DIR": "s3://some-bucket"}
    own = tmp_path / "data" / "curation.toml"
    own.parent.mkdir()
    own.touch()

    assert Settings.from_environment(environment).curation_file == own


@pytest.mark.parametrize(
    "url", ["gs://bucket/a", "s3://", "s3://bucket/a b", "s3://bucket/../a", "https://a.test/b"]
)
def test_a_place_that_is_no_folder_and_no_bucket_is_refused(url: str) -> None:
    with raises("data-dir-url-unusable"):
        Settings.from_environment({"LAION_DATA_DIR": url})


CLUSTER = {
    "LAION_DATA_DIR": "s3://some-bucket/a",
    "LAION_CATALOG": "postgresql://me:secret@host/laion",
    "LAION_RAY": " 'http://head:8265/' ",
}


def test_ray_has_an_address_with_a_bucket_and_a_catalog() -> None:
    assert Settings.from_environment(CLUSTER).ray == "http://head:8265"
    assert Settings.from_environment({**CLUSTER, "LAION_RAY": " "}).ray is None


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://me:pw@head", "http:"])
def test_what_is_not_where_ray_takes_jobs_is_refused(address: str) -> None:
    with raises("ray-unusable"):
        Settings.from_environment({**CLUSTER, "LAION_RAY": address})


@pytest.mark.parametrize("missing", ["LAION_DATA_DIR", "LAION_CATALOG"])
def test_ray_alone_is_refused_and_the_message_names_what_is_missing(missing: str) -> None:
    rest = {name: value for name, value in CLUSTER.items() if name != missing}
    with raises("ray-alone") as caught:
        Settings.from_environment(rest)
    assert f"needs {missing}=" in str(caught.value)


def test_runs_on_other_machines_get_the_settings_but_no_secrets_and_no_places() -> None:
    own = {"LAION_HOME": "/here", "LAION_HISTORY_DIR": "/here", "LAION_ALERT_URL": "https://a.test"}
    shared = {
        "LAION_DATA_DIR": CLUSTER["LAION_DATA_DIR"],
        "LAION_PICTURES": "none",
        "LAION_RAY": CLUSTER["LAION_RAY"],
        "LAION_SHEET_NEW": "https://a.test/new.csv",
    }
    others = {"AWS_SECRET_ACCESS_KEY": "x", "HF_TOKEN": "x", "PATH": "/bin", "LAION_SHARDS": " "}

    assert list_shared({**CLUSTER, **own, **shared, **others}) == shared


def test_a_relative_data_folder_starts_at_the_repository() -> None:
    assert Settings.from_environment({"LAION_DATA_DIR": "out"}).data_dir == REPOSITORY / "out"


@pytest.mark.parametrize("blank", ["", " ", "\t \n"], ids=["empty", "blank", "tabs"])
@pytest.mark.parametrize(
    "variable", ["LAION_DATA_DIR", "LAION_SHARDS", "LAION_SHEET_ARTISTS", "LAION_SHEET_NEW"]
)
def test_a_blank_variable_counts_as_not_set(variable: str, blank: str) -> None:
    assert Settings.from_environment({variable: blank}) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("text", "shards"),
    [
        ("a.parquet", ("a.parquet",)),
        ("a.parquet,/b/*.parquet", ("a.parquet", "/b/*.parquet")),
        (" a b.parquet ,\n c.parquet ", ("a b.parquet", "c.parquet")),
        (",a.parquet,,b.parquet, ,", ("a.parquet", "b.parquet")),
    ],
    ids=["one", "two", "blanks around", "empty entries"],
)
def test_several_shards_are_separated_by_commas(text: str, shards: tuple[str, ...]) -> None:
    assert Settings.from_environment({"LAION_SHARDS": text}).shards == shards


def test_only_commas_are_no_shards_and_leave_the_default() -> None:
    assert Settings.from_environment({"LAION_SHARDS": " , ,"}) == Settings.from_environment({})


def test_a_sheet_replaces_the_bundled_one_of_its_kind_alone() -> None:
    sheets = dict(Settings.from_environment({"LAION_SHEET_ARTISTS": " my.csv "}).sheets)

    assert sheets == {**Settings.from_environment({}).sheets, "artists": "my.csv"}


@pytest.mark.parametrize(
    ("variable", "kind"),
    [
        ("LAION_SHEET_MUSEUMS", "museums"),
        ("LAION_SHEET_Old_Masters", "old_masters"),
        ("LAION_SHEET_TOP_100", "top_100"),
    ],
    ids=["upper", "mixed", "digits"],
)
def test_a_new_kind_is_lower_cased_and_takes_its_place_in_the_order(
    variable: str, kind: str
) -> None:
    sheets = Settings.from_environment({variable: "list.csv"}).sheets

    assert sheets[kind] == "list.csv"
    assert list(sheets) == sorted({*BUNDLED_KINDS, kind})


@pytest.mark.parametrize(
    "suffix",
    [
        "IMAGES",
        "images",
        "RAW_SHARDS",
        "LANCE_IMAGES",
        "DOMAIN_COUNTS",
        "ENTITY_COUNTS",
        "RELEASE",
        "SHARDS",
        "REJECTED_IMAGES",
        "CAPTION_MATCHES",
        "REFRESHES",
        "REFRESH_COUNTS",
        "INGEST_SHARDS",
        "CLASS",
        "CONTEXT",
        "TYPE",
        "OLD-MASTERS",
        "OLD MASTERS",
        "80S_BANDS",
        "KÜNSTLER",
        'A"; DROP TABLE images; --',
        "",
    ],
)
def test_a_refused_kind_names_the_variable_and_the_remedy(suffix: str) -> None:
    variable = f"LAION_SHEET_{suffix}"

    with raises("kind-name-invalid") as refusal:
        Settings.from_environment({variable: "list.csv"})

    assert str(refusal.value).startswith(f"{variable}: {suffix.lower()!r} ")
    assert re.search(r"none of .*\bimages\b.*\brelease\b", str(refusal.value))
    assert "\n" not in str(refusal.value)


def test_a_foreign_variable_is_left_alone() -> None:
    environ = {"LAION_SHEETS_X": "a", "SHEET_LAION_ARTISTS": "b", "laion_sheet_artists": "c"}

    assert Settings.from_environment(environ) == Settings.from_environment({})


def test_a_kind_that_is_accepted_is_one_that_dagster_accepts(tmp_path: Path) -> None:
    environ = {f"LAION_SHEET_{kind}": "x.csv" for kind in ("BRANDS", "MODEL", "NAMES", "ASSET")}
    settings = Settings.from_environment(environ)
    # A person's own may have a mistake.
    (tmp_path / "curation.toml").touch()
    settings = replace(settings, curation=tmp_path / "curation.toml")
    build_defs(settings).get_repository_def()


def test_a_data_folder_with_the_signs_of_a_glob_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = Settings.default(tmp_path / "a[1]*")
    shard = settings.data_dir / "shards" / "s.parquet"
    shard.parent.mkdir(parents=True)
    shard.touch()
    assert list_shards(settings.shards).sources["s"].place == str(shard)


@pytest.mark.parametrize(
    "sign",
    ["%", "%20", "?", "\\", "\t", "\n", "\r", "\0", "\x1b", "\x7f", "\udcff"],
    ids=ascii,
)
def test_a_data_folder_that_an_engine_cannot_open_is_refused(sign: str) -> None:
    with raises("data-dir-name-invalid") as refusal:
        Settings.from_environment({"LAION_DATA_DIR": f"/data/a{sign}b/c"})
    assert repr(sign[0]) in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "name", ["müller", "日本", "🦊", "a#b", "a b", "~", "*", "[x]", "{x}", "a=1"]
)
def test_a_data_folder_may_have_any_other_name(name: str) -> None:
    assert Settings.from_environment({"LAION_DATA_DIR": f"/data/{name}/c"}).data_dir == Path(
        f"/data/{name}/c"
    )


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, REPOSITORY / "data" / "dagster"),
        ({"LAION_DATA_DIR": "/d"}, Path("/d/dagster")),
        ({"LAION_DATA_DIR": "/d", "LAION_HISTORY_DIR": " "}, Path("/d/dagster")),
        ({"LAION_DATA_DIR": "/d", "LAION_HISTORY_DIR": "/h"}, Path("/h")),
        ({"LAION_HISTORY_DIR": "h"}, REPOSITORY / "h"),
    ],
    ids=["default", "beside the data", "blank", "set", "relative"],
)
def test_the_history_is_beside_the_data_unless_it_is_set(
    environ: dict[str, str], folder: Path
) -> None:
    assert find_history_dir(environ) == folder
    assert Settings.from_environment(environ).history_dir == folder


def test_how_long_and_how_much_is_kept_can_be_set() -> None:
    settings = Settings.from_environment(
        {
            "LAION_KEEP_HISTORY_DAYS": " 30 ",
            "LAION_KEEP_SCRATCH_DAYS": "'0.5'",
            "LAION_PICTURE_CACHE_GB": "",
        }
    )

    assert (settings.keep_history_days, settings.keep_scratch_days) == (30, 0.5)
    assert settings.picture_cache_gb == 100


@pytest.mark.parametrize("text", ["-1", "a week", "nan", "inf", "1e3", "1,5", "9" * 400])
def test_what_is_no_number_is_refused(text: str) -> None:
    with raises("setting-not-a-number"):
        Settings.from_environment({"LAION_KEEP_HISTORY_DAYS": text})


def test_a_place_to_publish_to_is_a_folder_of_the_project_or_a_place_on_the_hub(
    tmp_path: Path,
) -> None:
    home = {"LAION_HOME": str(tmp_path)}
    assert Settings.from_environment(home).publish is None
    for written, read in (
        ("out", str(tmp_path / "out")),
        ("'/there/out'", "/there/out"),
        ("hf://datasets/a/b", "hf://datasets/a/b"),
    ):
        assert Settings.from_environment(home | {"LAION_PUBLISH": written}).publish == read
