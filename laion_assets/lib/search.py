"""Searches the captions of a release in the Lance table: the API behind `laion search`.

Words and phrases are those of Lance's tokenizer. It agrees with the name counts, which are those of
SQLite FTS5, but for characters that the two fold differently: ß, ø, ligatures such as ﬁ, accents
written as characters of their own, and a few more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.lib.release import RELEASE_KEY, open_release
from laion_assets.lib.sql import quote_literal

if TYPE_CHECKING:
    from lance.query import FullTextQuery

HIT_COLUMNS = (
    "image_id",
    "url",
    "caption",
    "domain",
    "width",
    "height",
    "aesthetic",
    "punsafe",
    "shard",
    "row_index",
)
# Counting more of them takes longer than finding the best.
MAX_TOTAL = 100_000


@dataclass(frozen=True)
class SearchFilter:
    """What a hit has to be, besides its caption; a row without the value is no hit.

    Attributes:
        domain: the whole host, in lower case.
        shard: partition key.
        min_aesthetic: aesthetic score at least.
        max_punsafe: probability of being unsafe at most.
        min_width: pixels at least.
    """

    domain: str | None = None
    shard: str | None = None
    min_aesthetic: float | None = None
    max_punsafe: float | None = None
    min_width: int | None = None

    @property
    def condition(self) -> str | None:
        """The condition as Lance takes it; None without any."""
        conditions = []
        if self.domain is not None:
            conditions.append(f"domain = {quote_literal(self.domain.lower())}")
        if self.shard is not None:
            conditions.append(f"shard = {quote_literal(self.shard)}")
        if self.min_aesthetic is not None:
            conditions.append(f"aesthetic >= {float(self.min_aesthetic)!r}")
        if self.max_punsafe is not None:
            conditions.append(f"punsafe <= {float(self.max_punsafe)!r}")
        if self.min_width is not None:
            conditions.append(f"width >= {int(self.min_width)}")
        return " AND ".join(conditions) or None


EVERYTHING = SearchFilter()


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        release: the release that was searched.
        total: how many captions match, or `MAX_TOTAL` if they are more.
        is_more: whether they are more.
        took_ms: time it took, in milliseconds.
        hits: the best of them by BM25, with the columns `HIT_COLUMNS` and `_score`.
    """

    release: str
    total: int
    is_more: bool
    took_ms: float
    hits: tuple[Mapping[str, object], ...]


def search_captions(
    lance_dir: Path,
    query: str,
    *,
    only: SearchFilter = EVERYTHING,
    release: str | None = None,
    limit: int = 10,
) -> SearchAnswer:
    """Finds the captions with all words of the query, or with the phrase if it is in quotes.

    Args:
        lance_dir: the LanceDB database.
        query: words; nothing in it is syntax but the double quotes around a phrase.
        only: what a hit has to be besides.
        release: a tag; None is the newest.
        limit: how many hits to return at most.

    Raises:
        LaionError: there is no such release.
    """
    dataset = open_release(lance_dir, release)
    started = time.perf_counter()
    # Without the prefilter the best would be taken first, and fewer than asked for might be left.
    scan = partial(
        dataset.scanner, full_text_query=_parse(query), filter=only.condition, prefilter=True
    )
    total = scan(columns=["_score"], limit=MAX_TOTAL + 1).to_table().num_rows
    hits = scan(columns=[*HIT_COLUMNS, "_score"], limit=limit).to_table()
    return SearchAnswer(
        release=dataset.metadata[RELEASE_KEY],
        total=min(total, MAX_TOTAL),
        is_more=total > MAX_TOTAL,
        took_ms=(time.perf_counter() - started) * 1000,
        hits=tuple(hits.to_pylist()),
    )


def _parse(query: str) -> FullTextQuery:
    from lance.query import FullTextOperator, MatchQuery, PhraseQuery

    text = query.strip()
    if text.startswith('"') and text.endswith('"') and text.strip('"'):
        return PhraseQuery(text[1:-1], "caption")
    return MatchQuery(text, "caption", operator=FullTextOperator.AND)
