"""`laion sql`: the tables of DuckDB, wherever they are, for people and programs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets_tests.conftest import IN_BOTH_PLACES


@pytest.fixture
def ask(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command over the tables of the settings."""
    settings.data_dir.mkdir(parents=True)
    # A command goes to the home, and the tests come back from it.
    monkeypatch.chdir(settings.data_dir)
    monkeypatch.setenv("LAION_HOME", str(settings.data_dir.parent))
    monkeypatch.setenv("LAION_DATA_DIR", settings.bucket or str(settings.data_dir))
    return lambda *arguments: CliRunner().invoke(main, ["sql", *arguments])


@IN_BOTH_PLACES
def test_an_answer_is_csv_or_json(settings: Settings, ask: Callable[..., Result]) -> None:
    with Database.of(settings).write("sheets") as connection:
        connection.execute(
            "INSERT INTO sheets BY NAME SELECT 'k' AS kind, 'ü, \"b\"' AS location, 's' AS sha256,"
            " 'n' AS name_header, 1 AS name_count, ['a'] AS repeated, 0 AS blank_count,"
            " TIMESTAMPTZ '2026-01-02 03:04:05+00' AS changed_at, 0 AS error_count,"
            " 1 AS reading_version"
        )
    query = "SELECT kind, location, etag, repeated, changed_at AT TIME ZONE 'UTC' AS at FROM sheets"
    written = ask(query)
    assert (written.exit_code, written.stderr) == (0, "")
    assert list(csv.DictReader(io.StringIO(written.stdout))) == [
        {"kind": "k", "location": 'ü, "b"', "etag": "", "repeated": "['a']"}
        | {"at": "2026-01-02 03:04:05"}
    ]
    assert json.loads(ask(query, "--json").stdout) == [
        {"kind": "k", "location": 'ü, "b"', "etag": None, "repeated": ["a"]}
        | {"at": "2026-01-02 03:04:05"}
    ]


@IN_BOTH_PLACES
def test_it_changes_nothing(settings: Settings, ask: Callable[..., Result]) -> None:
    with Database.of(settings).write("domain_counts") as connection:
        connection.execute("INSERT INTO domain_counts VALUES ('a.test', 2)")

    refused = ask("DELETE FROM domain_counts")

    assert refused.exit_code == 1
    assert ask("FROM domain_counts").stdout == "domain,image_count\na.test,2\n"


@pytest.mark.slow
def test_only_a_query_that_reads_is_answered(
    settings: Settings, ask: Callable[..., Result], tmp_path: Path
) -> None:
    with Database.of(settings).write():
        pass
    copy = f"COPY (SELECT 1) TO '{tmp_path / 'written.csv'}'"
    attach = f"ATTACH '{tmp_path / 'written.db'}'"
    for query in (copy, f"EXPLAIN ANALYZE {copy}", attach, "SELECT 1; SELECT 2", "", " "):
        refused = ask(query)

        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "is not one query that reads" in refused.stderr
    assert list(tmp_path.glob("written*")) == []
    assert ask("DESCRIBE images").exit_code == 0


def test_what_cannot_be_answered_is_said_in_one_line(
    settings: Settings, ask: Callable[..., Result]
) -> None:
    assert "no database yet" in ask("FROM images").stderr
    with Database.of(settings).write():
        pass
    for query in ("FROM nowhere", "SELEC 1", "SELECT 1 / 'x'"):
        refused = ask(query)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert len(refused.stderr.splitlines()) == 1
        assert refused.stderr.endswith("; correct it\n")
