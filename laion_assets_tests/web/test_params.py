"""Addresses that are made of parameters."""

import itertools
from urllib.parse import urlencode

import pytest

from laion_assets.web.params import CompareQuery, Query, SearchQuery

QUERIES: tuple[Query, ...] = (
    SearchQuery(),
    SearchQuery(q="a & b", release="r/1", page=3, fold=True, site="pinimg.com"),
    SearchQuery(q="é", aesthetic="6.5..", view="grid", aesthetic_weight=1),
    CompareQuery(q=("one", "two & 2"), min_width=3),
)
CHANGES = {
    "q": (None, "", "fox", "a=b"),
    "release": (None, "r 2"),
    "page": (1, 2),
    "fold": (False, True),
    "site": (None, "é.example"),
    "max_punsafe": (1.0, 0.5),
    "unknown": ("x",),
}


@pytest.mark.parametrize("query", QUERIES)
def test_an_address_has_what_is_given_once_and_in_order(query: Query) -> None:
    some = [
        dict(zip(names, values, strict=True))
        for count in (0, 1, 2, 3)
        for names in itertools.permutations(CHANGES, count)
        for values in itertools.product(*(CHANGES[name] for name in names))
    ]
    for changes in some:
        given = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in query.list_given(**changes).items()
        }
        written = urlencode(given, doseq=True)

        assert query.write("/search", **changes) == (f"/search?{written}" if written else "/search")


@pytest.mark.parametrize("query", QUERIES[:3], ids=["nothing", "much", "some"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("site", ["a.test", "é", None]),
        ("max_punsafe", [0.5, 1.0]),
        ("q", ["", "a b"]),
        ("release", [None, "r 2"]),
    ],
)
@pytest.mark.parametrize("changes", [{}, {"page": 1, "release": "r3"}, {"page": 2, "min_width": 9}])
def test_addresses_that_differ_in_one_value_are_those_that_are_written_one_by_one(
    query: Query, name: str, values: list[object], changes: dict[str, object]
) -> None:
    changes = {key: value for key, value in changes.items() if key != name}

    written = list(query.write_each("/search", name, values, **changes))

    assert written == [query.write("/search", **{name: value, **changes}) for value in values]
