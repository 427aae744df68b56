"""What people save as a list of names, and how it is read: never wrongly in silence."""

from pathlib import Path

import pytest

from laion_assets.errors import SheetError
from laion_assets.names.sheets import Sheet, parse_sheet, read_record, refresh_sheet
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.database import Database

BUNDLED_SHEETS = sorted((REPOSITORY / "data" / "sheets").glob("*.csv"))

TWO = ["Vincent van Gogh", "Banksy"]


def read(content: str | bytes, kind: str = "artists") -> Sheet:
    return parse_sheet(kind, "list.csv", content.encode() if isinstance(content, str) else content)


def names(sheet: Sheet) -> list[str]:
    return [row[0] for row in sheet.rows]


UNDERSTOOD = {
    "semicolons": "name;born\nVincent van Gogh;1853\nBanksy;1974\n",
    "tabs": "name\tborn\nVincent van Gogh\t1853\nBanksy\t1974\n",
    "vertical bars": "name|born\nVincent van Gogh|1853\nBanksy|1974\n",
    "Excel's line": "sep=;\nname;note\nVincent van Gogh;a, b\nBanksy;c\n",
    "Excel's line, quoted": '"sep=;"\r\nname;note\r\nVincent van Gogh;1\r\nBanksy;2\r\n',
    "UTF-16": "name,born\nVincent van Gogh,1853\nBanksy,1974\n".encode("utf-16"),
    "UTF-16 with tabs": "\ufeffname\tborn\nVincent van Gogh\t1\nBanksy\t2\n".encode("utf-16-be"),
    "an id first": "id,Artist name\n1,Vincent van Gogh\n2,Banksy\n",
    "an id and no word": "id,who\n1,Vincent van Gogh\n2,Banksy\n",
    "born and no word": "Painter (all),born\nVincent van Gogh,1853\nBanksy,1974\n",
    "a title above": "Our list of artists,,\nname,born,died\nVincent van Gogh,1853,\nBanksy,,\n",
    "a title, a date, a gap": "Artists\n2026-11-25\n\nname\nVincent van Gogh\nBanksy\n",
    "commas in the notes": "name;note\nVincent van Gogh;a, b, c\nBanksy;d, e\n",
    "decimal commas": "name;price\nVincent van Gogh;1,5\nBanksy;2,5\n",
    "one column": "name\nVincent van Gogh\nBanksy\n",
    "one quoted column": '"Name"\n"Vincent van Gogh"\n"Banksy"\n',
    "trailing delimiters": "name,,\nVincent van Gogh,,\nBanksy,,\n",
    "a plural header": "Names\nVincent van Gogh\nBanksy\n",
    "full name beside a first name": "first,full_name\nV.,Vincent van Gogh\nB.,Banksy\n",
    "errors of the spreadsheet": "name\nVincent van Gogh\n#N/A\n#REF!\nBanksy\n#NAME?\n",
    "semicolons in a cell": "name,note\nVincent van Gogh,a;b\nBanksy,c\n",
    "a bar in a name's note": "name,note\nVincent van Gogh,a|b\nBanksy,c|d\n",
}


@pytest.mark.parametrize("content", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_a_list_is_read_as_a_person_would_read_it(content: str | bytes) -> None:
    assert names(read(content)) == TWO


REFUSED = {
    "no header": (
        "Vincent van Gogh\nClaude Monet\nBanksy\n",
        "no header says which column holds the artists, "
        "read as 'Vincent van Gogh' and 'Claude Monet'; put `name` above the names",
    ),
    "no header and two columns": ("Vincent van Gogh,Dutch\nBanksy,British\n", "no header says"),
    "no header and numbers": ("Vincent van Gogh,1853\nBanksy,1974\n", "no header says"),
    "two columns of text": ("who,where\nVincent van Gogh,Arles\nBanksy,Bristol\n", "no header"),
    "numbers": ("name\n1\n2\n3\n", "column 'name' holds numbers, read as 'name' and '1'"),
    "numbers under the word": ("name,title\n1,Vincent\n2,Banksy\n", "column 'name' holds numb"),
    "still loading": ("name\nBanksy\nLoading...\n", "the sheet was not ready; refresh again"),
    "a comma in a name": (
        'name\nBanksy\nKing, Martin Luther\n"Dalí, Salvador"\n',
        "name 2 has 2 cells, read as 'name' and 'King |  Martin Luther'; put quotes around",
    ),
    "commas or semicolons": ("name;x,name\na;b,c\nd;e,f\n", "separated by commas or semicolons"),
    "errors alone": ("name\n#N/A\n#REF!\n", "no name in column 'name'"),
    "an error as the header": ("#REF!\nVincent van Gogh\nBanksy\n", "no header says"),
    "a header far below": ("\n".join([*"abcdefg", "name", "Banksy"]), "no header says"),
    "the sign alone": ("sep=;\n", "the sheet is empty"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_stays_unclear_is_refused_in_one_line(content: str, reason: str) -> None:
    with pytest.raises(SheetError) as refusal:
        read(content)

    assert str(refusal.value).startswith("list.csv: ")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_only_a_sheet_that_was_not_ready_may_be_ready_later() -> None:
    for content, is_passing in (("name\nLoading...\n", True), ("A\nB\n", False)):
        with pytest.raises(SheetError) as refusal:
            read(content)
        assert refusal.value.is_passing is is_passing


def test_errors_of_the_spreadsheet_are_counted_apart_from_blanks() -> None:
    sheet = read("name,x\nBanksy,1\n#N/A,2\n,3\n#REF!,4\n")

    assert (names(sheet), sheet.error_count, sheet.blank_count) == (["Banksy"], 2, 1)


@pytest.mark.parametrize("path", BUNDLED_SHEETS, ids=lambda path: path.stem)
def test_the_bundled_lists_have_a_name_on_every_line(path: Path) -> None:
    sheet = read(path.read_bytes(), path.stem)

    assert sheet.name_header == "name"
    assert len(sheet.rows) == len(path.read_text(encoding="utf-8").splitlines()) - 1


def test_a_list_that_was_read_by_older_rules_is_read_again(
    settings: Settings, database: Database
) -> None:
    location = settings.sheets["artists"]
    refresh_sheet(database, "artists", location)
    with database.write() as connection:
        connection.execute("UPDATE sheets SET reading_version = 0, name_header = 'Banksy'")

    refresh_sheet(database, "artists", location)

    record = read_record(database, "artists")
    assert record is not None
    assert record.name_header == "name"
