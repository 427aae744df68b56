"""The words that very many captions have: found once for a release, and kept small.

Lance needs more than half a microsecond for each match, so two seconds for the commonest word of
twelve million captions. Which captions have such a word, and with what score, is kept here in one
or two bytes a match. Numbers and filters need bits alone (`row_bits.py`); the first hits are among
the first of an order that is the same for all filters, or else all matches are sorted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.counts.captions import SEPARATOR
from laion_assets.search.matches import Matches, MatchFinder
from laion_assets.search.order import ORDERS, RELEVANCE, Order
from laion_assets.search.query import Query, learn_folding
from laion_assets.search.row_bits import contain, count, pack_places, rank, unpack
from laion_assets.search.row_values import RowValues

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Of fewer matches, Lance's answer is quick enough.
LEAST_MATCHES = 100_000
MAX_KEPT_BYTES = 256 * 2**20
# Of a query whose scores are made of those of its words.
MOST_WORDS = 2
# Captions in which the words are counted, to know which are common.
SAMPLE_ROWS = 20_000
# Of an order that is the same for all filters: 400 kB.
FIRST_ROWS = 50_000
# While visitors wait for pages, gathering pauses after each word: at most so many times as long as
# the word took, so that it takes a quarter of a core or less. It looks so often whether they do.
PAUSES, LOOK_S = 3, 0.02


class _Pauses:
    """Waits between pieces of work while others need the machine more.

    It does not wait for ever: what is kept spares them work.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._since = time.monotonic()

    def wait(self) -> None:
        """Waits at most so many times as long as the last piece took."""
        now = time.monotonic()
        deadline = now + PAUSES * (now - self._since)
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        self._since = time.monotonic()


class CommonWord(NamedTuple):
    """The captions that have a word.

    Attributes:
        bits: their places.
        scores: the different BM25 scores, ascending.
        codes: for each caption, by place, which of them it has.
        first: places of the best, in order.
    """

    bits: Numbers
    scores: Numbers
    codes: Numbers
    first: Numbers

    @classmethod
    def keep(cls, places: Numbers, scores: Numbers, row_count: int) -> CommonWord:
        """Returns what is kept of matches.

        Args:
            places: of the matches, ascending.
            scores: theirs.
            row_count: of the table.
        """
        import numpy as np

        distinct, found = np.unique(scores, return_inverse=True)
        codes = found.astype(np.min_scalar_type(len(distinct)))
        # As many of the best scores as make the first rows; all rows with these.
        from_best = np.cumsum(np.bincount(codes, minlength=len(distinct))[::-1])
        least = len(distinct) - 1 - int(np.searchsorted(from_best, min(FIRST_ROWS, len(codes))))
        best = np.flatnonzero(codes >= least)
        first = best[np.argsort(-codes[best].astype(np.int64), kind="stable")][:FIRST_ROWS]
        return cls(pack_places(places, row_count), distinct, codes, places[first])

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return sum(part.nbytes for part in self)

    def read_scores(self, places: Numbers) -> Numbers:
        """Returns the score of each place that has the word."""
        scores: Numbers = self.scores[self.codes[rank(self.bits, places)]]
        return scores


class CommonMatches(NamedTuple):
    """Captions with one or two common words that pass a filter.

    Attributes:
        words: what they have.
        matching: their places, as bits.
        shown: those of them that are not hidden.
    """

    words: tuple[CommonWord, ...]
    matching: Numbers
    shown: Numbers


class CommonWords:
    """The common words of one version of the table; for several threads at once."""

    def __init__(
        self, dataset: lance.LanceDataset, values: RowValues, matches: MatchFinder
    ) -> None:
        """Reads nothing yet."""
        self._dataset = dataset
        self._values = values
        self._matches = matches
        self._words: dict[str, CommonWord] = {}
        self._kept_bytes = 0
        self._lock = Lock()
        self._first: dict[Order, Numbers] = {}

    def gather(
        self,
        is_wanted: Callable[[], bool] = lambda: True,
        least: int = LEAST_MATCHES,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Finds the common words and their captions, the commonest first. For one thread.

        Until a word is found, Lance is asked for it, to the same end.

        Args:
            is_wanted: whether to go on.
            least: how many captions have a word that is common.
            is_busy: whether others need the machine more; then it pauses after each word.
        """
        if not self._is_possible(least):
            return
        self._warm_index()
        pauses = _Pauses(is_busy)
        for word in self._list_words(least):
            pauses.wait()
            if not is_wanted() or self._is_full():
                break
            if word not in self._words:
                self._keep(word, least)
        for order in map(Order.read, ORDERS):
            if order.by != RELEVANCE:
                pauses.wait()
                if is_wanted():
                    self._find_first(order)

    def learn(self, query: Query, least: int = LEAST_MATCHES) -> None:
        """Keeps the word of a query of one word, if it is common and not kept yet.

        Somebody waits for its captions anyway; who asks next does not.

        Args:
            query: what somebody asks for.
            least: how many captions have a word that is common.
        """
        phrases = query.phrases
        is_plain = len(phrases) == 1 and not (query.groups or query.excluded)
        if not is_plain or SEPARATOR in phrases[0] or not self._is_possible(least):
            return
        is_common = phrases[0] not in self._words and self._matches.count_word(phrases[0]) >= least
        if is_common and not self._is_full():
            self._keep(phrases[0], least)

    def _is_possible(self, least: int) -> bool:
        values = self._values
        return values.row_count >= least and values.can_count and values.is_in_order

    def _is_full(self) -> bool:
        return self._kept_bytes > MAX_KEPT_BYTES

    def _keep(self, word: str, least: int) -> None:
        found = self._matches.find_phrase(word)
        if len(found.rows) < least:
            return
        values = self._values
        kept = CommonWord.keep(values.place(found.rows), found.scores, values.row_count)
        with self._lock:
            # Two threads may both have found it, to the same end.
            if word not in self._words:
                self._words[word] = kept
                self._kept_bytes += kept.nbytes

    def find(self, query: Query) -> tuple[CommonWord, ...]:
        """Returns the words of a query, if it has nothing else but sites, and they are common.

        The score of two words is the sum of theirs, as Lance has it. With more, the sum of floats
        would depend on their order.
        """
        if len(query.phrases) > MOST_WORDS or query.groups or query.excluded:
            return ()
        words = tuple(word for p in query.phrases if (word := self._words.get(p)) is not None)
        return words if len(words) == len(query.phrases) else ()

    def list(self, found: CommonMatches) -> Matches:
        """Returns all that are shown, with their row ids."""
        return self._identify(found.words, unpack(found.shown))

    def sort(self, found: CommonMatches, order: Order, end: int) -> Matches:
        """Returns the first of those that are shown.

        Args:
            found: all of them.
            order: which come first.
            end: how many are wanted.
        """
        wanted = min(end, count(found.shown))
        first = None
        if order.by != RELEVANCE:
            first = self._find_first(order)
        elif len(found.words) == 1 and not order.is_ascending:
            first = found.words[0].first
        if first is not None:
            # Of rows in order, those that pass a filter are in order, too.
            places = first[contain(found.shown, first)][:wanted]
            if len(places) == wanted:
                return self._identify(found.words, places)
        return order.sort(self.list(found), self._values, end)

    def _identify(self, words: Sequence[CommonWord], places: Numbers) -> Matches:
        scores = reduce(add, (word.read_scores(places) for word in words))
        return Matches(self._values.identify(places), scores)

    def _find_first(self, order: Order) -> Numbers:
        if order not in self._first:
            # Two threads may both do it, to the same end.
            self._first[order] = order.list_first(self._values, FIRST_ROWS)
        return self._first[order]

    def _warm_index(self) -> None:
        """Reads which captions have which words: the first search for a word takes half the time.

        Where in a caption they stand is not read, which would be several times as much.
        """
        for index in self._dataset.describe_indices():
            if index.field_names == ["caption"] and "Inverted" in index.type_url:
                self._dataset.prewarm_index(index.name)

    def _list_words(self, least: int) -> Iterator[str]:
        """Yields the words of which a sample says that they are common, the commonest first."""
        import numpy as np

        row_count = self._values.row_count
        sampled = np.unique(np.linspace(0, row_count - 1, SAMPLE_ROWS).astype(np.int64))
        captions = self._dataset.take(sampled.tolist(), columns=["caption"])["caption"]
        folding = learn_folding()
        counts = Counter(
            word for c in captions.to_pylist() if c for word in set(folding.fold(c).split())
        )
        for word, images in counts.most_common():
            if images * row_count < least * len(sampled):
                return
            yield word
