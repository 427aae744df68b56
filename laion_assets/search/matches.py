"""Finds every row whose caption matches, and keeps the answers that were asked for last.

Counting, sorting and exporting need all matches, not the best of them. Lance gives their row ids
and scores in one search: a few milliseconds for most words, some hundred for a word that millions
of captions have. A version of the table never changes, so an answer stays right while it is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.counts.captions import SEPARATOR
from laion_assets.lance_images.caption_words import escape_words
from laion_assets.search.completion import Vocabulary
from laion_assets.search.lru_cache import LruCache
from laion_assets.search.query import OTHERS, Query, Term, match_any, match_captions, match_words
from laion_assets.stores.rare_words import RareWords

if TYPE_CHECKING:
    import lance
    import numpy as np
    from lance.query import FullTextQuery

    Numbers: TypeAlias = np.ndarray[Any, Any]
    Part: TypeAlias = tuple[str, ...] | Term | None

# Of all answers that are kept together; a match takes 12 bytes.
MAX_KEPT_BYTES = 128 * 2**20


class Matches(NamedTuple):
    """Rows that match.

    Attributes:
        rows: their ids, ascending.
        scores: their BM25 scores, in the same order; 0 where there are no words.
    """

    rows: Numbers
    scores: Numbers

    def where(self, is_kept: Numbers) -> Matches:
        """Returns those for which it is true."""
        return Matches(self.rows[is_kept], self.scores[is_kept])


class MatchFinder:
    """Finds the matches in one version of the table `images`; for several threads at once."""

    def __init__(
        self,
        dataset: lance.LanceDataset,
        hidden: Numbers | None = None,
        *,
        keeps_words: bool = False,
    ) -> None:
        """Looks at nothing yet.

        Args:
            dataset: the version.
            hidden: ids of rows that match nothing, ascending.
            keeps_words: keep which captions have which rare words in memory, for many searches of a
                version of which no single row was removed.
        """
        self._dataset = dataset
        self._hidden = hidden
        self._keeps_words = keeps_words
        self._kept: LruCache[Matches] = LruCache(MAX_KEPT_BYTES, lambda _, found: _measure(found))
        self._vocabulary = Vocabulary(dataset)

    def find(self, query: Query, condition: str) -> Matches:
        """Returns all matches, whatever their number.

        Args:
            query: what a caption must have, and must not; without any words, every caption fits.
            condition: what Lance looks up in its indices (a domain, a shard); may be empty.

        Raises:
            LaionError: the beginning of a word stands for too many words.
        """
        needed = [self._find_part(query.phrases, condition)] if query.phrases else []
        needed.extend(
            _unite([self._find_part(term, condition) for term in group]) for group in query.groups
        )
        found = reduce(_intersect, needed) if needed else self._find_part(None, condition)
        for term in query.excluded:
            rows = self._find_part(term, condition).rows
            found = found.where(~_contains(rows, found.rows))
        return found

    def find_phrase(self, phrase: str) -> Matches:
        """Returns all matches of a word or phrase, folded; they are not kept."""
        return self._ask_part((phrase,), "")

    def list_rows(self, condition: str) -> Matches:
        """Returns all rows of a condition; they are not kept."""
        return self._ask_part(None, condition)

    def find_near(self, word: str, letters: str) -> set[str] | None:
        """Returns words that differ in a letter, as `Vocabulary.find_near` does."""
        return self._vocabulary.find_near(word, letters)

    def count_word(self, word: str) -> int:
        """Returns how many captions have a word, folded as FTS5 does, at most; 0 is exact."""
        return self._vocabulary.count(word)

    def _find_part(self, part: Part, condition: str) -> Matches:
        """Returns the captions with all of some phrases, with a term, or all."""
        key = part, condition
        found = self._kept.get(key)
        if found is None:
            # Two threads may both do it, to the same end.
            found = self._ask_part(part, condition)
            if _measure(found) <= MAX_KEPT_BYTES:
                self._kept.put(key, found)
        return found

    def _ask_part(self, part: Part, condition: str) -> Matches:
        if part is None:
            found = self._list(condition)
        elif isinstance(part, Term) and part.is_prefix:
            words = self._vocabulary.complete(part.words)
            alike, others = match_any(words.alike, "caption"), match_any(words.others, OTHERS)
            found = self._match(alike, others, condition)
        else:
            phrases = (part.words,) if isinstance(part, Term) else part
            each = [word for phrase in phrases for word in phrase.split(SEPARATOR)]
            rare = None if condition or len(each) > 1 else self._find_rare(each[0])
            found = self._ask_words(phrases, each, condition) if rare is None else rare
        if self._hidden is not None and len(self._hidden):
            found = found.where(~_contains(self._hidden, found.rows))
        return found

    def _list(self, condition: str) -> Matches:
        import numpy as np

        found = self._dataset.scanner(columns=[], filter=condition or None, with_row_id=True)
        rows = np.sort(found.to_table()["_rowid"].to_numpy())
        return Matches(rows, np.zeros(len(rows), np.float32))

    def _find_rare(self, word: str) -> Matches | None:
        """Returns the matches of a rare word, None if Lance has to be asked for it."""
        if self._rare is None:
            return None
        escaped = escape_words(word)
        alike = self._rare["caption"].find(word) if escaped == word else find_nothing()
        others = self._rare[OTHERS].find(escaped) if OTHERS in self._rare else find_nothing()
        if alike is None or others is None:
            return None
        return self._join(Matches(*alike), Matches(*others))

    @property
    def keeps_rare_words(self) -> bool:
        """Whether rare words are found without Lance; it reads them if it is to keep them."""
        return self._rare is not None

    @cached_property
    def _rare(self) -> Mapping[str, RareWords] | None:
        """The rare words of each column, if they are kept and found as Lance finds them."""
        # Two threads may both read them, to the same end.
        rare = self._vocabulary.read_rare() if self._keeps_words else None
        return rare if rare and all(self._is_right(*each) for each in rare.items()) else None

    def _is_right(self, column: str, words: RareWords) -> bool:
        """Returns whether Lance, which may be of another version, finds a sample of words so."""
        import numpy as np

        for word in words.sample():
            theirs = _sort(self._ask(match_any([word], column), ""))
            ours = words.find(word)
            if ours is None or not all(map(np.array_equal, ours, theirs)):
                return False
        return True

    def _ask_words(
        self, phrases: Collection[str], words: Collection[str], condition: str
    ) -> Matches:
        is_among_others = self._vocabulary.is_among_others(words)
        others = match_words(phrases) if is_among_others else None
        return self._match(match_captions(phrases), others, condition)

    def _match(
        self, alike: FullTextQuery | None, others: FullTextQuery | None, condition: str
    ) -> Matches:
        """Returns the matches of one query of the captions that Lance reads alike, and another."""
        # Lance gives them in any order when it works with several threads.
        return self._join(_sort(self._ask(alike, condition)), self._ask(others, condition))

    def _join(self, alike: Matches, others: Matches) -> Matches:
        """Returns the matches of both columns; of the first without the rows that have the other.

        Args:
            alike: those of `caption`, by row id.
            others: those of `caption_words`.
        """
        import numpy as np

        if not len(self._others):
            return alike
        kept = alike.where(~_contains(self._others, alike.rows))
        if not len(others.rows):
            return kept
        return _sort(Matches(*map(np.concatenate, zip(kept, others, strict=True))))

    @cached_property
    def _others(self) -> Numbers:
        """The ids of the rows whose captions Lance reads otherwise than FTS5, in order.

        A release of an older version of the project does not know them.
        """
        import numpy as np

        if OTHERS not in self._dataset.schema.names:
            return np.zeros(0, np.uint64)
        found = self._dataset.scanner(
            columns=[], filter=f"{OTHERS} IS NOT NULL", with_row_id=True
        ).to_table()
        return np.sort(found["_rowid"].to_numpy())

    def _ask(self, query: FullTextQuery | None, condition: str) -> Matches:
        if query is None:
            return find_nothing()
        found = self._dataset.scanner(
            columns=["_score"],
            full_text_query=query,
            filter=condition or None,
            # Else the filter would come after the search, without its index.
            prefilter=True,
            with_row_id=True,
        ).to_table()
        return Matches(found["_rowid"].to_numpy(), found["_score"].to_numpy())


def find_nothing() -> Matches:
    """Returns no matches."""
    import numpy as np

    return Matches(np.zeros(0, np.uint64), np.zeros(0, np.float32))


def _unite(parts: Sequence[Matches]) -> Matches:
    """Returns the rows of any part, with the sum of their scores."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    rows, places = np.unique(np.concatenate([part.rows for part in parts]), return_inverse=True)
    scores = np.bincount(places, np.concatenate([part.scores for part in parts]), len(rows))
    return Matches(rows, scores.astype(np.float32))


def _intersect(one: Matches, other: Matches) -> Matches:
    """Returns the rows of both, with the sum of their scores."""
    import numpy as np

    rows, ones, others = np.intersect1d(
        one.rows, other.rows, assume_unique=True, return_indices=True
    )
    return Matches(rows, one.scores[ones] + other.scores[others])


def _measure(found: Matches) -> int:
    return int(found.rows.nbytes + found.scores.nbytes)


def _sort(found: Matches) -> Matches:
    """Returns the matches with ascending row ids."""
    import numpy as np

    # Stable sorting is quick where they are nearly in order.
    return found.where(np.argsort(found.rows, kind="stable"))


def _contains(rows: Numbers, values: Numbers) -> Numbers:
    """Returns for each value whether it is among the rows; both are row ids, ascending."""
    import numpy as np

    is_there = np.zeros(len(values), np.bool_)
    if not len(rows) or not len(values):
        return is_there
    # The few are looked for among the many.
    if len(rows) < len(values):
        places = np.minimum(np.searchsorted(values, rows), len(values) - 1)
        is_there[places[values[places] == rows]] = True
        return is_there
    places = np.minimum(np.searchsorted(rows, values), len(rows) - 1)
    found: Numbers = rows[places] == values
    return found
