"""Finds the words and phrases of a query in a caption, to mark them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from laion_assets.counts.captions import SEPARATOR
from laion_assets.search.query import learn_folding, read_query

# Stands for a character that is no part of a word and does not end it, as an accent may be.
_SWALLOWED = "\0"
_WORD = re.compile(f"[^{SEPARATOR}]+")
# Of ASCII, letters and digits are words, and folded they are lower case.
_ASCII_WORD = re.compile("[A-Za-z0-9]+")


def fold_words(query: str) -> tuple[str, ...]:
    """Returns the words and phrases of a query as `mark_words` compares them."""
    return read_query(query).marked


def mark_words(caption: str, phrases: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Yields the caption in pieces, each with whether it is a word of one of the phrases."""
    found = list(_find_words(caption))
    marked = _find_phrases([word for *_, word in found], [p.split(SEPARATOR) for p in phrases])
    end = 0
    for place in sorted(marked):
        start, next_end, _ = found[place]
        if end < start:
            yield caption[end:start], False
        yield caption[start:next_end], True
        end = next_end
    if end < len(caption):
        yield caption[end:], False


def _find_words(caption: str) -> Iterator[tuple[int, int, str]]:
    """Yields where each word begins and ends, and the word."""
    if caption.isascii():
        yield from ((*match.span(), match[0].lower()) for match in _ASCII_WORD.finditer(caption))
        return
    folded = "".join(c or _SWALLOWED for c in learn_folding().fold_each(caption))
    for match in _WORD.finditer(folded):
        if word := match[0].replace(_SWALLOWED, ""):
            yield *match.span(), word


def _find_phrases(words: Sequence[str], phrases: Collection[Sequence[str]]) -> set[int]:
    """Returns the places of the words that stand in one of the phrases."""
    return {
        place
        for phrase in phrases
        for start, word in enumerate(words)
        if _begins(word, phrase[0])
        and start + len(phrase) <= len(words)
        and all(map(_begins, words[start : start + len(phrase)], phrase))
        for place in range(start, start + len(phrase))
    }


def _begins(word: str, wanted: str) -> bool:
    """Returns whether a word is the wanted one, or begins with it where that ends with a star."""
    return word == wanted or (wanted.endswith("*") and word.startswith(wanted[:-1]))
