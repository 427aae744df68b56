"""Finds searches that differ in a few letters and find more: another number, a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.counts.captions import SEPARATOR
from laion_assets.search.query import read_query

if TYPE_CHECKING:
    from laion_assets.search.filter import SearchFilter
    from laion_assets.search.search import CaptionSearch

# A search that finds as many as this is none that missed.
ENOUGH = 20
# Searches that are counted for one hint, and those that are told.
MAX_TRIED = 8
MAX_TOLD = 3
# Of a shorter word, most words are neighbours; of a longer one, there are too many to try.
LEAST_LETTERS, MOST_LETTERS = 4, 24
# A longer query has too many neighbours.
MOST_WORDS = 4
# A word that so many captions have is no slip of the pen, even where a query finds few. To look for
# its neighbours among all words takes 15 ms.
USUAL_CAPTIONS = 1_000
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
    better: list[NearMiss] = []
    for at_most, similar in _vary_query(search, query.phrases, image_count)[:MAX_TRIED]:
        # It can't be told in place of those that were found.
        if len(better) == MAX_TOLD and at_most < better[-1].image_count:
            continue
        found = NearMiss(similar, search.count(similar, only))
        if found.image_count > image_count:
            better = sorted([*better, found], key=lambda m: (-m.image_count, m.query))[:MAX_TOLD]
    return tuple(better)


def _vary_query(
    search: CaptionSearch, phrases: tuple[str, ...], image_count: int
) -> list[tuple[int, str]]:
    """Returns queries of which one word is another that captions have, each once.

    Args:
        search: what is searched.
        phrases: of the query.
        image_count: how many captions it finds; queries that cannot find more are left out.

    Returns:
        How many captions a query finds, at most, and the query: first those with another number,
        then those with another letter; of both, those that may find the most first.
    """
    found = []
    tried = [set(phrases) for _ in phrases]
    # No more captions have all words than have the rarest of them.
    counts = [min(map(search.count_word, phrase.split(SEPARATOR))) for phrase in phrases]
    for rank, is_spelling in enumerate((False, True)):
        for place, word in enumerate(phrases):
            others = counts[:place] + counts[place + 1 :]
            if SEPARATOR in word or min(others, default=image_count + 1) <= image_count:
                continue
            if is_spelling and counts[place] >= USUAL_CAPTIONS:
                continue
            for similar in _find_spellings(search, word) if is_spelling else vary_number(word):
                if similar in tried[place]:
                    continue
                tried[place].add(similar)
                count = search.count_word(similar)
                at_most = min((count, *others))
                if at_most > image_count:
                    changed = (*phrases[:place], similar, *phrases[place + 1 :])
                    text = " ".join(f'"{p}"' if SEPARATOR in p else p for p in changed)
                    found.append((rank, -at_most, -count, text))
    return [(-at_most, text) for _, at_most, _, text in sorted(found)]


def _find_spellings(search: CaptionSearch, word: str) -> Iterable[str]:
    """Returns what `vary_letters` does, at least as far as captions have it."""
    if not LEAST_LETTERS <= len(word) <= MOST_LETTERS:
        return ()
    near = search.find_near(word, LETTERS)
    if near is None:
        return vary_letters(word)
    return sorted({*near, *vary_sharp_s(word)} - {word})


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
    varied = (
        similar
        for start, end in cuts
        for similar in (
            start + end[1:],
            start + end[1:2] + end[:1] + end[2:],
            *(start + letter + end[1:] for letter in LETTERS if end),
            *(start + letter + end for letter in LETTERS),
        )
    )
    different = dict.fromkeys((*varied, *vary_sharp_s(word)))
    yield from (similar for similar in different if similar != word)


def vary_sharp_s(word: str) -> list[str]:
    """Returns the word with one ß written ss, or the other way round."""
    places = range(len(word))
    return [
        *(f"{word[:n]}ss{word[n + 1 :]}" for n in places if word[n] == "ß"),
        *(f"{word[:n]}ß{word[n + 2 :]}" for n in places if word[n : n + 2] == "ss"),
    ]
