"""Locks that Postgres holds: one holder at a time, none after its end, no commit without it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from filelock import Timeout

from laion_assets.releases.cleanup import clean_versions
from laion_assets.settings import find_catalog
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.postgres import CatalogLock, ask, name_catalog, remove_old_rows
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow


ROWS = pa.table({"shard": ["a"]})
HOLD = """
import sys
from laion_assets.stores.postgres import CatalogLock
with CatalogLock(sys.argv[1], "release"):
    print("held", flush=True)
    sys.stdin.read()
"""


def is_free(catalog: str, name: str) -> bool:
    try:
        with CatalogLock(catalog, name).acquire(blocking=False):
            return True
    except Timeout:
        return False


def test_a_lock_has_one_holder_until_it_is_given_back(catalog: str) -> None:
    with CatalogLock(catalog, "release"):
        assert not is_free(catalog, "release")
        assert is_free(catalog, "another")

    assert is_free(catalog, "release")


def test_an_error_gives_the_lock_back(catalog: str) -> None:
    with pytest.raises(ZeroDivisionError), CatalogLock(catalog, "release"):
        _ = 1 / 0

    assert is_free(catalog, "release")


def test_who_waits_gets_the_lock_when_it_is_free(catalog: str) -> None:
    order = []

    def wait() -> None:
        with CatalogLock(catalog, "release"):
            order.append("second")

    with CatalogLock(catalog, "release"):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_killed_process_holds_nothing(catalog: str) -> None:
    command = [sys.executable, "-c", HOLD, catalog]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert not is_free(catalog, "release")
        ((holder,),) = ask(catalog, "stores/catalog_holders")
        assert holder.startswith(f"{process.pid}@")
        process.send_signal(signal.SIGKILL)
        process.wait()

        with CatalogLock(catalog, "release"):
            pass


def test_several_locks_take_one_session(catalog: str, tmp_path: Path) -> None:
    store = LanceStore(tmp_path / "lance")
    with store.lock_shards(["b", "a", "c"]):
        assert len(ask(catalog, "stores/catalog_holders")) == 1
        with pytest.raises(Timeout):
            store.lock_shard("b").acquire(blocking=False)
    with store.lock_shards([]), store.lock_shard("b").acquire(blocking=False):
        pass


def test_two_places_have_locks_of_their_own(catalog: str, tmp_path: Path) -> None:
    assert find_catalog() == catalog
    with LanceStore(tmp_path / "lance").lock("release"):
        with LanceStore(tmp_path / "copy").lock("release").acquire(blocking=False):
            pass
        # They are Postgres', so no file is made.
        assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("how", ["overwrite", "tag", "clean"])
def test_nothing_is_committed_after_the_session_was_lost(
    catalog: str, postgres: Postgres, tmp_path: Path, how: str
) -> None:
    store = LanceStore(tmp_path / "lance")
    store.overwrite("images", ROWS)
    commits: dict[str, Callable[[], object]] = {
        "overwrite": lambda: store.overwrite("images", ROWS),
        "tag": lambda: store.create_tag("images", "one", 1),
        "clean": lambda: clean_versions(store, 0),
    }
    commit = commits[how]

    with store.lock("release"):
        assert postgres.end_sessions(catalog) == 1
        with raises("lock-lost"):
            commit()

    dataset = store.open("images")
    assert (dataset.version, dataset.tags.list()) == (1, {})
    with store.lock("release"):
        commit()


def test_who_waits_goes_on_waiting_while_postgres_starts_again(
    catalog: str, postgres: Postgres
) -> None:
    got = threading.Event()

    def wait() -> None:
        with CatalogLock(catalog, "release"):
            got.set()

    held = CatalogLock(catalog, "release").acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        postgres.stop()
    finally:
        postgres.start()
    with raises("lock-lost"):
        held.check()
    held.release()
    thread.join()

    assert got.is_set()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    catalog = f"postgresql://me:secret@/laion?host={tmp_path}"
    with raises("catalog-unreachable") as raised:
        CatalogLock(catalog, "release", patience_s=0).acquire()

    assert "secret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert name_catalog("postgresql://me:secret@db:5432/laion") == "postgresql://db:5432/laion"


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with raises("cluster-library-missing"):
        CatalogLock("postgresql://db/laion", "release").acquire()


@pytest.mark.parametrize("address", ["db", "mysql://me:secret@db/laion", "postgresql://db"])
def test_another_address_is_refused_and_not_shown(address: str) -> None:
    with raises("catalog-unusable") as raised:
        find_catalog({"LAION_CATALOG": address})
    assert "secret" not in str(raised.value)


def test_without_a_catalog_locks_are_files(tmp_path: Path) -> None:
    with LanceStore(tmp_path / "lance").lock("release"):
        assert (tmp_path / "locks" / "lance-release.lock").exists()


def test_what_checks_of_removed_runs_said_is_gone(catalog: str, postgres: Postgres) -> None:
    postgres.ask("CREATE TABLE asset_check_executions (run_id VARCHAR)", catalog)
    postgres.ask("INSERT INTO asset_check_executions VALUES ('a'), ('b'), ('it''s')", catalog)

    assert ask(catalog, "stores/catalog_delete_checks", runs=["a", "it's"]) == [("a",), ("it's",)]
    assert ask(catalog, "stores/catalog_delete_checks", runs=[]) == []
    remove_old_rows(catalog)

    assert postgres.ask("SELECT run_id FROM asset_check_executions", catalog) == [("b",)]
