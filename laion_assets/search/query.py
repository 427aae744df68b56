"""Reads a query as phrases of words, as SQLite FTS5 has them, and writes it as Lance asks it."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING

from laion_assets.counts.captions import SEPARATOR, Folding
from laion_assets.errors import LaionError
from laion_assets.lance_images.caption_words import escape_words

if TYPE_CHECKING:
    from lance.query import FullTextQuery

# Of a query, in characters: what follows takes longer than any caption is long.
MAX_QUERY_LENGTH = 2_000
# Each takes milliseconds.
MAX_WORDS = 64


def parse_query(query: str) -> tuple[str, ...]:
    """Returns what a caption has to have: words, and words that stand together, one blank between.

    What stands between blanks is one phrase, and so is what stands between double quotes.

    Raises:
        LaionError: the query is longer than 2,000 characters, or has more than 64 words.
    """
    if len(query) > MAX_QUERY_LENGTH:
        raise LaionError(f"the query has {len(query):,} characters; {MAX_QUERY_LENGTH:,} at most")
    text = query.encode(errors="replace").decode()
    # Every other piece stands between quotes; without a second quote the first is a sign.
    pieces = text.split('"') if text.count('"') % 2 == 0 else [text.replace('"', " ")]
    loose = [word for piece in pieces[::2] for word in piece.split()]
    phrases = dict.fromkeys(map(learn_folding().phrase, (*loose, *pieces[1::2])))
    phrases.pop("", None)
    if sum(phrase.count(SEPARATOR) + 1 for phrase in phrases) > MAX_WORDS:
        raise LaionError(f"the query has more than {MAX_WORDS} words; use fewer")
    return tuple(phrases)


@cache
def learn_folding() -> Folding:
    """Returns what this process knows of FTS5's words."""
    return Folding()


def match_captions(phrases: Collection[str]) -> FullTextQuery | None:
    """Returns the query for the captions that Lance reads as FTS5 does; None if none can fit."""
    is_possible = all(escape_words(phrase) == phrase for phrase in phrases)
    return _match(phrases, "caption") if is_possible else None


def match_words(phrases: Collection[str]) -> FullTextQuery:
    """Returns the query for the other captions, by the column that has their words."""
    return _match(tuple(map(escape_words, phrases)), "caption_words")


def _match(phrases: Collection[str], column: str) -> FullTextQuery:
    from lance.query import BooleanQuery, FullTextOperator, MatchQuery, Occur, PhraseQuery

    words = [phrase for phrase in phrases if SEPARATOR not in phrase]
    parts: list[FullTextQuery] = [PhraseQuery(p, column) for p in phrases if SEPARATOR in p]
    if words:
        parts.insert(0, MatchQuery(" ".join(words), column, operator=FullTextOperator.AND))
    if len(parts) == 1:
        return parts[0]
    return BooleanQuery([(Occur.MUST, part) for part in parts])
