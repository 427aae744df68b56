"""One line for every error: what, where, what to do."""

import errno
import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from laion_assets.errors import ShardError
from laion_assets.settings import SettingsError
from laion_assets.stores.reasons import give_reason

FULL = "the disk is full; make room, then run it again"
DENIED = "permission denied; give this user access to it, then run it again"
LANCE_TEXT = (
    "LanceError(IO): Generic LocalFileSystem error: Unable to open file {place}: {words}, "
    "/root/.cargo/registry/src/lance-io/src/object_store.rs:123:45"
)
ERRORS: dict[str, tuple[Exception, str]] = {
    "ours": (ShardError("/s.parquet: is empty;\n fetch it again"), "is empty; fetch it again"),
    "setting": (SettingsError("LAION_SHARDS: no"), "LAION_SHARDS: no"),
    "Python": (OSError(errno.ENOSPC, "No space left", "/d/raw"), f"/d/raw: {FULL}"),
    "Python without a path": (OSError(errno.EMFILE, "Too many"), "(LAION_DATA_DIR): too many open"),
    "read-only": (OSError(errno.EROFS, "Read-only", "/d"), "/d: the file system is read-only; "),
    "quota": (OSError(errno.EDQUOT, "Quota", "/d"), "/d: the disk quota is used up; "),
    "Arrow": (
        pa.ArrowException("Error writing. Detail: [errno 28] No space left on device"),
        FULL,
    ),
    "Lance with a number": (
        OSError(LANCE_TEXT.format(place="/d/l/1.lance", words="No space left (os error 28)")),
        f"/d/l/1.lance: {FULL}",
    ),
    "Lance with words": (
        RuntimeError(LANCE_TEXT.format(place="/d/l/1.lance", words="Permission denied")),
        f"/d/l/1.lance: {DENIED}",
    ),
    "DuckDB": (
        duckdb.IOException('IO Error: Cannot open file "/d/a b.duckdb": Permission denied'),
        f"/d/a b.duckdb: {DENIED}",
    ),
    "DuckDB's memory": (duckdb.OutOfMemoryException("Out of Memory Error: …"), "out of memory; "),
    "SQLite": (sqlite3.OperationalError("database or disk is full"), FULL),
    "another error of DuckDB": (
        duckdb.BinderException("Binder Error: no column x\n\nLINE 1: SELECT x"),
        "DuckDB: Binder Error: no column x",
    ),
    "bug": (AssertionError(), "internal error (AssertionError); please report it"),
    "bug with a text": (
        RuntimeError("Query\ninterrupted"),
        "internal error (RuntimeError: Query interrupted); please report it",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_line_with_place_and_remedy(case: str) -> None:
    error, reason = ERRORS[case]

    assert reason in give_reason(error)
    assert "\n" not in give_reason(error)


def test_the_cause_is_looked_for_behind_a_wrapper() -> None:
    error = RuntimeError("the tables could not be made")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/d/history")

    assert give_reason(error) == f"/d/history: {FULL}"


def test_a_bug_says_where_our_code_was() -> None:
    from laion_assets.stores.sql import load_sql

    with pytest.raises(FileNotFoundError) as raised:
        load_sql("images/nothing")

    reason = give_reason(raised.value)
    assert reason.startswith("internal error (FileNotFoundError in stores/sql.py:")


def test_what_duckdb_says_of_a_folder_that_is_none_has_its_path(tmp_path: Path) -> None:
    with pytest.raises(duckdb.IOException) as raised:
        duckdb.connect(str(tmp_path / "nothing" / "x.duckdb"))

    assert str(tmp_path / "nothing" / "x.duckdb") in give_reason(raised.value)
