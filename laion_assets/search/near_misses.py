"""Finds searches that differ in a few letters and find more: another number, a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from laion_assets.counts.captions import SEPARATOR
from laion_assets.search.query import read_query

if TYPE_CHECKING:
    from laion_assets.search.filter import SearchFilter
    from laion_assets.search.search import CaptionSearch

# A search that finds as many as this is none that missed.
ENOUGH = 20
# Searches that are counted for one hint, and those that are told.
MAX_TRIED = 24
MAX_TOLD = 3
# Of a shorter word, most words are neighbours; of a longer one, there are too many to try.
LEAST_LETTERS, MOST_LETTERS = 4, 24
# A longer query has too many neighbours.
MOST_WORDS = 4
# What a letter is exchanged for: those of English, and those that no folding turns into them.
LETTERS = "abcdefghijklmnopqrstuvwxyzßæøđł"


@dataclass(frozen=True)
class NearMiss:
    """A search that finds more.

    Attributes:
        query: its words.
        image_count: how many images match, exactly, with the same filter.
    """

    query: str
    image_count: int


def find_near_misses(
    search: CaptionSearch, text: str, only: SearchFilter, image_count: int
) -> tuple[NearMiss, ...]:
    """Returns similar searches that find more, the most images first.

    Args:
        search: what is searched.
        text: the query; one with operators has no neighbours.
        only: what a hit has to be besides.
        image_count: how many images it finds; where it finds enough, nothing is tried.
    """
    query = read_query(text)
    is_plain = not (query.groups or query.excluded or query.sites or query.excluded_sites)
    if image_count >= ENOUGH or not is_plain or len(query.phrases) > MOST_WORDS:
        return ()
    tried = [
        NearMiss(similar, search.find(similar, only=only, limit=0).total)
        for similar in islice(_vary_query(search, query.phrases), MAX_TRIED)
    ]
    better = [miss for miss in tried if miss.image_count > image_count]
    better.sort(key=lambda miss: (-miss.image_count, miss.query))
    return tuple(better[:MAX_TOLD])


def _vary_query(search: CaptionSearch, phrases: tuple[str, ...]) -> Iterator[str]:
    """Yields queries of which one word is another that captions have, each once."""
    tried: dict[int, set[str]] = {}
    for vary in (vary_number, vary_letters):
        for place, word in enumerate(phrases):
            if SEPARATOR in word:
                continue
            known = tried.setdefault(place, set(phrases))
            for similar in vary(word):
                if similar not in known and search.has_word(similar):
                    known.add(similar)
                    changed = (*phrases[:place], similar, *phrases[place + 1 :])
                    yield " ".join(f'"{p}"' if SEPARATOR in p else p for p in changed)


def vary_number(word: str) -> list[str]:
    """Returns what may be the plural or the singular of an English word."""
    forms = [f"{word}s", f"{word}es"]
    if word.endswith("y"):
        forms.append(f"{word[:-1]}ies")
    if word.endswith("ies"):
        forms.append(f"{word[:-3]}y")
    forms.extend(word[: -len(end)] for end in ("s", "es") if word.endswith(end))
    return [form for form in forms if form]


def vary_letters(word: str) -> Iterator[str]:
    """Yields the words of which one letter is another, one too many, missing, or swapped."""
    if not LEAST_LETTERS <= len(word) <= MOST_LETTERS:
        return
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    yield from dict.fromkeys(
        similar
        for start, end in cuts
        for similar in (
            start + end[1:],
            start + end[1:2] + end[:1] + end[2:],
            *(start + letter + end[1:] for letter in LETTERS if end),
            *(start + letter + end for letter in LETTERS),
            *((start + "ss" + end[1:],) if end[:1] == "ß" else ()),
            *((start + "ß" + end[2:],) if end[:2] == "ss" else ()),
        )
        if similar != word
    )
