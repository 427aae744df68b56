"""`laion` and `dagster`, run as separate processes."""

import json
import sqlite3
from collections import Counter
from pathlib import Path

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.settings import Settings
from laion_assets_tests.integration.conftest import SAMPLE_SHARD, Shell


def write_source(shell: Shell, shard: str, caption: str = "a caption", rows: int = 3) -> Path:
    path = Path(shell.variables["LAION_SHARDS"]).parent / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://{shard}.test/{row}.jpg" for row in range(rows)]
    pq.write_table(pa.table({"URL": urls, "TEXT": [caption] * rows}), path)
    return path


def count_rows(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the rows of each shard in DuckDB and in Lance."""
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        rows = connection.execute("SELECT shard, count(*) FROM images GROUP BY shard").fetchall()
    shards = lance.dataset(settings.lance_dir / "images.lance").to_table(columns=["shard"])
    return dict(rows), dict(Counter(shards["shard"].to_pylist()))


def test_a_second_demo_changes_no_row(demo: Shell) -> None:
    before = count_rows(demo.settings)
    assert len(before[0]) == 7
    result = demo.run("laion", "demo")
    assert result.returncode == 0, result.stderr
    assert count_rows(demo.settings) == before
    assert before[0] == before[1]
    assert len(lance.dataset(demo.settings.lance_dir / "images.lance").tags.list()) == 1


def test_every_name_of_the_demo_counts_as_fts5_counts_it(demo: Shell) -> None:
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
    assert sum(count for _, count in counts) > 1000


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


def test_search_answers_with_all_words_or_with_a_phrase(demo: Shell) -> None:
    words = demo.run("laion", "search", "red dress", "--limit", "2")
    assert words.returncode == 0, words.stderr
    for caption in words.stdout.split("\n\n")[1:]:
        assert {"red", "dress"} <= set(caption.lower().split())
    phrase = demo.run("laion", "search", '"sherlock holmes"')
    assert "sherlock holmes" in phrase.stdout.lower()


@pytest.mark.parametrize("query", ['"', "a AND (", "*", "", "caption:x OR", "'; DROP TABLE images"])
def test_nothing_in_a_query_is_an_error(demo: Shell, query: str) -> None:
    result = demo.run("laion", "search", query)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_bad_shard_fails_alone_and_the_exit_status_says_so(shell: Shell) -> None:
    write_source(shell, "good")
    bad = write_source(shell, "bad")
    bad.write_bytes(b"<html>")
    result = shell.run("laion", "backfill", "--all")
    assert result.returncode == 1
    assert f"failed bad: {bad}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "release 20" in result.stderr
    assert count_rows(shell.settings) == ({"good": 3}, {"good": 3})
    status = shell.run("laion", "status").stdout
    assert [line.split()[0] for line in status.splitlines() if "failed" in line] == ["bad"]


def test_missing_shards_are_those_that_are_not_done(shell: Shell) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "discover").stdout == "one\n"
    shell.run("laion", "backfill", "one", "--no-refresh")
    write_source(shell, "two")
    result = shell.run("laion", "backfill", "--missing", "--no-refresh")
    assert "done   two" in result.stderr
    assert "done   one" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["backfill"], 2, "name the shards"),
        (["backfill", "nobody"], 2, "no shard 'nobody'"),
        (["backfill", "--all", "--missing"], 2, "name the shards"),
        (["search", "x"], 1, "laion: no release yet"),
        (["search"], 2, "Missing argument"),
        (["nonsense"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_and_failure_have_their_own_status(
    shell: Shell, arguments: list[str], status: int, reason: str
) -> None:
    result = shell.run("laion", *arguments)
    assert result.returncode == status
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_setting_that_cannot_be_used_is_named_in_one_line(shell: Shell) -> None:
    shell.variables["LAION_SHEET_IMAGES"] = "x.csv"
    result = shell.run("laion", "status")
    assert result.returncode == 1
    assert result.stderr.startswith("laion: LAION_SHEET_IMAGES: ")
    assert result.stderr.count("\n") == 1


def test_twelve_processes_at_once_lose_and_double_nothing(shell: Shell) -> None:
    shards = [f"shard-{number}" for number in range(10)]
    for number, shard in enumerate(shards):
        write_source(shell, shard, rows=100 + number)
    shell.run("laion", "discover")
    commands = [
        ["laion", "backfill", shard, "--no-refresh"] for shard in [*shards, *shards[:1] * 2]
    ]
    results = shell.run_all(commands)
    assert [(r.returncode, r.stderr) for r in results if r.returncode] == []
    expected = {shard: 100 + number for number, shard in enumerate(shards)}
    assert count_rows(shell.settings) == (expected, expected)


def test_definitions_are_valid(shell: Shell) -> None:
    result = shell.run("dagster", "definitions", "validate")
    assert result.returncode == 0, result.stderr
    assert "All code locations passed validation" in result.stderr


def test_a_kind_of_names_needs_no_code(shell: Shell, tmp_path: Path) -> None:
    sheet = tmp_path / "brands.csv"
    sheet.write_text("brand\nAcme\n", encoding="utf-8")
    shell.variables["LAION_SHEET_BRANDS"] = str(sheet)
    write_source(shell, "one", "an acme anvil")
    result = shell.run("laion", "backfill", "--all")
    assert result.returncode == 0, result.stderr
    with duckdb.connect(str(shell.settings.database), read_only=True) as connection:
        query = "SELECT name, image_count FROM entity_counts WHERE kind = 'brands'"
        assert connection.execute(query).fetchall() == [("Acme", 3)]


def test_the_raw_file_has_a_record_of_its_origin(demo: Shell) -> None:
    record = json.loads((demo.settings.raw_dir / f"{SAMPLE_SHARD}.json").read_text())
    assert record["source"] == str(demo.data_dir / "shards" / f"{SAMPLE_SHARD}.parquet")
    assert record["file_rows"] == 20_000
