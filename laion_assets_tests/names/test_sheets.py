import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from laion_assets.errors import SheetError
from laion_assets.names.sheets import (
    Sheet,
    parse_sheet,
    read_record,
    read_sheet,
    refresh_sheet,
    store_sheet,
)
from laion_assets.schemas import TABLES
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.sql import create_table, load_sql
from laion_assets_tests.conftest import IN_BOTH_PLACES
from laion_assets_tests.raises import raises


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        yield engine


@pytest.fixture
def connection(engine: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the project's tables in a transaction, which the test leaves empty."""
    engine.execute("BEGIN")
    for table, columns in TABLES.items():
        engine.execute(create_table(table, columns))
    yield engine
    engine.execute("ROLLBACK")


def parse(text: str, kind: str = "artists") -> Sheet:
    return parse_sheet(kind, "list.csv", text.encode())


def read_changed_at(database: Database) -> datetime:
    with database.read() as connection:
        ((changed_at,),) = connection.execute("SELECT changed_at FROM sheets").fetchall()
    assert isinstance(changed_at, datetime)
    return changed_at


def names(sheet: Sheet) -> list[str]:
    return [row[0] for row in sheet.rows]


@pytest.mark.parametrize(
    ("kind", "header", "taken"),
    [
        ("artists", "name", "name"),
        ("artists", "x,Name", "Name"),
        ("artists", "x, NAME ", " NAME "),
        ("artists", "x,artist", "artist"),
        ("artists", "x,Artists", "Artists"),
        ("celebrities", "x,celebrity", "celebrity"),
        ("celebrities", "x,Celebrities", "Celebrities"),
        ("characters", "x,Character", "Character"),
        ("artists", "artist,name", "name"),
        ("artists", "x,artist,artists", "artists"),
        ("artists", "x,name,Name", "name"),
        ("artists", "full name,character", "full name"),
        ("artists", "id,Artist name", "Artist name"),
        ("artists", "x,artist_name", "artist_name"),
        ("artists", "x,Names", "Names"),
        ("celebrities", "x,Celebrity-Name", "Celebrity-Name"),
        ("old_masters", "x,Old Master", "Old Master"),
    ],
)
def test_the_names_are_in_the_column_whose_header_says_so(
    kind: str, header: str, taken: str
) -> None:
    columns = header.split(",")
    cells = ",".join("A name" if column == taken else "other" for column in columns)

    sheet = parse(f"{header}\n{cells}\n", kind)

    assert sheet.name_header == taken
    assert sheet.columns[0] == "name"
    assert sheet.rows == (("A name", *["other"] * (len(columns) - 1)),)


def test_the_other_columns_follow_as_the_sheet_has_them() -> None:
    sheet = parse("born,name, Style \n1853,Vincent van Gogh,  Post-Impressionism \n")

    assert sheet.columns == ("name", "born", "Style")
    assert sheet.rows == (("Vincent van Gogh", "1853", "  Post-Impressionism "),)


@pytest.mark.parametrize(
    "text",
    [
        "name,born\nA,1\nB,2\n",
        "\ufeffname,born\nA,1\nB,2\n",
        "name,born\r\nA,1\r\nB,2\r\n",
        "name,born\rA,1\rB,2",
        "name,born\nA,1\nB,2",
        '"name","born"\n"A","1"\n"B","2"\n',
        '\ufeff"name",born\r\nA,1\r\n\r\nB,2\r\n',
    ],
    ids=["plain", "BOM", "CRLF", "CR", "no line break at the end", "quoted", "BOM, quotes, blank"],
)
def test_ways_to_write_a_sheet_mean_the_same(text: str) -> None:
    sheet = parse(text)

    assert sheet.columns == ("name", "born")
    assert sheet.rows == (("A", "1"), ("B", "2"))


def test_a_quoted_cell_keeps_line_breaks_commas_and_quotes() -> None:
    sheet = parse('name,note\n"William ""Buffalo Bill"" Cody","one,\r\ntwo\nthree"\nB,\n')

    assert sheet.rows == (
        ('William "Buffalo Bill" Cody', "one,\r\ntwo\nthree"),
        ("B", ""),
    )


def test_names_are_trimmed_and_kept_else_as_they_are() -> None:
    sheet = parse('name\n"  D\'Artagnan\t"\n\u00a0葛飾 北斎\u3000\n van  Gogh \n')

    assert names(sheet) == ["D'Artagnan", "葛飾 北斎", "van  Gogh"]


def test_repeats_are_merged_into_the_first_and_reported() -> None:
    sheet = parse("name,born\nB,1\nA,2\n B ,3\nC,4\nA,5\nB,6\nb,7\n")

    assert sheet.rows == (("B", "1"), ("A", "2"), ("C", "4"), ("b", "7"))
    assert sheet.repeated == ("B", "A")


def test_rows_without_a_name_are_left_out_and_counted() -> None:
    sheet = parse("born,name\n1,A\n2,\n\n3,   \n4,B\n5\n")

    assert names(sheet) == ["A", "B"]
    assert sheet.blank_count == 3
    assert sheet.repeated == ()


def test_ragged_rows_are_filled_or_cut() -> None:
    assert parse("name,born,died\nA\nB,1\nC,1,2,3,4\n").rows == (
        ("A", "", ""),
        ("B", "1", ""),
        ("C", "1", "2"),
    )


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("name,born,born", ("name", "born", "born_3")),
        ("name,Born,BORN", ("name", "Born", "BORN_3")),
        ("name,,x, ", ("name", "column_2", "x", "column_4")),
        ("name,Name,NAME", ("name", "Name_2", "NAME_3")),
        ("name,column_3,", ("name", "column_3", "column_3_3")),
    ],
    ids=["repeated", "by case alone", "blank", "name again", "made-up name taken"],
)
def test_no_column_is_blank_and_no_two_are_the_same(
    connection: duckdb.DuckDBPyConnection, header: str, columns: tuple[str, ...]
) -> None:
    sheet = parse(f"{header}\n" + ",".join(["A"] * len(columns)) + "\n")

    store_sheet(connection, sheet)

    assert sheet.columns == columns
    assert connection.sql("SELECT * FROM artists").columns == list(columns)


def test_a_sheet_knows_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"name\r\nA\r\n")

    sheet = read_sheet("artists", str(path))

    assert (sheet.kind, sheet.location) == ("artists", str(path))
    assert sheet.sha256 == hashlib.sha256(b"name\r\nA\r\n").hexdigest()


REFUSED = {
    "not UTF-8": ("name\nÉmile\n".encode("latin-1"), "byte 5 is not UTF-8; save it as UTF-8"),
    "UTF-16 without its mark": (b"n\0a\0\xe9\0", "byte 4 is not UTF-8; save it as UTF-8"),
    "half of a UTF-16 character": (b"\xff\xfen\0a", "byte 4 is not UTF-16; save it as UTF-8"),
    "empty": (b"", "the sheet is empty; artists needs a header and names"),
    "BOM alone": (b"\xef\xbb\xbf", "the sheet is empty; artists needs a header and names"),
    "header alone": (b"x,name\n", "no name in column 'name'; put the names of artists there"),
    "blank names": (b"name,x\n ,1\n,2\n", "no name in column 'name'; put the names of artists"),
    "open quote": (b'name\n"A\nB\n', "not a readable CSV file (unexpected end of data); export"),
    "huge cell": (
        b"name\n" + b"A" * 200_000,
        "not a readable CSV file (field larger than field limit",
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_sheet_names_its_place_and_the_old_table_stays(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, refused: str
) -> None:
    content, reason = REFUSED[refused]
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    store_sheet(connection, parse("name,born\nB,1\nA,2\n"))
    record = connection.execute("FROM sheets").fetchall()

    with pytest.raises(SheetError) as refusal:
        store_sheet(connection, read_sheet("artists", str(path)))

    assert str(refusal.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(refusal.value)
    rows = connection.execute("SELECT * FROM artists ORDER BY rowid").fetchall()
    assert rows == [("B", "1"), ("A", "2")]
    assert connection.execute("FROM sheets").fetchall() == record


@pytest.mark.parametrize("place", ["none.csv", "."], ids=["missing", "folder"])
def test_a_file_that_cannot_be_read_names_the_setting(tmp_path: Path, place: str) -> None:
    location = str(tmp_path / place)

    with raises("sheet-file-unreadable") as refusal:
        read_sheet("old_masters", location)

    assert str(refusal.value).startswith(f"{location}: ")


def test_the_table_has_the_names_in_the_order_of_the_sheet(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    store_sheet(connection, parse("born,name\n3,C\n1,A\n,B\n"))

    relation = connection.sql("SELECT * FROM artists ORDER BY rowid")
    assert relation.columns == ["name", "born"]
    assert [str(t) for t in relation.types] == ["VARCHAR", "VARCHAR"]
    assert relation.fetchall() == [("C", "3"), ("A", "1"), ("B", "")]


def test_another_sheet_replaces_the_table_with_its_columns(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    store_sheet(connection, parse("name,born\nA,1\n"))
    store_sheet(connection, parse("died,name\n2,B\n"))

    relation = connection.sql("SELECT * FROM artists")
    assert relation.columns == ["name", "died"]
    assert relation.fetchall() == [("B", "2")]


@pytest.mark.parametrize("kind", ["order", "sheet", "select", "source"])
def test_a_kind_may_be_a_word_of_sql(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    for name in ("A", "B"):
        store_sheet(connection, parse(f"name\n{name}\n", kind))

    rows = connection.execute(f'SELECT name FROM "{kind}"').fetchall()
    assert rows == [("B",)]


def test_what_was_read_is_noted_beside_the_table(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT * EXCLUDE (sha256, changed_at) FROM sheets ORDER BY kind"
    first = parse("name\nA\nB\nC\n")
    second = parse("born, Artist\n1,B\n2,A\n3,B\n4,\n,\n")

    store_sheet(connection, first)
    store_sheet(connection, parse("name\nX\n", "characters"))
    store_sheet(connection, second, '"v2"')

    assert connection.execute(query).fetchall() == [
        ("artists", "list.csv", '"v2"', " Artist", 2, 3, ["B"], 1, 0, 1),
        ("characters", "list.csv", None, "name", 1, None, [], 0, 0, 1),
    ]
    noted = connection.execute("SELECT sha256 FROM sheets WHERE kind = 'artists'").fetchall()
    assert noted == [(second.sha256,)]


def test_a_record_that_cannot_be_written_leaves_the_old_table(database: Database) -> None:
    with database.write() as connection:
        store_sheet(connection, parse("name\nA\n"))
    broken = replace(parse("name\nB\n"), sha256=None)  # type: ignore[arg-type]

    with pytest.raises(duckdb.ConstraintException), database.write() as connection:
        store_sheet(connection, broken)

    with database.read() as connection:
        assert connection.execute("FROM artists").fetchall() == [("A",)]
        assert connection.execute("SELECT name_count FROM sheets").fetchall() == [(1,)]


@pytest.mark.slow
@IN_BOTH_PLACES
def test_a_file_that_has_not_changed_is_not_stored_again(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("name\nA\n", encoding="utf-8")
    first = refresh_sheet(database, "artists", str(path))
    changed_at = read_changed_at(database)

    second = refresh_sheet(database, "artists", str(path))

    assert (first.is_changed, second) == (True, replace(first, is_changed=False))
    assert read_changed_at(database) == changed_at
    path.write_text("name\nB\n", encoding="utf-8")
    assert refresh_sheet(database, "artists", str(path)).is_changed
    assert read_changed_at(database) > changed_at


def test_a_database_without_any_table_takes_a_sheet(database: Database, tmp_path: Path) -> None:
    """A first load that failed leaves one, and an older version has no records of sheets."""
    path = tmp_path / "list.csv"
    path.write_text("name\nA\n", encoding="utf-8")
    with (
        pytest.raises(duckdb.ConversionException),
        database.write() as connection,
    ):
        connection.execute("SELECT 'no number'::INTEGER").fetchall()

    assert read_record(database, "artists") is None
    assert refresh_sheet(database, "artists", str(path)).is_changed


@IN_BOTH_PLACES
def test_the_same_list_elsewhere_is_stored_with_its_place(
    database: Database, tmp_path: Path
) -> None:
    for name in ("one.csv", "two.csv"):
        path = tmp_path / name
        path.write_text("name\nA\n", encoding="utf-8")
        record = refresh_sheet(database, "artists", str(path))

        assert (record.location, record.is_changed) == (str(path), True)


@pytest.mark.parametrize("content", [c for c, _ in REFUSED.values()], ids=[*REFUSED])
def test_a_refused_file_changes_neither_the_table_nor_what_is_known(
    database: Database, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("name\nB\nA\n", encoding="utf-8")
    refresh_sheet(database, "artists", str(path))
    before = read_record(database, "artists")
    path.write_bytes(content)

    with pytest.raises(SheetError):
        refresh_sheet(database, "artists", str(path))

    assert read_record(database, "artists") == before
    with database.read() as connection:
        assert connection.execute("FROM artists").fetchall() == [("B",), ("A",)]


def test_nothing_but_the_table_is_left_in_the_database(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    store_sheet(connection, parse('name,"a ""b"""\n\'; DROP TABLE artists; --,1\n'))

    tables = [table for (table,) in connection.execute("SHOW TABLES").fetchall()]
    assert tables == sorted([*TABLES, "artists"])
    relation = connection.sql("SELECT * FROM artists")
    assert relation.columns == ["name", 'a "b"']
    assert relation.fetchall() == [("'; DROP TABLE artists; --", "1")]


def test_blank_lines_before_the_header_are_passed_over() -> None:
    assert names(parse("\n\nname\nA\n\nB\n")) == ["A", "B"]


@pytest.mark.parametrize("text", ["", "\n", "\n\n"], ids=repr)
def test_a_sheet_of_blank_lines_is_empty(text: str) -> None:
    with raises("sheet-empty"):
        parse(text)


def test_no_two_columns_get_the_same_name() -> None:
    columns = parse("name,a_4,a,a,A\nX,1,2,3,4\n").columns
    assert len({column.lower() for column in columns}) == 5


def test_a_column_called_rowid_does_not_change_the_order(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    store_sheet(connection, parse("name,rowid\nB,2\nA,1\n"))
    query = load_sql("counts/select_names").format(table="artists")
    assert connection.execute(query).fetchall() == [("B",), ("A",)]


def test_a_nul_is_left_out() -> None:
    sheet = parse("name,a\0b\nX\0Y,1\n")
    assert (sheet.columns, names(sheet)) == (("name", "ab"), ["XY"])


def test_a_table_that_somebody_dropped_is_made_again(
    settings: Settings, database: Database
) -> None:
    location = settings.sheets["artists"]
    refresh_sheet(database, "artists", location)
    with database.write() as connection:
        connection.execute("DROP TABLE artists")
    assert refresh_sheet(database, "artists", location).is_changed
    with database.read() as connection:
        assert connection.execute("SELECT name FROM artists").fetchall() == [("Some artists",)]
