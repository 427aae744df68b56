"""Counts the captions that hold a name, exactly as SQLite FTS5 with its `unicode61` tokenizer.

FTS5 decides character by character: a character separates words, belongs to a word (as itself or
folded to another), or is swallowed. No library has the same table (it is frozen at Unicode 6.1), so
SQLite is asked about each character once. A caption becomes ` word word `, a name ` word `, and
a name matches where its text stands in the caption's; one pass of Aho-Corasick finds all names in
the captions that a sieve lets through.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from laion_assets.counts.sieve import Sieve
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SEPARATOR = " "
# Up to here it is faster to let DuckDB find the captions that can match at all.
MAX_FILTERED_PHRASES = 20
# ASCII needs no asking (sqlite3Fts5 unicode61: letters and digits are words, letters are lowered).
_ASCII_FOLDING = {
    chr(code): chr(code).lower() if chr(code).isalnum() else SEPARATOR for code in range(128)
}
# Captions of ASCII alone, lowered: each run of separators but a single blank becomes one blank.
_SEPARATORS_IN_ASCII = r" *[^a-z0-9 ][^a-z0-9]*|  +"
# No code points: of characters not asked about yet, and of those that become none.
_UNKNOWN = sys.maxunicode + 1
_SWALLOWED = sys.maxunicode + 2


class Folding:
    """What FTS5 makes of each character, learnt from SQLite for the characters seen so far."""

    def __init__(self) -> None:
        import numpy as np

        self._folding = dict(_ASCII_FOLDING)
        # The same by code point, for long texts.
        self._codes = np.full(sys.maxunicode + 1, _UNKNOWN, np.uint32)
        self._note(self._folding)
        self._codes[ord("\n")] = ord("\n")

    def learn(self, text: str) -> dict[str, str]:
        """Returns the folding of each character of the text that is not ASCII."""
        characters = {c for c in set(text) if not c.isascii()}
        unknown = sorted(c for c in characters if c not in self._folding)
        if unknown:
            learnt = _ask_fts5(unknown)
            # In this order: another thread takes what is in the mapping for known in both.
            self._note(learnt)
            self._folding.update(learnt)
        return {c: self._folding[c] for c in characters}

    def fold(self, text: str) -> str:
        """Returns lines of text, each character folded, and one blank for a run of separators."""
        import numpy as np

        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        folded = self._codes[codes]
        if (unknown := codes[folded == _UNKNOWN]).size:
            self.learn("".join(map(chr, np.unique(unknown))))
            folded = self._codes[codes]
        # First: what is swallowed may stand between two separators.
        folded = folded[folded != _SWALLOWED]
        is_blank = folded == ord(SEPARATOR)
        is_repeated = is_blank.copy()
        is_repeated[1:] &= is_blank[:-1]
        is_repeated[:1] = False
        return bytes(folded[~is_repeated]).decode("utf-32-le")

    def phrase(self, name: str) -> str:
        """Returns the words of a name with one blank between, '' where it has no word."""
        folded = "".join(self.fold_each(name))
        return " ".join(word for word in folded.split(SEPARATOR) if word)

    def fold_each(self, text: str) -> list[str]:
        """Returns the folding of each character of the text."""
        self.learn(text)
        return [self._folding[c] for c in text]

    def _note(self, folding: Mapping[str, str]) -> None:
        for character, folded in folding.items():
            self._codes[ord(character)] = ord(folded) if folded else _SWALLOWED


def caption_filter(phrases: Sequence[str]) -> str | None:
    """Returns a regular expression that every ASCII caption with one of the phrases fits.

    A caption of ASCII alone has only words of ASCII, and has them as they stand, in either case.
    For many phrases looking at every caption once is faster: then None.
    """
    if len(phrases) > MAX_FILTERED_PHRASES:
        return None
    longest = {max(p.split(SEPARATOR), key=len) for p in phrases if p.isascii()}
    # Without a phrase of ASCII no such caption can match: the empty class fits nothing.
    return f"(?i){'|'.join(sorted(longest))}" if longest else r"[^\x00-\x{10FFFF}]"


def count_phrases(
    captions: Iterable[pa.RecordBatch], phrases: Sequence[str], folding: Folding
) -> dict[str, int]:
    """Counts for each phrase the captions that hold it as whole consecutive words.

    Args:
        captions: batches with one column of text; memory is bounded by a few of them.
        phrases: as `Folding.phrase` gives them; the empty one matches nothing.
        folding: what has been learnt so far, and takes what is new.

    Returns:
        The number of captions of every phrase, 0 included.
    """
    import polars as pl

    patterns = pl.Series("phrase", [f" {p} " for p in phrases if p], dtype=pl.String).implode()
    sieve = Sieve(phrases)
    counts: Counter[str] = Counter()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[dict[str, int]]] = deque()
        for batch in captions:
            running.append(pool.submit(_count_batch, batch, patterns, sieve, folding))
            # A batch waits for each that is counted, no more: the reader is faster than that.
            while len(running) > 2 * workers:
                counts.update(running.popleft().result())
        for future in running:
            counts.update(future.result())
    return {phrase: counts[f" {phrase} "] for phrase in phrases}


def _count_batch(
    batch: pa.RecordBatch, patterns: pl.Series, sieve: Sieve, folding: Folding
) -> dict[str, int]:
    import polars as pl

    normalized = _normalize(pl.Series(batch.column(0), dtype=pl.String), sieve, folding)
    found = normalized.str.extract_many(patterns, overlapping=True)
    found = found.filter(found.list.len() > 0).list.unique()
    counted = found.explode().rename("phrase").value_counts()
    return dict(zip(counted["phrase"].cast(pl.String), counted["count"], strict=True))


def _normalize(captions: pl.Series, sieve: Sieve, folding: Folding) -> pl.Series:
    """Returns the captions that can match as ` word word `, in no order."""
    import polars as pl

    is_ascii = captions.str.len_bytes() == captions.str.len_chars()
    ascii_text = sieve.keep(captions.filter(is_ascii)).str.to_lowercase()
    words = pl.concat(
        [
            ascii_text.str.replace_all(_SEPARATORS_IN_ASCII, SEPARATOR),
            sieve.keep(_fold(captions.filter(~is_ascii), folding)),
        ]
    )
    return (
        words.to_frame("text").select(pl.concat_str(pl.lit(" "), "text", pl.lit(" "))).to_series()
    )


def _fold(captions: pl.Series, folding: Folding) -> pl.Series:
    import polars as pl

    if captions.is_empty():
        return captions
    text = captions.str.join("\n").item()
    if text.count("\n") >= len(captions):
        return _fold(captions.str.replace_all("\n", SEPARATOR, literal=True), folding)
    return pl.Series([folding.fold(text)]).str.split("\n").explode()


def _ask_fts5(characters: Sequence[str]) -> dict[str, str]:
    """Tokenizes `q`, the character, `q` for each character, and reads what the words became."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(load_sql("counts/fts5_create_probe"))
        connection.execute(load_sql("counts/fts5_create_terms"))
        rows = [(row, f"q{c}q") for row, c in enumerate(characters)]
        connection.executemany(load_sql("counts/fts5_insert_probe"), rows)
        terms: defaultdict[int, list[str]] = defaultdict(list)
        for row, term in connection.execute(load_sql("counts/fts5_select_terms")):
            terms[row].append(term)
    finally:
        connection.close()
    return {c: _folded(terms[row]) for row, c in enumerate(characters)}


def _folded(terms: Sequence[str]) -> str:
    return SEPARATOR if len(terms) > 1 else terms[0][1:-1]
