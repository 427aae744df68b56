"""What `laion demo` leaves behind, and what can be asked of it."""

import json
import sqlite3

import duckdb
import lance
import pytest

from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.search.search import open_search
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.conftest import DEMO_ROWS, SAMPLE_SHARD, Shell, count_rows
from laion_assets_tests.pipeline import refresh

# The demo takes as long as a tenth of all quicker tests.
pytestmark = pytest.mark.exhaustive


def test_samples_that_are_made_again_change_no_row(shell: Shell) -> None:
    folder = shell.data_dir / "shards"
    shell.variables["LAION_SHARDS"] = str(folder / "*.parquet")
    spec = SampleSpec(shard_count=1, rows_per_shard=100, has_pictures=True)
    found = []
    for _ in range(2):
        write_sample_shards(folder, ["Claude Monet"], spec)
        result = shell.run("laion", "backfill", "--all", "--pictures", "--no-refresh")
        assert result.returncode == 0, result.stderr
        refresh(shell.settings)
        found.append(count_rows(shell.settings))
    assert found[0] == found[1]
    assert len(found[0][0]) == 1
    assert len(lance.dataset(shell.settings.lance_dir / "images.lance").tags.list()) == 1


def test_a_second_demo_changes_no_row(whole_demo: Shell) -> None:
    before = count_rows(whole_demo.settings)
    assert len(before[0]) == 7
    assert sum(before[0].values()) == 139_288
    result = whole_demo.run("laion", "demo")
    assert result.returncode == 0, result.stderr
    assert count_rows(whole_demo.settings) == before
    assert before[0] == before[1]
    assert len(lance.dataset(whole_demo.settings.lance_dir / "images.lance").tags.list()) == 1


IN_BOTH_SIZES = pytest.mark.parametrize(
    "size", ["demo", pytest.param("whole_demo", marks=pytest.mark.exhaustive)]
)


@IN_BOTH_SIZES
def test_every_name_of_the_demo_counts_as_fts5_counts_it(
    request: pytest.FixtureRequest, size: str
) -> None:
    demo: Shell = request.getfixturevalue(size)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE images_fts USING fts5(caption)")
    with duckdb.connect(str(demo.settings.database), read_only=True) as database:
        captions = database.execute("SELECT caption FROM images").fetchall()
        counts = database.execute("SELECT name, image_count FROM entity_counts").fetchall()
    connection.executemany("INSERT INTO images_fts VALUES (?)", captions)
    query = "SELECT count(*) FROM images_fts WHERE images_fts MATCH '\"' || ? || '\"'"
    for name, count in counts:
        ((expected,),) = connection.execute(query, (name.replace('"', '""'),)).fetchall()
        assert (name, count) == (name, expected)
    connection.close()
    assert sum(count for _, count in counts) > sum(count_rows(demo.settings)[0].values()) // 140


def test_dagster_and_laion_share_one_history(demo: Shell) -> None:
    result = demo.run(
        *("dagster", "asset", "materialize", "-m", "laion_assets.definitions"),
        *("--select", "images", "--partition", SAMPLE_SHARD),
    )
    assert result.returncode == 0, result.stderr
    runs = demo.run("dagster", "run", "list", "--limit", "20")
    assert "ingest_shards" in runs.stdout
    assert "refresh_counts" in runs.stdout
    status = demo.run("laion", "status").stdout
    assert status.count("done") == 7
    assert "Last release: 20" in status
    # The other tests find the demo as it was.
    missing = demo.run("laion", "backfill", "--missing")
    assert missing.returncode == 0, missing.stderr
    again = demo.run("laion", "status")
    assert again.returncode == 0, again.stdout


def test_search_answers_with_all_words_or_with_a_phrase(demo: Shell) -> None:
    words = demo.run("laion", "search", "red dress", "--limit", "2")
    assert words.returncode == 0, words.stderr
    for caption in words.stdout.split("\n\n")[1:]:
        assert {"red", "dress"} <= set(caption.lower().split())
    phrase = demo.run("laion", "search", '"sherlock holmes"')
    assert "sherlock holmes" in phrase.stdout.lower()


@pytest.mark.parametrize(
    # Among few pictures there are few boats.
    ("size", "boats"),
    [("demo", 1), pytest.param("whole_demo", 5, marks=pytest.mark.exhaustive)],
)
def test_the_pictures_of_the_demo_are_found_by_meaning_with_no_encoder_set(
    request: pytest.FixtureRequest, size: str, boats: int
) -> None:
    demo: Shell = request.getfixturevalue(size)
    found = demo.run("laion", "search", "red boat at sunset", "--by", "meaning", "--limit", "5")
    assert found.returncode == 0, found.stderr
    captions = [part.splitlines()[0] for part in found.stdout.split("\n\n")[1:]]
    assert len(captions) == 5
    assert all("boat" in caption.lower() for caption in captions[:boats]), captions


@IN_BOTH_SIZES
def test_a_name_has_as_many_hits_as_images(request: pytest.FixtureRequest, size: str) -> None:
    """The bundled names have none of the characters that Lance and FTS5 fold differently."""
    demo: Shell = request.getfixturevalue(size)
    search = open_search(LanceStore(demo.settings.lance_dir))
    with duckdb.connect(str(demo.settings.database), read_only=True) as database:
        counts = database.execute("SELECT name, image_count FROM entity_counts").fetchall()
    phrases = {name: '"' + name.replace('"', " ") + '"' for name, _ in counts}
    found = {n: search.find(phrase).total for n, phrase in phrases.items()}
    assert found == dict(counts)


def test_a_release_is_listed_shown_and_compared(demo: Shell) -> None:
    listed = demo.run("laion", "release", "list").stdout.splitlines()
    (tag, *_, digest) = listed[1].split()
    shown = demo.run("laion", "release", "show").stdout
    record = json.loads(demo.run("laion", "release", "show", tag, "--json").stdout)
    assert record["content_sha256"] == digest
    assert record["row_counts"]["images"] == sum(count_rows(demo.settings)[1].values())
    assert len(record["shards"]) == 7
    for shard in record["shards"]:
        assert f"{shard['shard']} " in shown
        assert shard["sha256"] in shown
    diff = demo.run("laion", "release", "diff", tag, tag, "--json")
    assert json.loads(diff.stdout)["is_same_content"] is True
    assert "shards changed: 0" in demo.run("laion", "release", "diff", tag, tag).stdout


@pytest.mark.parametrize("command", ["show", "delete"])
def test_a_release_that_is_not_there_is_said_in_one_line(demo: Shell, command: str) -> None:
    result = demo.run("laion", "release", command, "1999-01-01")
    assert result.returncode == 1
    assert "no release '1999-01-01'; the newest is 20" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("query", ['"', "a AND (", "*", "", "caption:x OR", "'; DROP TABLE images"])
def test_nothing_in_a_query_is_an_error(demo: Shell, query: str) -> None:
    result = demo.run("laion", "search", query)
    assert result.returncode == 0
    # What was not understood is said, a line each.
    assert all(line.startswith("laion: ") for line in result.stderr.splitlines())


def test_the_raw_file_has_a_record_of_its_origin(demo: Shell) -> None:
    record = json.loads((demo.settings.raw_dir / f"{SAMPLE_SHARD}.json").read_text())
    assert record["source"] == str(demo.data_dir / "shards" / f"{SAMPLE_SHARD}.parquet")
    assert record["file_rows"] == DEMO_ROWS
