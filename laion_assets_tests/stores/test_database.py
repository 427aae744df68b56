"""One writer at a time, whoever it is, and readers that wait or go on."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from laion_assets.errors import DatabaseBusyError, LaionError
from laion_assets.schemas import TABLES
from laion_assets.stores.database import Database, stream
from laion_assets.stores.sql import load_sql
from laion_assets_tests.conftest import IN_BOTH_PLACES
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def hold_open(path: Path, program: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """A program keeps the file open: by default one that knows nothing of the queue, to write."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@IN_BOTH_PLACES
def test_a_new_database_has_every_table(database: Database) -> None:
    with database.write():
        pass
    with database.read() as connection:
        query = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'laion'"
        tables = {name for (name,) in connection.execute(query).fetchall()}
    assert tables == set(TABLES)


@IN_BOTH_PLACES
def test_an_exception_rolls_everything_back(database: Database) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO domain_counts VALUES ('a.test', 1)")
    with (  # noqa: PT012 - the transaction is what is tested
        pytest.raises(duckdb.ConversionException),
        database.write() as connection,
    ):
        connection.execute("DELETE FROM domain_counts")
        connection.execute("CREATE TABLE half (a INTEGER)")
        connection.execute("INSERT INTO half VALUES ('no number')")
    with database.read() as connection:
        assert connection.execute("FROM domain_counts").fetchall() == [("a.test", 1)]
        assert ("half",) not in connection.execute("SHOW TABLES").fetchall()


@pytest.mark.exhaustive
def test_a_stranger_is_waited_for(database: Database) -> None:
    with database.write():
        pass
    with hold_open(database.path) as stranger:
        assert stranger.stdin
        # The stranger closes when its input ends, which the waiting process sees by itself.
        closer = subprocess.Popen(["sleep", "0.5"], stdout=stranger.stdin)
        stranger.stdin.close()
        with database.write() as connection:
            connection.execute("INSERT INTO domain_counts VALUES ('a.test', 1)")
        closer.wait()
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM domain_counts").fetchall() == [(1,)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_stranger_that_stays_is_named_in_one_line(database: Database, mode: str) -> None:
    with database.write():
        pass
    impatient = Database(database.path, queue_wait_s=5, stranger_wait_s=0.2)
    with hold_open(database.path) as stranger:
        with pytest.raises(DatabaseBusyError) as error, getattr(impatient, mode)():
            pass
        assert str(database.path) in str(error.value)
        assert f"(PID {stranger.pid})" in str(error.value)
        assert "\n" not in str(error.value)


@IN_BOTH_PLACES
def test_readers_run_side_by_side(database: Database) -> None:
    with database.write():
        pass
    with database.read() as one, database.read() as two:
        for connection in (one, two):
            assert connection.execute("SELECT count(*) FROM images").fetchall() == [(0,)]


def test_a_reader_cannot_write(database: Database) -> None:
    with database.write():
        pass
    with (
        database.read() as connection,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        connection.execute("DELETE FROM images")


@IN_BOTH_PLACES
def test_reading_without_a_database_says_what_to_do(database: Database) -> None:
    with raises("database-missing"), database.read():
        pass


def test_a_file_that_is_no_database_is_left_as_it_is(database: Database) -> None:
    database.path.parent.mkdir(parents=True)
    database.path.write_bytes(b"something else" * 100)
    with pytest.raises(LaionError, match="not a valid DuckDB"), database.write():
        pass
    assert database.path.read_bytes() == b"something else" * 100


@IN_BOTH_PLACES
def test_a_stream_that_is_not_read_to_its_end_blocks_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            "INSERT INTO domain_counts SELECT 'd' || i, i FROM range(300_000) AS numbers(i)"
        )
    with database.read() as connection:
        with stream(connection, "FROM domain_counts", batch_rows=1000) as reader:
            assert reader.read_next_batch().num_rows == 1000
        assert connection.execute("SELECT count(*) FROM domain_counts").fetchall() == [(300_000,)]


READ = """
import sys
from pathlib import Path
from laion_assets.stores.database import Database
with Database(Path(sys.argv[1])).read():
    print("open", flush=True)
    sys.stdin.read()
"""
HOLD_READ_ONLY = HOLD.replace("sys.argv[1]", "sys.argv[1], read_only=True")


@pytest.mark.exhaustive
def test_a_reader_of_the_project_is_no_stranger_to_its_writers(database: Database) -> None:
    with database.write():
        pass
    impatient = Database(database.path, queue_wait_s=60, stranger_wait_s=0)
    with hold_open(database.path, READ) as reader:
        assert reader.stdin
        closer = subprocess.Popen(["sleep", "0.5"], stdout=reader.stdin)
        reader.stdin.close()
        with impatient.write():
            pass
        closer.wait()


@pytest.mark.exhaustive
def test_a_writer_that_waits_for_a_stranger_keeps_no_reader_waiting(database: Database) -> None:
    with database.write():
        pass
    write = f"from pathlib import Path\n{WRITE}"
    with (
        hold_open(database.path, HOLD_READ_ONLY),
        subprocess.Popen([sys.executable, "-c", write, str(database.path)]) as writer,
    ):
        for _ in range(20):
            with Database(database.path, queue_wait_s=5, stranger_wait_s=0).read() as connection:
                assert connection.execute("SELECT count(*) FROM images").fetchall() == [(0,)]
            time.sleep(0.05)
        writer.kill()


WRITE = """
import sys
from laion_assets.stores.database import Database
with Database(Path(sys.argv[1])).write():
    pass
"""


@IN_BOTH_PLACES
def test_no_progress_bar_is_drawn_into_the_log_of_a_run(database: Database) -> None:
    query = "SELECT current_setting('enable_progress_bar')"
    with database.write() as connection:
        written = connection.execute(query).fetchall()
    with database.read() as connection:
        read = connection.execute(query).fetchall()
    assert written == read == [(False,)]


@pytest.mark.parametrize("is_writing", [True, False], ids=["writing", "reading"])
def test_what_does_not_fit_into_memory_goes_beside_the_file(
    database: Database, tmp_path: Path, is_writing: bool
) -> None:
    """Not into the folder that a program was started in: that may be read-only, or another disk."""
    query = "SELECT current_setting('temp_directory')"
    for folder in (database.path.parent, tmp_path / "another"):
        place = Database(folder / "laion.duckdb")
        with place.write():
            pass
        with (place.write if is_writing else place.read)() as connection:
            assert connection.execute(query).fetchall() == [(f"{place.path}.tmp",)]


@pytest.mark.exhaustive
def test_an_engine_that_used_one_folder_for_it_is_not_used_for_another(
    database: Database, tmp_path: Path
) -> None:
    other = Database(tmp_path / "another" / "laion.duckdb")
    big = "SELECT count(*) FROM (SELECT DISTINCT n, md5(n::VARCHAR) FROM range(1500000) t(n))"
    with database.write() as connection:
        connection.execute("SET memory_limit = '60MB'")
        assert connection.execute(big).fetchall() == [(1_500_000,)]
    with other.write() as connection:
        query = "SELECT current_setting('temp_directory')"
        assert connection.execute(query).fetchall() == [(f"{other.path}.tmp",)]


@IN_BOTH_PLACES
def test_rows_come_in_their_order_after_a_load_that_left_it_open(database: Database) -> None:
    with database.write() as connection:
        connection.execute(load_sql("images/set_order_free"))
    with database.read() as connection:
        query = "SELECT current_setting('preserve_insertion_order')"
        assert connection.execute(query).fetchall() == [(True,)]


def test_a_file_that_is_written_anew_has_the_same_rows_and_no_others(tmp_path: Path) -> None:
    database = Database(tmp_path / "laion.duckdb")
    with database.write() as connection:
        connection.execute("CREATE TABLE artists AS SELECT * FROM (VALUES ('b'), ('a')) t(name)")
        connection.execute(
            "INSERT INTO rejected_images SELECT 's', n, 'https://secret.test/' || n, NULL, 'x' "
            "FROM range(50000) t(n)"
        )
    with database.write() as connection:
        connection.execute("DELETE FROM rejected_images WHERE row_index > 2")
    size = database.path.stat().st_size

    database.rewrite()

    assert database.path.stat().st_size < size
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "laion.duckdb",
        "laion.duckdb.lock",
    ]
    with database.read() as connection:
        assert connection.sql("SELECT name FROM artists").fetchall() == [("b",), ("a",)]
        query = "SELECT row_index FROM rejected_images"
        assert connection.sql(query).fetchall() == [(0,), (1,), (2,)]
        tables = connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()
        assert {name for (name,) in tables} == {*TABLES, "artists"}
    with database.write() as connection:
        connection.execute("DELETE FROM rejected_images")


@pytest.mark.exhaustive
def test_a_file_that_another_program_has_is_not_written_anew(tmp_path: Path) -> None:
    database = Database(tmp_path / "laion.duckdb", stranger_wait_s=0.2)
    with database.write():
        pass
    with hold_open(database.path), pytest.raises(DatabaseBusyError):
        database.rewrite()
    with database.read() as connection:
        assert connection.sql("SELECT count(*) FROM images").fetchall() == [(0,)]
