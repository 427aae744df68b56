"""Finds the words of a query in a caption, to mark them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from laion_assets.lib.search import split_words

# A letter or digit, with the accents that follow it as characters of their own.
WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")


def fold_words(query: str) -> frozenset[str]:
    """Returns the words of a query as `mark_words` compares them."""
    return frozenset(
        _fold(word[0]) for piece in split_words(query) for word in WORD.finditer(piece)
    )


def mark_words(caption: str, words: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Yields the caption in pieces, each with whether it is one of the words."""
    end = 0
    for found in WORD.finditer(caption):
        if _fold(found[0]) in words:
            if end < found.start():
                yield caption[end : found.start()], False
            yield found[0], True
            end = found.end()
    if end < len(caption):
        yield caption[end:], False


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFKD", word)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()
