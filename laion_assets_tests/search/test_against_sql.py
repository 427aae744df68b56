"""Totals, filters and orders of random searches, compared with SQL over SQLite's FTS5."""

import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.search import matches
from laion_assets.search.filter import SearchFilter
from laion_assets.search.order import ORDERS, SORT_COLUMNS, Order
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import bring, refresh

WORDS = ("fox", "red", "lemur", "straße", "a", "the", "café", "İstanbul", "2", "dress", "ø")
ROWS = 700
NUMBERS = ("width", "height", "aesthetic", "similarity", "punsafe", "pwatermark")
LABELS = ("UNLIKELY", "UNSURE", " nsfw", "1", "0", "", None)
HIDDEN = "coalesce(punsafe, upper(trim(nsfw)) IN ('NSFW', 'UNSURE', '1'), 0) > 0.5"


@dataclass(frozen=True)
class Both:
    """A release, and the same rows in SQLite."""

    search: CaptionSearch
    sql: sqlite3.Connection


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    settings = Settings.default(tmp_path_factory.mktemp("sql"))
    chance = random.Random(7)  # noqa: S311
    for shard in ("alpha", "beta"):
        bring(settings, shard, make_rows(chance))
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))
    with sqlite3.connect(":memory:") as sql:
        # In this order the rows stand in the Lance table, so that ties have the same order.
        rows = sorted(search.browse(SearchFilter(), limit=10**6).hits, key=place)
        labels = {place(row): row["nsfw"] for row in read_labels(settings)}
        rows = [{**row, "nsfw": labels[place(row)]} for row in rows]
        names = ("shard", "row_index", "domain", "caption", "nsfw", *NUMBERS)
        sql.execute(f"CREATE TABLE images ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        values = [[hit[name] for name in names] for hit in rows]
        sql.executemany(f"INSERT INTO images VALUES ({marks})", values)
        sql.execute("CREATE VIRTUAL TABLE captions USING fts5(caption, content='images')")
        sql.execute("INSERT INTO captions(captions) VALUES ('rebuild')")
        yield Both(search, sql)


def place(hit: object) -> tuple[str, int]:
    assert isinstance(hit, dict)
    return hit["shard"], hit["row_index"]


def read_labels(settings: Settings) -> list[dict[str, object]]:
    with Database(settings.database).read() as connection:
        query = "SELECT shard, row_index, nsfw FROM images"
        return connection.sql(query).to_arrow_table().to_pylist()  # type: ignore[no-any-return]


def make_rows(chance: random.Random) -> pa.Table:
    """Random captions and numbers, with ties and missing values."""

    def some(highest: int, divisor: int) -> pa.Array:
        numbers = [chance.randint(0, highest) / divisor for _ in range(ROWS)]
        return pa.array(n if chance.random() > 0.1 else None for n in numbers)

    captions = [
        " ".join(chance.choices(WORDS, range(len(WORDS), 0, -1), k=chance.randint(1, 8)))
        for _ in range(ROWS)
    ]
    return pa.table(
        {
            "url": [f"https://{chance.choice('ab')}.test/{row}" for row in range(ROWS)],
            "caption": captions,
            "width": some(40, 1).cast(pa.int32()),
            "height": some(5_000, 1).cast(pa.int32()),
            "aesthetic": some(100, 10).cast(pa.float32()),
            "similarity": some(100, 100).cast(pa.float32()),
            "punsafe": some(10, 10).cast(pa.float32()),
            "pwatermark": some(1, 2).cast(pa.float32()),
            "nsfw": chance.choices(LABELS, k=ROWS),
        }
    )


def choose_query(chance: random.Random) -> tuple[str, str]:
    """A query of a word, a pair or a phrase, for us and for FTS5."""
    words = chance.choices(WORDS, k=chance.randint(1, 3))
    phrase = f'"{" ".join(words)}"'
    if chance.random() < 0.5:
        return phrase, phrase
    return " ".join(words), " ".join(f'"{word}"' for word in words)


def choose_rich_query(chance: random.Random) -> tuple[str, str, str]:
    """A query with all that there is, for us, for FTS5, and as a condition of SQL."""
    ours, theirs = [], []

    def choose_term() -> tuple[str, str]:
        word = chance.choice(WORDS)
        if chance.random() < 0.3:
            start = word[: chance.randint(1, len(word))]
            return f"{start}*", f'"{start}" *'
        words = " ".join(chance.choices(WORDS, k=chance.randint(1, 2)))
        return f'"{words}"', f'"{words}"'

    for _ in range(chance.randint(1, 2)):
        terms = [choose_term() for _ in range(chance.randint(1, 3))]
        ours.append(" OR ".join(our for our, _ in terms))
        theirs.append(f"({' OR '.join(their for _, their in terms)})")
    expression = " AND ".join(theirs)
    for _ in range(chance.randint(0, 2)):
        our, their = choose_term()
        ours.append(f"-{our}")
        expression = f"({expression}) NOT {their}"
    condition = chance.choice(["TRUE", "domain = 'a.test'", "domain <> 'b.test'"])
    site = {"TRUE": "", "domain = 'a.test'": "site:A.test", "domain <> 'b.test'": "-site:b.test"}
    return " ".join([*ours, site[condition]]), expression, condition


def choose_filter(chance: random.Random) -> tuple[SearchFilter, str]:
    """A filter for us, and as a condition of SQL with what is hidden apart."""
    only: dict[str, object] = {}
    conditions = []
    choices: dict[str, tuple[Sequence[str | float], str]] = {
        "domain": (["a.test", "B.test"], "domain = lower('{}')"),
        "shard": (["alpha", "beta"], "shard = '{}'"),
        "min_aesthetic": ([3, 6.7], "aesthetic >= {}"),
        "max_punsafe": ([0.3, 0.5], "punsafe <= {}"),
        "min_width": ([0, 20], "width >= {}"),
        "min_height": ([1_000, 4_000], "height >= {}"),
    }
    for name, (values, condition) in choices.items():
        if chance.random() < 0.25:
            only[name] = value = chance.choice(values)
            # The table has 32-bit floats.
            is_text = isinstance(value, str)
            conditions.append(condition.format(value if is_text else float(np.float32(value))))
    if chance.random() < 0.5:
        only["hide_punsafe_above"] = 0.5
    return SearchFilter(**only), " AND ".join(conditions) or "TRUE"  # type: ignore[arg-type]


def write_order(order: Order) -> str:
    value = " * ".join(SORT_COLUMNS[order.by])
    return f"{value} {'ASC' if order.is_ascending else 'DESC'} NULLS LAST, rowid"


@pytest.mark.parametrize("seed", range(60))
def test_a_search_is_what_sql_says(both: Both, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    query, fts5_query = choose_query(chance)
    only, condition = choose_filter(chance)
    order = Order(chance.choice([by for by in SORT_COLUMNS if SORT_COLUMNS[by]]), seed % 2 == 0)
    offset = chance.choice([0, 3, 40])
    hidden = HIDDEN if only.hide_punsafe_above else "FALSE"
    found = both.sql.execute(
        f"SELECT shard, row_index, {hidden}, punsafe IS NULL FROM images WHERE {condition} "
        f"AND rowid IN (SELECT rowid FROM captions WHERE captions MATCH ?) "
        f"ORDER BY {write_order(order)}",
        [fts5_query],
    ).fetchall()
    expected = [(shard, row) for shard, row, is_hidden, _ in found if not is_hidden]
    unscored = sum(is_unscored for _, _, is_hidden, is_unscored in found if not is_hidden)

    answer = both.search.find(query, only=only, limit=10, offset=offset, order=order)
    counted = both.search.find(query, only=only, limit=0)
    exported = list(map(place, both.search.export(query, only, order)))

    assert (answer.total, answer.hidden) == (len(found), len(found) - len(expected))
    assert answer.shown == len(expected)
    assert answer.unscored == (unscored if only.hide_punsafe_above else None)
    assert [place(hit) for hit in answer.hits] == expected[offset : offset + 10]
    assert exported == expected
    assert (counted.total, counted.hidden, counted.hits) == (answer.total, answer.hidden, ())


@pytest.mark.parametrize("seed", range(80))
def test_a_query_with_operators_is_what_fts5_says(both: Both, seed: int) -> None:
    query, fts5_query, condition = choose_rich_query(random.Random(seed))  # noqa: S311
    expected = both.sql.execute(
        f"SELECT shard, row_index FROM images WHERE {condition} AND rowid IN "
        "(SELECT rowid FROM captions WHERE captions MATCH ?)",
        [fts5_query],
    ).fetchall()

    answer = both.search.find(query, limit=2 * ROWS)

    assert sorted(map(place, answer.hits)) == sorted(expected), (query, fts5_query)
    assert (answer.total, answer.notes) == (len(expected), ())
    scores = [hit["_score"] for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("text", ORDERS)
def test_pages_have_every_row_once_in_one_order(both: Both, text: str) -> None:
    order = Order.read(text)
    pages = [
        both.search.find("fox", order=order, limit=50, offset=start).hits
        for start in range(0, 2 * ROWS, 50)
    ]
    every = list(both.search.export("fox", order=order))

    assert [hit for page in pages for hit in page] == every
    assert len(set(map(place, every))) == len(every) == both.search.find("fox").total
    if order.by == "relevance":
        scores = [hit["_score"] for hit in every]
        assert scores == sorted(scores, reverse=not order.is_ascending)


def test_there_is_no_order_by_something_else() -> None:
    with pytest.raises(LaionError, match="no order 'url'; there are relevance, relevance_asc"):
        Order.read("url")


def test_answers_that_are_kept_are_dropped_when_they_take_too_much(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [both.search.find(word).total for word in WORDS]
    monkeypatch.setattr(matches, "MAX_KEPT_BYTES", 4_000)

    again = [both.search.find(word).total for word in (*WORDS, *WORDS)]

    assert again == before * 2
