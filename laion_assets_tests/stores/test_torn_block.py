"""A DuckDB file whose writer was killed in the middle of a block that the file uses."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from laion_assets.stores.database import Database
from laion_assets_tests.raises import raises
from laion_assets_tests.stores.test_database import hold_open

HEADERS, BLOCK, PAGE = 3 * 4096, 262_144, 4096

HOLD_TO_READ = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.lockf(file, fcntl.LOCK_SH)
print("open", flush=True)
sys.stdin.read()
"""


def write(database: Database, number: int) -> None:
    with database.write() as connection:
        connection.execute("DELETE FROM domain_counts")
        query = "INSERT INTO domain_counts SELECT concat(i, '.test'), $n FROM range(2000) t(i)"
        connection.execute(query, {"n": number})


def read(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        query = "SELECT image_count, count(*) FROM domain_counts GROUP BY ALL"
        return connection.execute(query).fetchall()


def tear(old: bytes, new: bytes) -> Iterator[bytes]:
    """Makes files in which a write of blocks over `old` did not come to its end.

    A process that is killed has written the first pages; a machine that stops, any.
    """
    rng = random.Random(1)  # noqa: S311
    blocks = range(HEADERS, min(len(old), len(new)), BLOCK)
    for number in range(30):
        torn = bytearray(old)
        for block in blocks:
            cut = rng.randrange(4) if number < 10 else 0
            for page in range(BLOCK // PAGE):
                if page < cut or (number >= 10 and rng.random() < 0.5):
                    place = slice(block + page * PAGE, block + (page + 1) * PAGE)
                    torn[place] = new[place]
        yield bytes(torn)


def is_readable(path: Path) -> bool:
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error as error:
        return "does not match stored checksum" not in str(error)
    return True


@pytest.fixture
def contents(database: Database) -> tuple[bytes, bytes]:
    """The bytes before and after the writer that is killed."""
    for number in range(4):
        write(database, number)
    old = database.path.read_bytes()
    write(database, 4)
    return old, database.path.read_bytes()


@pytest.mark.slow
def test_a_torn_block_gives_the_rows_from_before(
    database: Database, contents: tuple[bytes, bytes]
) -> None:
    note = database.path.with_name("laion.duckdb.writing")
    torn_count = 0
    for torn in tear(*contents):
        note.touch()
        database.path.write_bytes(torn)
        torn_count += not is_readable(database.path)
        assert read(database) == [(3, 2000)]
    assert torn_count > 5
    write(database, 5)
    assert read(database) == [(5, 2000)]
    assert not note.exists()


@pytest.mark.slow
def test_a_torn_block_gives_the_rows_of_the_log(database: Database, tmp_path: Path) -> None:
    for number in range(4):
        write(database, number)
    log = database.path.with_name("laion.duckdb.wal")
    stranger = duckdb.connect(str(database.path))
    stranger.execute("UPDATE domain_counts SET image_count = 4")
    old = database.path.read_bytes()
    shutil.copy(log, tmp_path / "log")
    stranger.close()
    new = database.path.read_bytes()
    torn_count = 0
    for torn in tear(old, new):
        database.path.write_bytes(torn)
        shutil.copy(tmp_path / "log", log)
        torn_count += not is_readable(database.path)
        assert read(database) == [(4, 2000)]
    assert torn_count > 5


def test_a_block_that_is_wrong_for_another_reason_stays_so(
    database: Database, contents: tuple[bytes, bytes]
) -> None:
    _, new = contents
    wrong = bytearray(new)
    wrong[HEADERS + 100] ^= 1
    database.path.write_bytes(wrong)
    with raises("database-unreadable"):
        read(database)
    assert database.path.read_bytes() == wrong


def test_a_wrong_header_stays_so(database: Database, contents: tuple[bytes, bytes]) -> None:
    _, new = contents
    wrong = bytearray(new)
    wrong[PAGE + 100] ^= 1
    database.path.write_bytes(wrong)
    database.path.with_name("laion.duckdb.writing").touch()
    with raises("database-unreadable"):
        read(database)
    assert database.path.read_bytes() == wrong


def test_a_torn_block_waits_until_no_other_program_has_the_file(
    database: Database, contents: tuple[bytes, bytes]
) -> None:
    note = database.path.with_name("laion.duckdb.writing")
    for torn in tear(*contents):
        database.path.write_bytes(torn)
        note.touch()
        if not is_readable(database.path):
            break
    with hold_open(database.path, HOLD_TO_READ), raises("database-not-mendable"):
        read(database)
    assert database.path.read_bytes() == torn
    assert read(database) == [(3, 2000)]


def test_a_writer_leaves_a_note_until_it_has_closed_the_file(database: Database) -> None:
    note = database.path.with_name("laion.duckdb.writing")
    with database.write():
        assert note.exists()
    assert not note.exists()
    with database.read():
        assert not note.exists()
