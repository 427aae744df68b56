"""The commands with `LAION_CATALOG`: Dagster's history and the locks are in Postgres."""

import json
from pathlib import Path

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.conftest import Shell, write_source
from laion_assets_tests.servers.postgres import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unchecked")]


@pytest.fixture
def shell(tmp_path: Path, catalog: str) -> Shell:
    """An empty data folder and an empty database."""
    sources = str(tmp_path / "source" / "*.parquet")
    return Shell(tmp_path / "data", {"LAION_SHARDS": sources, "LAION_CATALOG": catalog})


def ask(shell: Shell) -> dict[str, list[str]]:
    result = shell.run("laion", "doctor", "--json")
    found: dict[str, list[str]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found.setdefault(finding["part"], []).append(finding["text"])
    assert result.returncode == 0, result.stdout
    return found


@pytest.mark.exhaustive
def test_shards_are_loaded_released_and_found(shell: Shell, postgres: Postgres) -> None:
    catalog = shell.variables["LAION_CATALOG"]
    write_source(shell, "one", "a red boat")
    write_source(shell, "two", "a blue boat")
    # To look makes nothing.
    assert "catalog" in ask(shell)
    assert postgres.ask("SELECT to_regclass('runs')", catalog) == [(None,)]

    loaded = shell.run("laion", "backfill", "--all")
    assert loaded.returncode == 0, loaded.stderr

    status = json.loads(shell.run("laion", "status", "--json").stdout)
    assert {shard["shard"]: shard["state"] for shard in status["shards"]} == {
        "one": "done",
        "two": "done",
    }
    assert "red" in shell.run("laion", "search", "red").stdout
    found = ask(shell)
    assert found["catalog"] == [
        f"Postgres {postgres.ask('SHOW server_version')[0][0]} at {shown(catalog)}, its locks work"
    ]
    assert found["history"] == ["in Postgres, 3 runs"]
    assert not list(shell.settings.history_dir.rglob("*.db"))
    # What lies on this machine alone has locks of this machine; no table of Lance has.
    assert not list(shell.data_dir.rglob("locks/lance-*"))

    with shell.enter(), LanceStore(shell.settings.lance_dir).lock("release"):
        assert any("release" in text for text in ask(shell)["locks"])


@pytest.mark.exhaustive
def test_another_machine_sees_the_same_history(shell: Shell, tmp_path: Path) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "discover").returncode == 0

    other = Shell(tmp_path / "other", shell.variables)
    status = json.loads(other.run("laion", "status", "--json").stdout)

    assert [shard["shard"] for shard in status["shards"]] == ["one"]


def test_a_server_that_is_not_there_takes_one_line(shell: Shell, tmp_path: Path) -> None:
    missing = f"postgresql://me:secret@/laion?host={tmp_path}"
    result = Shell(shell.data_dir, {**shell.variables, "LAION_CATALOG": missing}).run(
        "laion", "status"
    )

    assert result.returncode == 1
    assert result.stderr.startswith("laion: LAION_CATALOG: ")
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.stdout + result.stderr


def shown(catalog: str) -> str:
    return "postgresql:///" + catalog.partition("@/")[2].partition("?")[0]
