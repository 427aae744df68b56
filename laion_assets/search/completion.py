"""The words of all captions of a release, to complete the beginning of a word."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.search.query import learn_folding

if TYPE_CHECKING:
    import lance

# A beginning of more words matches almost anything, and takes too long.
MAX_COMPLETIONS = 1_000
BATCH_ROWS = 65_536
# No character of a word comes after it.
LAST = "\U0010ffff"


class Vocabulary:
    """Learns the words when it is first asked: a few seconds for a million captions."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset
        self._words: list[str] | None = None
        self._lock = Lock()

    def complete(self, beginning: str) -> list[str]:
        """Returns the words that begin so, the word itself included.

        Raises:
            LaionError: there are more than 1,000.
        """
        with self._lock:
            if self._words is None:
                self._words = self._read()
        start = bisect_left(self._words, beginning)
        end = bisect_left(self._words, beginning + LAST)
        if end - start > MAX_COMPLETIONS:
            raise LaionError(
                f"{beginning}* stands for {end - start:,} words, {MAX_COMPLETIONS:,} at most; "
                "write more of the word"
            )
        return self._words[start:end]

    def _read(self) -> list[str]:
        words: set[str] = set()
        scanner = self._dataset.scanner(columns=["caption"], batch_size=BATCH_ROWS)
        for batch in scanner.to_batches():
            captions = "\n".join(batch["caption"].to_pylist())
            words.update(learn_folding().fold(captions).split())
        return sorted(words)
