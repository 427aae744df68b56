"""`laion upgrade`: data, history and shards of older versions, and what a dry run says of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from laion_assets.cli.environment import load_settings
from laion_assets.operations.upgrade import list_revisions
from laion_assets.runs.instance import open_instance
from laion_assets.schemas import CLEANING_VERSION, SCHEMA_VERSION
from laion_assets.settings import REPOSITORY
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import SCHEMA_KEY
from laion_assets_tests.integration.conftest import Shell, bring_source, write_source

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unchecked")]


@contextmanager
def open_history(shell: Shell) -> Iterator[dg.DagsterInstance]:
    with shell.enter():
        load_settings()
        with open_instance() as instance:
            yield instance


def make_older(shell: Shell) -> None:
    """Makes tables and history look as a version before left them."""
    settings = shell.settings
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE schema_version SET version = 2")
        connection.execute("DROP TABLE pictures")
        connection.execute("ALTER TABLE images DROP COLUMN split")
        connection.execute("UPDATE shards SET cleaning_version = '0' WHERE shard = 'one'")
    LanceStore(settings.lance_dir).open("images").update_metadata({SCHEMA_KEY: "2"})
    runs = settings.history_dir / "history" / "runs.db"
    with closing(sqlite3.connect(runs)) as history, history:
        # The last revision changes nothing in SQLite.
        history.execute("UPDATE alembic_version SET version_num = 'f495c27d5019'")


def read_versions(shell: Shell) -> tuple[int, str, bool, str]:
    settings = shell.settings
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        ((schema,),) = connection.execute("SELECT version FROM schema_version").fetchall()
        ((rules,),) = connection.execute(
            "SELECT cleaning_version FROM shards WHERE shard = 'one'"
        ).fetchall()
    lance = LanceStore(settings.lance_dir).open("images").metadata[SCHEMA_KEY]
    with open_history(shell) as instance:
        is_current = all(found == newest for _, found, newest in list_revisions(instance))
    return schema, lance, is_current, rules


def test_older_data_and_history_become_those_of_this_version(shell: Shell) -> None:
    for shard in ("one", "two"):
        bring_source(shell, write_source(shell, shard))
    nothing = shell.run("laion", "upgrade", "--dry-run")
    assert nothing.stdout == "nothing to migrate: data and history are of this version\n"
    make_older(shell)

    planned = shell.run("laion", "upgrade", "--dry-run")

    lines = planned.stdout.splitlines()
    assert planned.returncode == 0
    assert lines[0] == f"would be migrated: DuckDB: schema 2 to {SCHEMA_VERSION}"
    assert lines[1] == f"would be migrated: Lance: schema 2 to {SCHEMA_VERSION}"
    assert lines[2].startswith("would be migrated: Dagster's runs: revision f495c27d5019 to ")
    assert lines[3].startswith("loaded by older rules: 1 shard, one first; ")
    assert read_versions(shell) == (2, "2", False, "0")

    done = shell.run("laion", "upgrade")

    assert done.returncode == 0, done.stderr
    assert done.stdout == planned.stdout.replace("would be migrated", "migrated")
    assert read_versions(shell) == (SCHEMA_VERSION, str(SCHEMA_VERSION), True, "0")


@pytest.mark.exhaustive
def test_shards_of_older_rules_are_loaded_again_if_one_says_so(shell: Shell) -> None:
    for shard in ("one", "two"):
        write_source(shell, shard)
    assert shell.run("laion", "backfill", "--all").returncode == 0
    make_older(shell)

    assert shell.run("laion", "upgrade", "--reload").returncode == 0

    assert read_versions(shell) == (SCHEMA_VERSION, str(SCHEMA_VERSION), True, CLEANING_VERSION)
    assert shell.run("laion", "status").returncode == 0


def test_an_upgrade_waits_for_no_run(shell: Shell) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "discover").returncode == 0
    with open_history(shell) as instance:
        job = dg.GraphDefinition("elsewhere").to_job()
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    refused = shell.run("laion", "upgrade")

    assert refused.returncode == 1
    assert f"run {run.run_id} of elsewhere has not ended" in refused.stderr


@pytest.mark.exhaustive
def test_data_of_a_newer_version_are_refused(shell: Shell) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "backfill", "one", "--no-refresh").returncode == 0
    with duckdb.connect(str(shell.settings.database)) as connection:
        connection.execute("UPDATE schema_version SET version = 99")

    refused = shell.run("laion", "upgrade", "--dry-run")

    assert refused.returncode == 1
    assert "written by a newer version of laion-assets" in refused.stderr


def test_each_version_has_a_page_on_how_to_come_to_it() -> None:
    from importlib.metadata import version

    pages = {path.stem for path in Path(REPOSITORY, "docs", "upgrading").glob("*.md")}
    minor = ".".join(version("laion-assets").split(".")[:2])
    assert {"index", minor} <= pages
