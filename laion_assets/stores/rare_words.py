"""Finds the rows that have a rare word, and their scores, in what Lance wrote of a full-text index.

Lance plans each search anew, which takes about a millisecond and a half, while it has only some
bytes to read of a word that few rows have. These are kept here: a number for each row, and some
bytes for each rare word of each row.

Source: version 2 of the format of inverted indices, as Lance 13 writes it (`rust/lance-index/src/
scalar/inverted`: `encoding.rs`, `scorer.rs`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.stores.index_words import READ_ROWS, IndexWords, Part

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]
    # Ids of rows, ascending, and their scores.
    Found: TypeAlias = tuple[Numbers, Numbers]

# A list of rows that is shorter is one block, of numbers of so many bytes as each needs.
BLOCK_ROWS = 128
KNOWN_FORMAT = {
    b"format_version": b"2",
    b"posting_block_size": b"%d" % BLOCK_ROWS,
    b"posting_tail_codec": b"varint_delta_v1",
}
# Before the numbers of a block stands the highest score.
SCORE_BYTES = 4
# Of a row id, how far the number of the fragment stands to the left.
HALF = 32
# Words that a sample is made of.
SAMPLED = 200
# Of BM25, as Lance has them.
K1, B = 1.2, 0.75


class _Lists(NamedTuple):
    """Which rows have the words of one part of an index.

    Attributes:
        blocks: by the number of a word its rows, as Lance wrote them; None where they are many.
        fragments: of the rows of the part, ascending.
        firsts: of each fragment the number of its first row in the part.
        places: of each row in its fragment.
        sizes: how many words each row has.
        is_covered: of each fragment whether the part still stands for its rows.
    """

    blocks: pa.LargeBinaryArray
    fragments: Numbers
    firsts: Numbers
    places: Numbers
    sizes: Numbers
    is_covered: Numbers


class RareWords:
    """The rare words of one column, of one version of a table; for several threads at once.

    No row of the version may have been removed since it was written: that is not looked at.
    """

    def __init__(
        self, words: IndexWords, lists: list[_Lists], log: Callable[[float], float]
    ) -> None:
        """Use `read`."""
        import numpy as np

        self._words, self._lists, self._log = words, lists, log
        # Scores are of 32 bits from the first step on.
        self._row_count = np.float32(sum(len(part.places) for part in lists))
        word_count = np.float32(sum(int(part.sizes.sum(dtype=np.int64)) for part in lists))
        self._mean_size = word_count / max(self._row_count, np.float32(1))

    @classmethod
    def read(cls, words: IndexWords) -> RareWords | None:
        """Reads the lists; None if the index does not cover all rows, or has an unknown form."""
        log = _find_log()
        if log is None or words.unread:
            return None
        try:
            lists = [_read_lists(part) for part in words.parts]
        except (OSError, ValueError, KeyError):
            return None
        known = [part for part in lists if part is not None]
        return cls(words, known, log) if len(known) == len(lists) else None

    def sample(self) -> Iterator[str]:
        """Yields some words of letters and digits, each of another number of rows."""
        seen = {0}
        for word in islice(self._words.find(""), SAMPLED):
            count = self._words.count(word)
            if word.isascii() and count < BLOCK_ROWS and count not in seen:
                seen.add(count)
                yield word

    def find(self, word: str) -> Found | None:
        """Returns the ids of the rows with a word, ascending, and their BM25 scores, as Lance does.

        None if they are many, or if nothing is known of them.
        """
        import numpy as np

        told = [
            (self._lists[place], self._lists[place].blocks[number].as_py())
            for place, number in self._words.look_up(word)
        ]
        if any(block is None for _, block in told):
            return None
        if not told:
            return np.zeros(0, np.uint64), np.zeros(0, np.float32)
        parts = [(lists, *_decode(block)) for lists, block in told]
        # Replaced rows count for how rare a word is, as Lance has it.
        weight = self._weigh(sum(len(numbers) for _, numbers, _ in parts))
        found = [self._list(weight, *part) for part in parts]
        # Each part has them in order.
        if len(found) == 1:
            return found[0]
        ids, scores = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(ids)
        return ids[order], scores[order]

    def _list(self, weight: np.float32, lists: _Lists, numbers: Numbers, counts: Numbers) -> Found:
        """Returns ids and scores of the rows with a word in one part, those that are there."""
        import numpy as np

        scores = weight * self._score(counts, lists.sizes[numbers])
        of = np.searchsorted(lists.firsts, numbers, side="right") - 1
        ids = (lists.fragments[of] << HALF) + lists.places[numbers]
        if lists.is_covered.all():
            return ids, scores
        is_there = lists.is_covered[of]
        return ids[is_there], scores[is_there]

    def _weigh(self, found_count: int) -> np.float32:
        """Returns how much a word says that so many rows have."""
        import numpy as np

        found, half = np.float32(found_count), np.float32(0.5)
        rarity = (self._row_count - found + half) / (found + half) + np.float32(1)
        return np.float32(self._log(float(rarity)))

    def _score(self, counts: Numbers, sizes: Numbers) -> Numbers:
        """Returns how much rows are about a word.

        Args:
            counts: how often they have it.
            sizes: how many words they have.
        """
        import numpy as np

        k1, b, one = np.float32(K1), np.float32(B), np.float32(1)
        counts, sizes = counts.astype(np.float32), sizes.astype(np.float32)
        scores: Numbers = (
            (k1 + one) * counts / (counts + k1 * (one - b + b * sizes / self._mean_size))
        )
        return scores


def _find_log() -> Callable[[float], float] | None:
    """Returns the logarithm that Lance uses: that of the system, of 32 bits; None without any."""
    try:
        log = ctypes.CDLL(None).logf
    except (OSError, AttributeError, TypeError):
        return None
    log.restype, log.argtypes = ctypes.c_float, [ctypes.c_float]
    found: Callable[[float], float] = log
    return found


def _read_lists(part: Part) -> _Lists | None:
    """Reads a part of an index; None if it has a form that is not known."""
    import numpy as np
    import pyarrow as pa

    lists = part.open("invert", ["_posting"])
    told = lists.metadata().schema.metadata or {}
    if any(told.get(name) != value for name, value in KNOWN_FORMAT.items()):
        return None
    blocks = [pa.array([], pa.large_binary())]
    for batch in lists.read_all(batch_size=READ_ROWS).to_batches():
        start = sum(map(len, blocks))
        blocks.append(_pick_short(batch["_posting"], part.counts[start : start + len(batch)]))
    rows = part.open("docs").read_all(batch_size=READ_ROWS).to_table()
    ids, sizes = rows["_rowid"].to_numpy(), rows["_num_tokens"].to_numpy()
    if (ids[1:] <= ids[:-1]).any():
        return None
    fragments, firsts = np.unique(ids >> HALF, return_index=True)
    return _Lists(
        blocks=pa.concat_arrays(blocks),
        fragments=fragments,
        firsts=firsts,
        places=ids.astype(np.uint32),
        # Nearly all captions have fewer than 256 words.
        sizes=sizes.astype(np.min_scalar_type(sizes.max(initial=0))),
        is_covered=np.isin(fragments, list(part.covered)),
    )


def _pick_short(lists: pa.Array, counts: Numbers) -> pa.LargeBinaryArray:
    """Returns the only block of each list that is short, None for the others."""
    import numpy as np
    import pyarrow as pa

    firsts = lists.offsets.to_numpy()[:-1]
    is_long = (counts == 0) | (counts >= BLOCK_ROWS)
    return lists.values.take(pa.array(np.where(is_long, 0, firsts), mask=is_long))


def _decode(block: bytes) -> tuple[Numbers, Numbers]:
    """Returns the numbers of rows and how often each has the word, of a short list."""
    import numpy as np

    numbers, number, shift = [], 0, 0
    for byte in block[SCORE_BYTES:]:
        number |= (byte & 0x7F) << shift
        shift += 7
        # The last byte of a number has no mark.
        if byte < 0x80:  # noqa: PLR2004
            numbers.append(number)
            number = shift = 0
    rows, counts = np.array(numbers, np.int64).reshape(2, -1)
    # After the first each is the distance from the one before.
    return np.cumsum(rows), counts
