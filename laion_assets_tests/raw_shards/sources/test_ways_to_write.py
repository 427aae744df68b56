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
}


@pytest.mark.parametrize("text", WRITTEN, ids=repr)
def test_locations_are_read_as_they_are_meant(text: str) -> None:
    assert read(text) == WRITTEN[text]


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
    "~/laion/spark.parquet": "{home}/laion/spark.parquet: a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion/spark.parquet/": "{home}/laion/spark.parquet: a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion/s*.parquet": "{home}/laion/spark.parquet: a folder; write "
    "{home}/laion/spark.parquet/*.parquet in LAION_SHARDS",
    "~/laion": "{home}/laion: a folder; write {home}/laion/*.parquet in LAION_SHARDS",
    "~/none.parquet": "{home}/none.parquet: no such file; correct LAION_SHARDS",
}


@pytest.mark.parametrize("location", NAMED)
def test_what_names_no_shard_is_a_line(home: Path, location: str) -> None:
    listing = list_shards([location])

    lines = [line.replace("~", str(home)) for line in (*listing.problems, *listing.warnings)]
    assert any(line.startswith(NAMED[location].format(home=home)) for line in lines), lines
