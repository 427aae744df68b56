"""The words of all captions of a release, to complete the beginning of a word.

They are those of the full-text indices. Rows that no index covers yet, as between a load and the
next release, are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from laion_assets.errors import LaionError
from laion_assets.lance_images.caption_words import escape_words
from laion_assets.search.query import OTHERS, learn_folding
from laion_assets.stores.index_words import IndexWords
from laion_assets.stores.rare_words import RareWords

if TYPE_CHECKING:
    import lance

# A beginning of more words matches almost anything, and takes too long.
MAX_COMPLETIONS = 1_000
BATCH_ROWS = 65_536


class Completions(NamedTuple):
    """The words that begin so, as the two indices of captions have them.

    Attributes:
        alike: those of the captions that Lance reads as FTS5 does.
        others: those of the other captions, escaped as in the column `caption_words`.
    """

    alike: list[str]
    others: list[str]


class Vocabulary:
    """The words of one version of the table `images`; it reads nothing before it is asked."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset

    def complete(self, beginning: str) -> Completions:
        """Returns the words that begin so, the word itself included.

        Raises:
            LaionError: there are more than 1,000.
        """
        return Completions(
            self._complete(beginning, self._alike, beginning),
            # A character is escaped on its own, so that the beginnings are the same.
            self._complete(escape_words(beginning), self._others, beginning),
        )

    def count(self, word: str) -> int:
        """Returns how many captions have this word, folded, at most.

        Those of replaced and removed rows are counted too, and a word of a caption that no index
        covers counts as often as it stands there. Without any it is 0.
        """
        others = self._others
        among_others = 0 if others is None else others.count(escape_words(word))
        return self._alike.count(word) + among_others

    def find_near(self, word: str, letters: str) -> set[str] | None:
        """Returns the words of captions that differ from a folded one in a letter.

        Args:
            word: the word.
            letters: that may stand in place of one of it, or besides.

        Returns:
            The words; None if there are rows that no index covers.
        """
        columns = [self._alike, *([self._others] if self._others is not None else [])]
        if any(column.indexed.unread for column in columns):
            return None
        near = self._alike.indexed.find_near(word, letters)
        if self._others is not None:
            near |= self._others.indexed.find_near(word, letters, _escape_letter)
        return near

    def read_rare(self) -> dict[str, RareWords] | None:
        """Reads which captions have which rare words, by column; None if that is not possible."""
        columns = {"caption": self._alike}
        if self._others is not None:
            columns[OTHERS] = self._others
        read = {name: RareWords.read(words.indexed) for name, words in columns.items()}
        known = {name: words for name, words in read.items() if words is not None}
        return known if len(known) == len(read) else None

    def is_among_others(self, words: Iterable[str]) -> bool:
        """Returns whether a caption that Lance reads otherwise than FTS5 may have all the words.

        It costs less than to search these captions, which are few.
        """
        others = self._others
        return others is not None and all(others.may_have(escape_words(word)) for word in words)

    def _complete(self, escaped: str, words: ColumnWords | None, beginning: str) -> list[str]:
        if words is None:
            return []
        found = list(islice(words.find(escaped), MAX_COMPLETIONS + 1))
        if len(found) > MAX_COMPLETIONS:
            raise LaionError(
                f"{beginning}* matches more than {MAX_COMPLETIONS:,} words; add more letters",
                code="query-beginning-too-short",
            )
        return found

    # Two threads may both read them, to the same end.
    @cached_property
    def _alike(self) -> ColumnWords:
        return ColumnWords(self._dataset, "caption")

    @cached_property
    def _others(self) -> ColumnWords | None:
        has_others = OTHERS in self._dataset.schema.names
        return ColumnWords(self._dataset, OTHERS) if has_others else None


def _escape_letter(letter: str) -> bytes:
    # A character is escaped on its own.
    return escape_words(letter).encode()


class ColumnWords:
    """The words of one column: those of its index, and those of the rows that it does not cover.

    Attributes:
        indexed: those of its index.
    """

    def __init__(self, dataset: lance.LanceDataset, column: str) -> None:
        self.indexed = IndexWords(dataset, column)
        self._dataset, self._column = dataset, column

    @cached_property
    def _counts(self) -> Counter[str]:
        return _count_words(self._dataset, self._column, self.indexed.unread)

    @cached_property
    def _read(self) -> list[str]:
        return sorted(self._counts)

    def count(self, word: str) -> int:
        """Returns how many rows have a word, at most."""
        return self.indexed.count(word) + self._counts.get(word, 0)

    def may_have(self, word: str) -> bool:
        """Returns whether a row may have a word; rows that no index covers are not looked into."""
        return bool(self.indexed.unread) or self.indexed.count(word) > 0

    def find(self, beginning: str) -> Iterator[str]:
        """Yields the words that begin so, each once."""
        start = bisect_left(self._read, beginning)
        read = []
        for word in islice(self._read, start, None):
            if not word.startswith(beginning):
                break
            read.append(word)
        yield from read
        known = set(read)
        yield from (word for word in self.indexed.find(beginning) if word not in known)


def _count_words(
    dataset: lance.LanceDataset, column: str, fragments: Collection[int]
) -> Counter[str]:
    """Counts the words of some fragments that Lance finds in the column as they are."""
    words: Counter[str] = Counter()
    if not fragments:
        return words
    read = [f for f in dataset.get_fragments() if f.fragment_id in fragments]
    scanner = dataset.scanner(columns=[column], fragments=read, batch_size=BATCH_ROWS)
    for batch in scanner.to_batches():
        text = "\n".join(filter(None, batch[column].to_pylist()))
        words.update((learn_folding().fold(text) if column == "caption" else text).split())
    # The other column has none but these.
    if column == "caption":
        return Counter({word: n for word, n in words.items() if escape_words(word) == word})
    return words
