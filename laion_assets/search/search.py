"""Searches the captions of a release in the Lance table: the API behind `laion search`.

Words and phrases are those of SQLite FTS5, as in the name counts. Lance's tokenizer reads most
captions alike; the others are searched by their column `caption_words`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.releases.catalog import find_release, newest_release, open_released
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.query import match_captions, match_words, parse_query
from laion_assets.search.row_values import RowValues
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.sql import quote_literal

if TYPE_CHECKING:
    import lance
    import numpy as np
    from lance.query import FullTextQuery

    Numbers: TypeAlias = np.ndarray[Any, Any]
    # Row ids, their scores, and how exact their number is.
    Chosen: TypeAlias = tuple[Numbers, Numbers, "Relation"]

Relation: TypeAlias = Literal["exactly", "more than", "at least"]
# By BM25, or by the aesthetic score, the rows without it last.
Order: TypeAlias = Literal["relevance", "aesthetic"]

# Ranking more of them takes longer than finding the best of them.
MAX_TOTAL = 1_000
# Of a domain or a shard; listing row ids costs little.
MAX_BROWSED = 100_000


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        release: the release that was searched; None: the newest version, before any release.
        total: how many captions match.
        relation: how exact that is. `more than`: there are more captions with the words than were
            looked at; `at least`: so it is, and there may be more of them in the ranges, too.
        took_ms: time it took, in milliseconds.
        hits: the best of them by BM25, with the columns `HIT_COLUMNS` and `_score`.
    """

    release: str | None
    total: int
    relation: Relation
    took_ms: float
    hits: tuple[Mapping[str, Any], ...]


def open_search(
    store: LanceStore, release: str | None = None, *, is_newest: bool = False
) -> CaptionSearch:
    """Opens a release for searching: the newest one, or the one that is named.

    Args:
        store: the Lance tables.
        release: its tag.
        is_newest: search the newest version of the table instead, with all that was written since
            the release; so it is, too, before there is one.

    Raises:
        LaionError: there is no such release, or no table yet.
    """
    if release is None and (is_newest or newest_release(store) is None):
        dataset = store.find("images")
        if dataset is None:
            raise LaionError("nothing to search; ingest a shard first (`laion backfill --all`)")
        return CaptionSearch(dataset, None)
    manifest = find_release(store, release)
    return CaptionSearch(open_released(store, manifest, "images"), manifest.release)


class CaptionSearch:
    """One version of the table, to be searched again and again.

    It may be used by several threads at once.
    """

    def __init__(
        self, dataset: lance.LanceDataset, release: str | None, *, keeps_hits: bool = False
    ) -> None:
        """Reads nothing yet, unless hits are kept.

        Args:
            dataset: a version of the table `images`.
            release: the release that it is of.
            keeps_hits: keep most columns of hits in memory, for many searches; see `RowValues`.
        """
        self._dataset = dataset
        self._release = release
        self._values = RowValues(dataset, keeps_hits=keeps_hits)

    def find(
        self,
        query: str,
        *,
        only: SearchFilter = EVERYTHING,
        limit: int = 10,
        offset: int = 0,
        order: Order = "relevance",
        max_total: int = MAX_TOTAL,
        enough: int | None = None,
    ) -> SearchAnswer:
        """Finds the captions with all words of the query, and with the phrases that are in quotes.

        Args:
            query: words; nothing in it is syntax but double quotes around a phrase. Words with
                signs between and no blank are a phrase, too (`can-can`, `2.5`).
            only: what a hit has to be besides.
            limit: how many hits to return at most.
            offset: how many of the best to leave out before these.
            order: which come first; by another than BM25, they are those of the captions that were
                looked at.
            max_total: up to how many captions with these words are looked at, the best by BM25.
            enough: if fewer of them are in the ranges of `only`, the best of all that are in them
                are looked for instead; `limit` by default. All pages of an answer need the same.

        Raises:
            LaionError: the query is longer than 2,000 characters, or has more than 64 words.
        """
        started = time.perf_counter()
        end = offset + limit
        chosen = self._choose(
            parse_query(query), only, limit if enough is None else enough, max(end, max_total)
        )
        return self._answer(chosen, slice(offset, end), order, started)

    def browse(
        self,
        only: SearchFilter,
        *,
        limit: int = 10,
        offset: int = 0,
        order: Order = "relevance",
        max_total: int = MAX_BROWSED,
    ) -> SearchAnswer:
        """Lists the images of a domain or a shard, whatever their caption; their score is 0.

        Args:
            only: what an image has to be; it names the domain or the shard.
            limit: how many images to return at most.
            offset: how many to leave out before these.
            order: which come first; by relevance they come as they stand in the table.
            max_total: up to how many images of the domain or shard are looked at.

        Raises:
            LaionError: neither a domain nor a shard is named.
        """
        if not only.equalities:
            raise LaionError("browsing takes a domain or a shard; search for a word without them")
        started = time.perf_counter()
        rows, scores, relation = self._list(only.equalities, max_total)
        chosen = *self._keep(rows, scores, only), relation
        return self._answer(chosen, slice(offset, offset + limit), order, started)

    def read_image(self, shard: str, row_index: int) -> Mapping[str, Any] | None:
        """Returns what is known of the row of a shard; None if the table has no such row."""
        found = self._dataset.scanner(
            columns=[name for name in self._dataset.schema.names if name != "caption_words"],
            filter=f"shard = {quote_literal(shard)} AND row_index = {row_index}",
            limit=1,
        ).to_table()
        return found.to_pylist()[0] if found.num_rows else None

    def _answer(self, chosen: Chosen, page: slice, order: Order, started: float) -> SearchAnswer:
        rows, scores, relation = chosen
        if order == "aesthetic":
            best = _sort_descending(self._values.read("aesthetic", rows))
            rows, scores = rows[best], scores[best]
        hits = self._values.read_hits(rows[page])
        return SearchAnswer(
            release=self._release,
            total=len(rows),
            relation=relation,
            took_ms=(time.perf_counter() - started) * 1000,
            hits=tuple(
                {**hit, "_score": score}
                for hit, score in zip(hits, scores[page].tolist(), strict=True)
            ),
        )

    def _list(self, condition: str, most: int) -> Chosen:
        """Returns the row ids of the first that fit, without scores."""
        import numpy as np

        found = self._dataset.scanner(
            columns=[], filter=condition, limit=most + 1, with_row_id=True
        ).to_table()
        rows: Numbers = found["_rowid"].to_numpy()
        relation: Relation = "more than" if len(rows) > most else "exactly"
        return rows[:most], np.zeros(min(most, len(rows)), np.float32), relation

    def _choose(
        self, phrases: tuple[str, ...], only: SearchFilter, enough: int, most: int
    ) -> Chosen:
        """Returns the row ids and scores of the best that fit, and how exact their number is."""
        rows, scores = self._match(phrases, only.equalities, most + 1)
        if len(rows) <= most:
            return *self._keep(rows, scores, only), "exactly"
        if not only.ranges:
            return rows[:most], scores[:most], "more than"
        kept, kept_scores = self._keep(rows[:most], scores[:most], only)
        if len(kept) >= enough:
            return kept, kept_scores, "at least"
        # Few are in the ranges, so that the indices know them quickly.
        conditions = [only.equalities, *(wanted.condition for wanted in only.ranges)]
        rows, scores = self._match(phrases, " AND ".join(filter(None, conditions)), most + 1)
        return rows[:most], scores[:most], "more than" if len(rows) > most else "exactly"

    def _keep(self, rows: Numbers, scores: Numbers, only: SearchFilter) -> tuple[Numbers, Numbers]:
        for wanted in only.ranges:
            holds = wanted.holds(self._values.read(wanted.column, rows))
            rows, scores = rows[holds], scores[holds]
        return rows, scores

    def _match(
        self, phrases: tuple[str, ...], condition: str, limit: int
    ) -> tuple[Numbers, Numbers]:
        """Returns the row ids and scores of the best matches, the best first, then by row id."""
        import numpy as np

        if not phrases:
            return np.zeros(0, np.uint64), np.zeros(0, np.float32)
        found = [self._match_alike(match_captions(phrases), condition, limit)]
        if len(self._others):
            found.append(self._ask(match_words(phrases), condition, limit))
        rows, scores = map(np.concatenate, zip(*found, strict=True))
        # Lance gives equal scores in any order when it works with several threads.
        best = np.lexsort((rows, -scores))[:limit]
        return rows[best], scores[best]

    @cached_property
    def _others(self) -> Numbers:
        """The ids of the rows whose captions Lance reads otherwise than FTS5, in order.

        A release of an older version of the project does not know them.
        """
        import numpy as np

        if "caption_words" not in self._dataset.schema.names:
            return np.zeros(0, np.uint64)
        found = self._dataset.scanner(
            columns=[], filter="caption_words IS NOT NULL", with_row_id=True
        ).to_table()
        return np.sort(found["_rowid"].to_numpy())

    def _match_alike(
        self, query: FullTextQuery | None, condition: str, limit: int
    ) -> tuple[Numbers, Numbers]:
        """Returns the best matches among the captions that Lance reads as FTS5 does."""
        # Some more than are wanted, for those that are dropped.
        most = limit + min(len(self._others), limit // 8)
        while True:
            rows, scores = self._ask(query, condition, most)
            is_alike = ~_contains(self._others, rows)
            if len(rows) < most or is_alike.sum() >= limit:
                return rows[is_alike], scores[is_alike]
            most *= 2

    def _ask(
        self, query: FullTextQuery | None, condition: str, limit: int
    ) -> tuple[Numbers, Numbers]:
        import numpy as np

        if query is None:
            return np.zeros(0, np.uint64), np.zeros(0, np.float32)
        matches = self._dataset.scanner(
            columns=["_score"],
            full_text_query=query,
            filter=condition or None,
            # Else the best would be taken first, and fewer than asked for might be left.
            prefilter=True,
            limit=limit,
            with_row_id=True,
        ).to_table()
        return matches["_rowid"].to_numpy(), matches["_score"].to_numpy()


def _contains(ordered: Numbers, values: Numbers) -> Numbers:
    """Returns for each value whether it is among the ordered ones."""
    import numpy as np

    starts, ends = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return starts < ends


def _sort_descending(values: Numbers) -> Numbers:
    """Returns the places of the values from the greatest on; equal ones stay, NaN is last."""
    import numpy as np

    places: Numbers = np.argsort(-values, kind="stable")
    return places
