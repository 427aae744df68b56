"""A SQLite file is replaced whole or not at all."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from laion_assets.stores.sqlite_file import (
    check_foreign_keys,
    check_meanwhile,
    check_pages,
    check_replaceable,
    copy_tables,
    insert_columns,
    make_temporary,
    replace_files,
    write_sqlite,
)
from laion_assets_tests.raises import raises


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_get_their_names_together(tmp_path: Path) -> None:
    paths = tmp_path / "new" / "a", tmp_path / "new" / "b"
    with replace_files(*paths) as (a, b):
        a.write_text("1", encoding="utf-8")
        b.write_text("2", encoding="utf-8")
        assert not any(path.exists() for path in paths)

    assert [path.read_text("utf-8") for path in paths] == ["1", "2"]
    assert list_names(tmp_path / "new") == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_or_is_stopped_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a"
    path.write_text("before", encoding="utf-8")

    def write_half() -> None:
        with replace_files(path) as (a,):
            a.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        write_half()

    assert path.read_text("utf-8") == "before"
    assert list_names(tmp_path) == ["a"]


def test_the_leftover_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    with replace_files(tmp_path / "a") as (a,):
        a.write_text("half", encoding="utf-8")
        with replace_files(tmp_path / "a") as (again,):
            assert not again.exists()
            again.write_text("whole", encoding="utf-8")
        a.write_text("2", encoding="utf-8")

    assert (tmp_path / "a").read_text("utf-8") == "2"


def test_only_files_made_here_may_be_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "nothing")
    with write_sqlite(tmp_path / "ours") as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("commit")
    check_replaceable(tmp_path / "ours")
    with closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "empty").touch()

    for name in ("other", "empty", "."):
        with raises("export-place-taken"):
            check_replaceable(tmp_path / name)


@pytest.mark.parametrize("row_count", [0, 1, 332, 333, 334, 1_000])
def test_rows_are_inserted_in_their_order(tmp_path: Path, row_count: int) -> None:
    """Whether they fill the last statement or not."""
    rows = [(n, f"row {n}", None if n % 2 else n / 4) for n in range(row_count)]
    with write_sqlite(tmp_path / "a") as connection:
        connection.execute("CREATE TABLE t (a, b, c)")
        columns = [[row[place] for row in rows] for place in range(3)]
        insert_columns(connection, "INSERT INTO t VALUES {rows}", columns)
        connection.execute("commit")

    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        assert connection.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows


def test_a_row_without_its_parent_is_found(tmp_path: Path) -> None:
    with write_sqlite(tmp_path / "a") as connection:
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE child (id REFERENCES parent (id))")
        connection.execute("commit")
    check_foreign_keys(tmp_path / "a")

    with closing(sqlite3.connect(tmp_path / "a")) as connection, connection:
        connection.execute("INSERT INTO child VALUES (7)")

    with raises("export-row-without-parent"):
        check_foreign_keys(tmp_path / "a")


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with write_sqlite(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 100,)] * 1000)
        connection.execute("commit")
    check_pages(path)

    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))

    with raises("export-damaged"):
        check_pages(path)


def index_rows(path: Path) -> None:
    with write_sqlite(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
        connection.executemany("INSERT INTO t (x) VALUES (?)", [(n % 7,) for n in range(20_000)])
        connection.execute("CREATE INDEX i ON t (x)")
        connection.execute("commit")


def test_a_table_is_checked_while_others_are_added(tmp_path: Path) -> None:
    path = tmp_path / "a ?#%.db"
    index_rows(path)

    with check_meanwhile(path, "t") as checking:
        with write_sqlite(path) as connection:
            connection.execute("CREATE TABLE more (x)")
            connection.executemany("INSERT INTO more VALUES (?)", [("x" * 100,)] * 20_000)
            connection.execute("commit")
        checking.result()

    check_pages(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_index_that_lacks_a_row_is_found(tmp_path: Path) -> None:
    """Each of its pages is whole: the check of the pages finds nothing."""
    path = tmp_path / "a"
    index_rows(path)
    of_index = "FROM sqlite_schema WHERE name = 'i'"
    with closing(sqlite3.connect(path)) as connection, connection:
        (index,) = connection.execute(f"SELECT * {of_index}").fetchall()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"DELETE {of_index}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO t (x) VALUES (3)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", index)

    check_pages(path)
    with raises("export-damaged"), check_meanwhile(path, "t") as checking:
        checking.result()


def test_the_rows_of_a_table_are_replaced_by_those_of_another_file(tmp_path: Path) -> None:
    tables = ('CREATE TABLE "t 1" (id INTEGER PRIMARY KEY, x)', "CREATE TABLE other (x)")
    with write_sqlite(tmp_path / "a") as theirs:
        for table in tables:
            theirs.execute(table)
        theirs.executemany('INSERT INTO "t 1" VALUES (?, ?)', [(7, "new"), (8, None)])
        theirs.execute("commit")
    with write_sqlite(tmp_path / "b") as connection:
        for table in tables:
            connection.execute(table)
        connection.execute("INSERT INTO \"t 1\" VALUES (1, 'old')")
        connection.execute("INSERT INTO other VALUES ('own')")
        copy_tables(connection, tmp_path / "a", ["t 1"])
        connection.execute("commit")

    with closing(sqlite3.connect(tmp_path / "b")) as connection:
        assert connection.execute('SELECT * FROM "t 1"').fetchall() == [(7, "new"), (8, None)]
        assert connection.execute("SELECT * FROM other").fetchall() == [("own",)]


def test_a_temporary_file_is_gone_afterwards_and_before(tmp_path: Path) -> None:
    with make_temporary(tmp_path / ".a.unfinished", "words") as left:
        left.write_text("half", encoding="utf-8")
        with make_temporary(tmp_path / ".a.unfinished", "words") as again:
            assert again == left
            assert not again.exists()
    assert list_names(tmp_path) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """SQLite says the same when a file has reached the pages that it may have."""
    with raises("export-not-written"), write_sqlite(tmp_path / "a") as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("pragma max_page_count = 8")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 100)
