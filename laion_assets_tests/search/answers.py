"""Random searches, and their answers by SQL: the words from SQLite's FTS5, the rest from DuckDB.

It shares nothing with the search but the table `images` in DuckDB, and the order of the row ids,
which the search defines.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from laion_assets.releases.catalog import find_release, open_released
from laion_assets.search.order import ORDERS, SORT_COLUMNS, Order
from laion_assets.search.search import CaptionSearch
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.params import PAGE_SIZE, SearchQuery

# Rows of a page deep inside.
DEEP = 5_000
SAMPLE_ROWS = 20_000
HIDDEN = "coalesce(punsafe, if(upper(trim(nsfw)) IN ('NSFW', 'UNSURE', '1'), 1, 0)) > {}::FLOAT"


@dataclass(frozen=True)
class Question:
    """A search.

    Attributes:
        query: as the page takes it.
        fts5: its words, for FTS5.
        condition: its filters, for DuckDB.
    """

    query: SearchQuery
    fts5: str
    condition: str


@dataclass(frozen=True)
class Truth:
    """What SQL answers.

    Attributes:
        total: matches.
        places: number of each match that is shown, in the order of the query.
    """

    total: int
    places: np.ndarray[Any, np.dtype[np.int64]]


class Reference:
    """The rows of a release in DuckDB and SQLite, numbered by their row ids from 1."""

    def __init__(self, settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
        """Copies what it needs.

        Args:
            settings: where the release is.
            connection: of its DuckDB file; nothing was loaded since the release.
        """
        store = LanceStore(settings.lance_dir)
        images = open_released(store, find_release(store), "images")
        found = images.scanner(columns=["shard", "row_index"], with_row_id=True).to_table()
        found = found.sort_by("_rowid").append_column("place", pa.array(range(1, len(found) + 1)))
        connection.register("found", found)
        connection.execute(
            "CREATE TEMP TABLE numbered AS SELECT place, image.* FROM found "
            "JOIN images AS image USING (shard, row_index) ORDER BY place"
        )
        connection.unregister("found")
        self._duckdb = connection
        self._sqlite = sqlite3.connect(":memory:")
        self._sqlite.execute("CREATE VIRTUAL TABLE captions USING fts5(caption, content = '')")
        cursor = connection.execute("SELECT place, caption FROM numbered ORDER BY place")
        while rows := cursor.fetchmany(100_000):
            self._sqlite.executemany("INSERT INTO captions(rowid, caption) VALUES (?, ?)", rows)
        self._shards = found["shard"].to_pylist()
        self._row_indices = found["row_index"].to_pylist()
        self._sample = connection.execute(
            "SELECT caption, domain, registered_domain, shard FROM numbered "
            f"WHERE place % greatest(1, {len(found)} // {SAMPLE_ROWS}) = 0 ORDER BY place"
        ).fetchall()

    def ask(self, seed: int) -> Question:
        """Returns a random question about a caption that there is."""
        chance = random.Random(seed)  # noqa: S311
        caption, *_ = chance.choice(self._sample)
        words = re.findall(r"\w+", caption.lower()) or ["a"]
        start = chance.randrange(len(words))
        kind = chance.choice(("word", "pair", "phrase"))
        if kind == "word":
            terms = [words[start]]
        elif kind == "pair":
            terms = chance.choices(words, k=2)
        else:
            terms = [f'"{" ".join(words[start : start + chance.randint(2, 3)])}"']
        only, condition = self._choose_filter(chance)
        query = SearchQuery.model_validate(
            {"q": " ".join(terms), "sort": chance.choice(ORDERS), **only}
        )
        return Question(query, " ".join(f'"{t.strip(chr(34))}"' for t in terms), condition)

    def answer(self, question: Question) -> Truth:
        """Returns what SQL says."""
        matches = self._sqlite.execute(
            "SELECT rowid FROM captions WHERE captions MATCH ?", [question.fts5]
        ).fetchall()
        rows = pa.table({"place": pa.array((row for (row,) in matches), pa.int64())})
        threshold = question.query.max_punsafe
        hidden = HIDDEN.format(threshold) if threshold < 1 else "FALSE"
        self._duckdb.register("matches", rows)
        found = self._duckdb.execute(
            f"SELECT place, {hidden} AS is_hidden FROM numbered JOIN matches USING (place) "
            f"WHERE {question.condition} ORDER BY {_write_order(question.query.order)}"
        ).fetchnumpy()
        return Truth(len(found["place"]), found["place"][~found["is_hidden"].astype(bool)])

    def name(self, places: Sequence[int]) -> list[tuple[str, int]]:
        """Returns shard and row index of the rows with these numbers."""
        return [(self._shards[place - 1], self._row_indices[place - 1]) for place in places]

    def _choose_filter(self, chance: random.Random) -> tuple[dict[str, object], str]:
        _, domain, site, shard = chance.choice(self._sample)
        choices: dict[str, tuple[Sequence[object], str]] = {
            "domain": ([domain, domain.upper()], f"domain = {_quote(domain)}"),
            "site": ([site, f"*.{site}"], f"registered_domain = {_quote(site)}"),
            "shard": ([shard], f"shard = {_quote(shard)}"),
            "min_aesthetic": ([6, 6.3, 6.7], "aesthetic >= {}::FLOAT"),
            "min_width": ([300, 640], "width >= {}"),
            "min_height": ([300, 1_000], "height >= {}"),
        }
        only: dict[str, object] = {"max_punsafe": chance.choice((0.1, 0.5, 0.5, 1))}
        conditions = ["TRUE"]
        for name, (values, condition) in choices.items():
            # Few images are from one place.
            if chance.random() < (0.04 if name in {"domain", "site"} else 0.2):
                only[name] = value = chance.choice(values)
                conditions.append(condition.format(value))
        return only, " AND ".join(conditions)


def compare(
    search: CaptionSearch, reference: Reference, question: Question, most_exported: int
) -> list[str]:
    """Returns in what the search differs from SQL; nothing if it is right.

    Compared are the numbers, the first page, a deep page, and all rows of the export if there are
    no more than that many.
    """
    truth, query = reference.answer(question), question.query
    shown = reference.name(truth.places.tolist())
    wrong = []
    for start in (0, DEEP) if len(shown) > DEEP else (0,):
        answer = search.find(
            query.q, only=query.only, order=query.order, limit=PAGE_SIZE, offset=start
        )
        said = (answer.total, answer.hidden, answer.shown, answer.notes)
        expected = (truth.total, truth.total - len(shown), len(shown), ())
        if said != expected:
            wrong.append(f"total, hidden, shown, notes are {said}, not {expected}")
        page = slice(start, start + PAGE_SIZE)
        wrong.extend(_compare_rows(answer.hits, shown, page, query.order))
    if len(shown) <= most_exported:
        rows = list(search.export(query.q, query.only, query.order))
        wrong.extend(_compare_rows(rows, shown, slice(None), query.order))
    told = json.dumps(query.model_dump(exclude_defaults=True), ensure_ascii=False)
    return [f"{told}: {what}" for what in wrong]


@contextmanager
def open_reference(settings: Settings) -> Iterator[Reference]:
    """Yields the answers by SQL for the newest release."""
    with Database(settings.database).read() as connection:
        yield Reference(settings, connection)


def _compare_rows(
    rows: Sequence[Any], shown: Sequence[tuple[str, int]], page: slice, order: Order
) -> Iterator[str]:
    """Yields in what rows differ from a part of those that SQL has."""
    places = list(map(_find_place, rows))
    expected = shown[page]
    if order.by != "relevance":
        if places != expected:
            yield f"rows {page} are {places[:3]}, not {expected[:3]}, or others behind them"
        return
    # SQL has no such score.
    scores = [row["_score"] for row in rows]
    if scores != sorted(scores, reverse=not order.is_ascending):
        yield f"rows {page} are not in the order of their scores"
    if len(set(places)) != len(expected) or not set(places) <= set(shown):
        yield f"rows {page} are others, or some are there twice"


def _find_place(hit: Any) -> tuple[str, int]:
    return hit["shard"], hit["row_index"]


def _write_order(order: Order) -> str:
    columns = [f"{column}::BIGINT" for column in SORT_COLUMNS[order.by]]
    value = " * ".join(columns) if len(columns) > 1 else "".join(SORT_COLUMNS[order.by])
    direction = "ASC" if order.is_ascending else "DESC"
    return f"{value} {direction} NULLS LAST, place" if value else "place"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
