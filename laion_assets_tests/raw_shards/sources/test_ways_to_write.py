"""Ways in which people write `LAION_SHARDS` and name their files."""

from pathlib import Path

import pytest

from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.settings import Settings

FILES = ("a.parquet", "B.PARQUET", "c.Parquet", "notes.txt", "spark.parquet/part-0.snappy.parquet")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the user, with shards in a folder."""
    for name in FILES:
        path = tmp_path / "laion" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def read(text: str) -> tuple[str, ...]:
    return Settings.from_environment({"LAION_SHARDS": text}).shards


WRITTEN = {
    "a.parquet,b.parquet": ("a.parquet", "b.parquet"),
    "a.parquet\nb.parquet": ("a.parquet", "b.parquet"),
    "a.parquet\r\n  b.parquet\r\n": ("a.parquet", "b.parquet"),
    "a.parquet,\nb.parquet,\n": ("a.parquet", "b.parquet"),
    "'a.parquet'": ("a.parquet",),
    '"a.parquet", "b.parquet"': ("a.parquet", "b.parquet"),
    "'a b.parquet'": ("a b.parquet",),
    "it's.parquet": ("it's.parquet",),
    "'a.parquet": ("'a.parquet",),
    '"https://a.test/{0..1}.parquet"': ("https://a.test/{0..1}.parquet",),
    ' " a.parquet " ': ("a.parquet",),
    # As a file of settings for containers passes it on.
    '"a.parquet,b.parquet"': ("a.parquet", "b.parquet"),
    "'a.parquet\nb.parquet'": ("a.parquet", "b.parquet"),
    "\"'a.parquet', 'b.parquet'\"": ("a.parquet", "b.parquet"),
    "a'b'c.parquet": ("a'b'c.parquet",),
    "it's bob's.parquet": ("it's bob's.parquet",),
    "''": (),
    "\"a.parquet'": ("\"a.parquet'",),
}


@pytest.mark.parametrize("text", WRITTEN, ids=repr)
def test_locations_are_read_as_they_are_meant(text: str) -> None:
    assert read(text) == (WRITTEN[text] or Settings.from_environment({}).shards)


FOUND = {
    "~/laion/a.parquet": ["a"],
    "~/laion/*.parquet": ["B", "a", "c"],
    "~/laion/*.PARQUET": ["B", "a", "c"],
    "~/laion/B.PARQUET": ["B"],
    "~/laion/[abc].parquet": ["a", "c"],
    "~/laion/spark.parquet/*.parquet": ["part-0.snappy"],
    "~/laion/**/*.parquet": ["B", "a", "c", "part-0.snappy"],
    "~/laion/*": ["B", "a", "c"],
}


@pytest.mark.parametrize("location", FOUND)
def test_files_are_found_in_any_case_and_below_the_home(home: Path, location: str) -> None:
    assert home.exists()
    assert list(list_shards([location]).sources) == FOUND[location]


NAMED = {
    "~/laion/none*.parquet": "{home}/laion/none*.parquet: matches no file",
    "~/laion/spark.parquet": "{home}/laion/spark.parquet: is a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion/spark.parquet/": "{home}/laion/spark.parquet: is a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion/s*.parquet": "{home}/laion/spark.parquet: is a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion": "{home}/laion: is a folder; write {home}/laion/*.parquet in LAION_SHARDS",
    "~/none.parquet": "{home}/none.parquet: no such file; correct LAION_SHARDS",
}


@pytest.mark.parametrize("location", NAMED)
def test_what_names_no_shard_is_a_line(home: Path, location: str) -> None:
    listing = list_shards([location])

    lines = [line.replace("~", str(home)) for line in (*listing.problems, *listing.warnings)]
    assert any(line.startswith(NAMED[location].format(home=home)) for line in lines), lines


def test_a_folder_whose_files_are_found_is_no_problem(home: Path) -> None:
    """`**` goes into the folder that Spark named as a file."""
    listing = list_shards([f"{home}/laion/**/*.parquet"])

    assert list(listing.sources) == FOUND["~/laion/**/*.parquet"]
    assert listing.problems == []


WEB_GLOBS = (
    "https://a.test/data/*.parquet",
    "https://a.test/*/s.parquet",
    "http://127.0.0.1/**/s-*.parquet",
    "https://a.test/data/*",
    "https://a.test/{0..1}/*.parquet",
)


@pytest.mark.parametrize("location", WEB_GLOBS)
def test_a_pattern_on_a_web_server_is_named(location: str) -> None:
    listing = list_shards([location])

    assert listing.sources == {}
    assert listing.problems[0].endswith(
        ": a web server does not list its files; write a range as {00000..00127}, or use hf:// or s3://"
    )


def test_a_star_in_the_query_of_a_url_is_no_pattern() -> None:
    assert list(list_shards(["https://a.test/s.parquet?key=*"]).sources) == ["s"]
