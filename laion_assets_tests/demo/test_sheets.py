import csv
from pathlib import Path

import pytest

SHEETS = Path(__file__).resolve().parents[2] / "data" / "sheets"
HEADERS = {
    "artists": ["name", "born", "died", "movement"],
    "celebrities": ["name", "born", "died", "known_for"],
    "characters": ["name", "first_appearance", "creator"],
}
LAST_YEAR = 1949


def read_sheet(kind: str) -> list[list[str]]:
    with (SHEETS / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


@pytest.mark.parametrize("kind", HEADERS)
def test_a_sheet_has_its_header_and_rows_of_that_width(kind: str) -> None:
    header, *rows = read_sheet(kind)

    assert header == HEADERS[kind]
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_sheet_has_a_hundred_names_and_none_twice_or_blank(kind: str) -> None:
    names = [row[0] for row in read_sheet(kind)[1:]]

    assert len(names) >= 100
    assert all(name and name == name.strip() for name in names)
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize("kind", ["artists", "celebrities"])
def test_everyone_lived_long_ago(kind: str) -> None:
    for name, born, died, _ in read_sheet(kind)[1:]:
        assert int(died) <= LAST_YEAR, name
        assert not born or 0 < int(died) - int(born) < 110, name


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param("characters", "D'Artagnan", id="apostrophe"),
        pytest.param("artists", "Jean-Baptiste-Siméon Chardin", id="hyphens"),
        pytest.param("celebrities", 'William "Buffalo Bill" Cody', id="double quotes"),
        pytest.param("celebrities", "Mary, Queen of Scots", id="comma"),
        pytest.param("artists", "葛飾北斎", id="script without spaces"),
    ],
)
def test_names_that_a_quoting_bug_would_break_are_there(kind: str, name: str) -> None:
    assert name in [row[0] for row in read_sheet(kind)]
