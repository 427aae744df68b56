"""Searches the captions of a release in the Lance table: the API behind `laion search`.

Words and phrases are those of Lance's tokenizer. It agrees with the name counts, which are those of
SQLite FTS5, but for characters that the two fold differently: ß, ø, ligatures such as ﬁ, fullwidth
letters and other compatibility forms, which Lance takes for their ASCII letters and SQLite does
not; and a query without accents does not find those that a caption has as characters of their own.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from laion_assets.lib.captions import Folding
from laion_assets.lib.errors import LaionError
from laion_assets.lib.lance_table import open_table, table_path
from laion_assets.lib.release import find_release, newest_release, open_released
from laion_assets.lib.row_values import RowValues
from laion_assets.lib.search_filter import EVERYTHING, SearchFilter
from laion_assets.lib.sql import quote_literal

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
# Of a query, in characters: what follows takes longer than any caption is long.
MAX_QUERY_LENGTH = 2_000
# Each takes milliseconds.
MAX_WORDS = 64


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
    lance_dir: Path, release: str | None = None, *, is_newest: bool = False
) -> CaptionSearch:
    """Opens a release for searching: the newest one, or the one that is named.

    Args:
        lance_dir: the LanceDB database.
        release: its tag.
        is_newest: search the newest version of the table instead, with all that was written since
            the release; so it is, too, before there is one.

    Raises:
        LaionError: there is no such release, or no table yet.
    """
    if release is None and (is_newest or newest_release(lance_dir) is None):
        dataset = open_table(table_path(lance_dir, "images"))
        if dataset is None:
            raise LaionError("nothing to search; ingest a shard first (`laion backfill --all`)")
        return CaptionSearch(dataset, None)
    manifest = find_release(lance_dir, release)
    return CaptionSearch(open_released(lance_dir, manifest, "images"), manifest.release)


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
            query: words; nothing in it is syntax but double quotes around a phrase.
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
            _parse(query), only, limit if enough is None else enough, max(end, max_total)
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
        """Returns all columns of the row of a shard; None if the table has no such row."""
        found = self._dataset.scanner(
            filter=f"shard = {quote_literal(shard)} AND row_index = {row_index}", limit=1
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
        self, query: FullTextQuery | None, only: SearchFilter, enough: int, most: int
    ) -> Chosen:
        """Returns the row ids and scores of the best that fit, and how exact their number is."""
        rows, scores = self._match(query, only.equalities, most + 1)
        if len(rows) <= most:
            return *self._keep(rows, scores, only), "exactly"
        if not only.ranges:
            return rows[:most], scores[:most], "more than"
        kept, kept_scores = self._keep(rows[:most], scores[:most], only)
        if len(kept) >= enough:
            return kept, kept_scores, "at least"
        # Few are in the ranges, so that the indices know them quickly.
        conditions = [only.equalities, *(wanted.condition for wanted in only.ranges)]
        rows, scores = self._match(query, " AND ".join(filter(None, conditions)), most + 1)
        return rows[:most], scores[:most], "more than" if len(rows) > most else "exactly"

    def _keep(self, rows: Numbers, scores: Numbers, only: SearchFilter) -> tuple[Numbers, Numbers]:
        for wanted in only.ranges:
            holds = wanted.holds(self._values.read(wanted.column, rows))
            rows, scores = rows[holds], scores[holds]
        return rows, scores

    def _match(
        self, query: FullTextQuery | None, condition: str, limit: int
    ) -> tuple[Numbers, Numbers]:
        """Returns the row ids and scores of the best matches, the best first."""
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


def _sort_descending(values: Numbers) -> Numbers:
    """Returns the places of the values from the greatest on; equal ones stay, NaN is last."""
    import numpy as np

    places: Numbers = np.argsort(-values, kind="stable")
    return places


def _parse(query: str) -> FullTextQuery | None:
    """Returns the query for all words and phrases of a text; None if it has no word."""
    from lance.query import BooleanQuery, FullTextOperator, MatchQuery, Occur

    if len(query) > MAX_QUERY_LENGTH:
        raise LaionError(f"the query has {len(query):,} characters; {MAX_QUERY_LENGTH:,} at most")
    text = unicodedata.normalize("NFC", query.encode(errors="replace").decode())
    # Every other piece stands between quotes; without a second quote the first is a sign.
    pieces = text.split('"') if text.count('"') % 2 == 0 else [text.replace('"', " ")]
    words = dict.fromkeys(word for piece in pieces[::2] for word in split_words(piece))
    phrases = dict.fromkeys(
        " ".join(found) for piece in pieces[1::2] if (found := split_words(piece))
    )
    if len(words) + sum(phrase.count(" ") + 1 for phrase in phrases) > MAX_WORDS:
        raise LaionError(f"the query has more than {MAX_WORDS} words; use fewer")
    plain = " ".join(word for word in words if word.isascii())
    others = [word for word in words if not word.isascii()]
    parts = [_find_phrase(text) for text in (*others, *phrases)]
    if plain:
        parts.insert(0, MatchQuery(plain, "caption", operator=FullTextOperator.AND))
    match parts:
        case []:
            return None
        case [part]:
            return part
    return BooleanQuery([(Occur.MUST, part) for part in parts])


def split_words(text: str) -> list[str]:
    """Returns the words of a text: what stands between signs and blanks, marks included."""
    signs = {ord(c): " " for c in set(text) if unicodedata.category(c)[0] in "PSZC"}
    return text.translate(signs).split()


def _find_phrase(text: str) -> FullTextQuery:
    """Returns the query for a phrase, whichever way its accents are written in a caption.

    To Lance an accent that is a character of its own is a sign between two words. To SQLite, and so
    to the name counts, it is nothing, but for letters that it takes for others with an accent (й).
    """
    from lance.query import BooleanQuery, Occur, PhraseQuery

    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    if len(set(map(_folding().phrase, forms))) > 1:
        forms = {text}
    queries = [PhraseQuery(form, "caption") for form in sorted(forms)]
    if len(queries) == 1:
        return queries[0]
    return BooleanQuery([(Occur.SHOULD, query) for query in queries])


@cache
def _folding() -> Folding:
    return Folding()
