"""Searches the captions of a release in the Lance table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from laion_assets.lib.release import RELEASE_KEY, open_release

HIT_COLUMNS = ("image_id", "url", "caption", "domain", "width", "height", "shard", "row_index")


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        release: the release that was searched.
        total: how many captions match.
        took_ms: time it took, in milliseconds.
        hits: the best of them by BM25, with the columns of `images` and `_score`.
    """

    release: str
    total: int
    took_ms: float
    hits: tuple[Mapping[str, object], ...]


def search_captions(lance_dir: Path, query: str, *, limit: int = 10) -> SearchAnswer:
    """Finds the captions with all words of the query, or with the phrase if it is in quotes.

    Args:
        lance_dir: the LanceDB database.
        query: words; nothing in it is syntax but the double quotes around a phrase.
        limit: how many hits to return at most.

    Raises:
        LaionError: there is no release.
    """
    from lance.query import FullTextOperator, MatchQuery, PhraseQuery

    dataset = open_release(lance_dir)
    started = time.perf_counter()
    text = query.strip()
    is_phrase = text.startswith('"') and text.endswith('"') and text.strip('"') != ""
    full_text_query = (
        PhraseQuery(text[1:-1], "caption")
        if is_phrase
        else MatchQuery(text, "caption", operator=FullTextOperator.AND)
    )
    total = dataset.scanner(columns=["_score"], full_text_query=full_text_query).count_rows()
    hits = dataset.scanner(
        columns=[*HIT_COLUMNS, "_score"], full_text_query=full_text_query, limit=limit
    ).to_table()
    took_ms = (time.perf_counter() - started) * 1000
    return SearchAnswer(dataset.metadata[RELEASE_KEY], total, took_ms, tuple(hits.to_pylist()))
