import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Formatter

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.schemas import Column
from laion_assets.stores.sql import (
    add_column,
    create_table,
    load_sql,
    quote_identifier,
    quote_literal,
    quote_path,
)

STATEMENTS = sorted(
    f"{path.parts[-3]}/{path.stem}" for path in Path(str(files("laion_assets"))).rglob("*.sql")
)
DUMMIES = {
    "column": "c",
    "definition": "c VARCHAR",
    "table": '"t"',
    "stored": '"s"',
    "columns": '"c" VARCHAR',
    "path": "'p'",
    "counts": "count(c)",
    "validation": "'strict'",
    "score": '"s"',
    "name": "'n'",
    "keys": '"k"',
    "are_outdated": "false",
    "are_theirs": "true",
    "split": "'train'",
    "type": "VARCHAR",
    "value": "'v'",
    "key": '"k"',
    "mode": "READ_ONLY",
    "query": "SELECT 1",
    "images": '"i"',
    "pictures": '"p"',
    "rejected_images": '"r"',
    "sums": "(SELECT 1)",
    "view": '"v"',
    "notes": '"n"',
    "types": "'VARCHAR'",
    "are_not_noted": "true",
    "values": "1",
}
# What only SQLite understands; the tests of the export and of its file run them.
SQLITE_STATEMENTS = {
    *(s for s in STATEMENTS if s.split("/")[1].startswith("fts5_")),
    *("exports/count_matches", "exports/create_images_fts"),
    *("exports/create_names", "exports/insert_name", "exports/insert_image"),
    *("stores/sqlite_foreign_keys", "stores/sqlite_orphan"),
}
VIEW_DUMMIES = {**DUMMIES, "columns": '"c"'}
NASTY_TEXTS = {
    "plain": "plain",
    "double quote": 'a"b',
    "single quote": "O'Hara",
    "both quotes": "\"'\"'",
    "only a quote": "'",
    "backslash": "a\\'b\\",
    "injection": "x'; DROP TABLE victim; --",
    "identifier injection": 'x"; DROP TABLE victim; --',
    "comment": "/* a */ -- b",
    "line breaks": "a\nb\r\nc",
    "unicode": "葛飾北斎 é e\u0301 \u202e 🦊",
    "dollar": "$shard $1 ? :a",
    "braces": "{columns} {}",
    "keyword": "select",
    "blanks": "  a  ",
}
PATH_NAMES = {
    "bracket": "a[0-9].parquet",
    "star": "a*.parquet",
    "question mark": "a?.parquet",
    "double star": "a**.parquet",
    "braces": "a{1,2}.parquet",
    "negated bracket": "a[!b].parquet",
    "open bracket": "a[1.parquet",
    "quote": "O'Hara's.parquet",
    "spaces": " a  b .parquet",
    "unicode": "é🦊.parquet",
    "percent": "a%31.parquet",
    "hash": "a#1.parquet",
}
DECOYS = ("a1.parquet", "a12.parquet", "ab.parquet", "a2.parquet", "a.parquet")


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        yield engine


@pytest.fixture
def connection(engine: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in a transaction, which the test leaves as empty as it found it."""
    engine.execute("BEGIN")
    engine.execute("CREATE TABLE victim (x INTEGER)")
    yield engine
    engine.execute("ROLLBACK")


def has_victim(connection: duckdb.DuckDBPyConnection) -> bool:
    return ("victim",) in connection.execute("SHOW TABLES").fetchall()


@pytest.mark.parametrize("text", NASTY_TEXTS.values(), ids=list(NASTY_TEXTS))
def test_a_literal_is_the_text_itself(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    rows = connection.execute(f"SELECT {quote_literal(text)}").fetchall()

    assert rows == [(text,)]
    assert has_victim(connection)


def test_the_empty_text_is_a_literal(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute(f"SELECT {quote_literal('')}").fetchall() == [("",)]


@pytest.mark.parametrize("name", NASTY_TEXTS.values(), ids=list(NASTY_TEXTS))
def test_an_identifier_is_the_name_itself(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    quoted = quote_identifier(name)
    connection.execute(f"CREATE TABLE {quoted} ({quoted} INTEGER)")
    connection.execute(f"INSERT INTO {quoted} VALUES (1)")
    found = connection.execute(f"SELECT {quoted} FROM {quoted}")

    assert found.description is not None
    assert found.description[0][0] == name
    assert found.fetchall() == [(1,)]
    assert (name,) in connection.execute("SHOW TABLES").fetchall()
    assert has_victim(connection)


@pytest.mark.parametrize("text", ["\0", "a\0b", "a\0"], ids=["alone", "inside", "at the end"])
def test_a_nul_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be an SQL identifier"):
        quote_identifier(text)
    with pytest.raises(ValueError, match="cannot be an SQL literal"):
        quote_literal(text)
    with pytest.raises(ValueError, match="cannot be an SQL literal"):
        quote_path(text)


def test_an_empty_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be an SQL identifier"):
        quote_identifier("")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files, each of which holds its name: for every one the others are decoys."""
    folder = tmp_path_factory.mktemp("shards") / "shards [new]* ?"
    folder.mkdir()
    for name in {*DECOYS, *PATH_NAMES.values()}:
        pq.write_table(pa.table({"x": [name]}), folder / name)
    return folder


@pytest.mark.parametrize("name", PATH_NAMES.values(), ids=list(PATH_NAMES))
def test_a_path_reads_exactly_that_file(
    connection: duckdb.DuckDBPyConnection, folder: Path, name: str
) -> None:
    rows = connection.execute(
        f"SELECT x FROM read_parquet({quote_path(str(folder / name))})"
    ).fetchall()

    assert rows == [(name,)]


def test_a_path_that_is_missing_reads_no_other(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": ["decoy"]}), tmp_path / "a1.parquet")

    with pytest.raises(duckdb.IOException, match="No files found"):
        connection.execute(
            f"SELECT x FROM read_parquet({quote_path(str(tmp_path / 'a[0-9].parquet'))})"
        )


def test_a_table_is_created_where_it_is_missing_and_else_left(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    columns = (
        Column("a b", "BIGINT", "Needed.", is_required=True),
        Column("c", "VARCHAR", "Not needed."),
    )
    connection.execute(create_table('t"1', columns))
    connection.execute("""INSERT INTO "t""1" VALUES (1, NULL)""")
    connection.execute(create_table('t"1', columns))

    assert connection.execute("""SELECT "a b", c FROM "t""1" """).fetchall() == [(1, None)]
    with pytest.raises(duckdb.ConstraintException, match="NOT NULL"):
        connection.execute("""INSERT INTO "t""1" VALUES (NULL, 'x')""")


def test_a_required_column_is_added_with_its_default_once(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    column = Column("c d", "VARCHAR", "Needed.", is_required=True, since=1, default="'it''s'")
    connection.execute("""CREATE TABLE "t""1" AS SELECT 1 AS a""")
    for _ in range(2):
        for statement in add_column('t"1', column):
            connection.execute(statement)

    assert connection.execute("""SELECT "c d" FROM "t""1" """).fetchall() == [("it's",)]
    with pytest.raises(duckdb.ConstraintException, match="NOT NULL"):
        connection.execute("""INSERT INTO "t""1" (a) VALUES (2)""")


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_says_first_what_it_is(name: str) -> None:
    lines = load_sql(name).splitlines()

    assert lines[0].startswith("-- ")
    assert len(lines[0]) > len("-- ")


@pytest.mark.parametrize("name", sorted({*STATEMENTS} - SQLITE_STATEMENTS))
def test_a_file_holds_one_statement(name: str) -> None:
    text = load_sql(name)
    if {field for _, field, _, _ in Formatter().parse(text) if field} <= DUMMIES.keys():
        is_read = name.split("/")[1].startswith(("view_", "note_"))
        text = text.format_map(VIEW_DUMMIES if is_read else DUMMIES)

    assert len(duckdb.extract_statements(text)) == 1


def test_a_file_for_sqlite_holds_one_statement() -> None:
    """`execute` refuses several; each one needs those before it."""
    order = (
        *(
            "counts/fts5_create_probe",
            "counts/fts5_create_terms",
            "counts/fts5_insert_probe",
            "counts/fts5_select_terms",
        ),
        *(
            "counts/fts5_create_captions",
            "counts/fts5_set_hash_size",
            "counts/fts5_insert_captions",
        ),
        "counts/fts5_count_matches",
    )
    parameters: dict[str, tuple[object, ...]] = {
        "counts/fts5_insert_probe": (1, "One two"),
        "counts/fts5_insert_captions": (1, "One two"),
        "counts/fts5_count_matches": ("one",),
    }
    connection = sqlite3.connect(":memory:")
    try:
        found = [connection.execute(load_sql(n), parameters.get(n, ())).fetchall() for n in order]
    finally:
        connection.close()

    assert sorted(order) == [s for s in STATEMENTS if s.split("/")[1].startswith("fts5_")]
    assert found[3] == [(1, "one"), (1, "two")]
    assert found[-1] == [(1,)]
