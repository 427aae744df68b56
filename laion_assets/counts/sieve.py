"""Drops most captions that hold none of many names, faster than looking for the names themselves.

Each word has a number, made of its first bytes; two words that follow one another have a number
made of theirs. A name is known by two adjacent words, or by its only one. A caption without the
number of any name holds no name. One with such a number holds a name or not: somebody has to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

# A bit each: tables of 512 KiB stay in the cache of one core, and 3,000 names, one in 1,400 of the
# bits, let 1 % of the captions through by chance.
TABLE_BITS = 22
# The arrays made of so much text stay in the cache of one core.
CHUNK_BYTES = 1 << 17
# A word's number is made of as many bytes as an integer holds.
KEY_BYTES = 8
ASCII_MAX = 0x7F
# Odd and without a pattern: the upper bits of a product depend on all bits of the other factor.
FACTOR = 0x9E3779B97F4A7C15
PAIR_FACTOR = 0xC2B2AE3D27D4EB4F
# Makes small letters of capitals. What else it changes is changed in names and captions alike.
LOWER_BITS = 0x2020202020202020


class Sieve:
    """Lets captions through that can hold one of the phrases, and some others by chance.

    Args:
        phrases: words with one blank between, as `Folding.phrase` gives them.
        table_bits: at least 3; the fewer, the more captions get through in vain.
    """

    def __init__(self, phrases: Sequence[str], table_bits: int = TABLE_BITS) -> None:
        words = [phrase.split(" ") for phrase in phrases if phrase]
        lone = [word for word, *others in words if not others]
        # The longer words are, the rarer they are.
        pairs = [max(map(" ".join, pairwise(w)), key=len) for w in words if len(w) > 1]
        self._table_bits = table_bits
        self._lone = self._mark(_number_all(lone))
        # The numbers between are those of the end of one pair and the start of the next.
        self._pairs = self._mark(_number_pairs(_number_all(pairs))[::2])

    def keep(self, captions: pl.Series) -> pl.Series:
        """Returns the captions that can hold a phrase, in their order.

        Args:
            captions: of ASCII alone, or folded. A word in them is a run of letters and digits of
                ASCII and of all characters that are not ASCII.
        """
        import numpy as np
        import polars as pl

        _, offsets, text = captions.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
        found = np.zeros(len(captions), np.bool_)
        for start, chunk_text, chunk_offsets in _cut(
            np.frombuffer(text, np.uint8), np.frombuffer(offsets, np.int64)
        ):
            found[start + self._find(chunk_text, chunk_offsets)] = True
        return captions.filter(pl.Series(found))

    def _mark(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
        import numpy as np

        is_marked = np.zeros(1 << self._table_bits, np.bool_)
        is_marked[numbers >> (64 - self._table_bits)] = True
        return np.packbits(is_marked, bitorder="little")

    def _look_up(self, table: NDArray[np.uint8], numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Returns 1 where the number is marked in the table, 0 elsewhere."""
        import numpy as np

        bits = (numbers >> (64 - self._table_bits)).view(np.int64)
        bit = np.uint8(1)
        return (table.take(bits >> 3) >> (bits.astype(np.uint8) & np.uint8(7))) & bit

    def _find(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the indices of the captions that can hold a phrase, some of them repeatedly."""
        import numpy as np

        starts, numbers = _number_words(text, offsets)
        is_likely = self._look_up(self._lone, numbers)
        # A pair of words of two captions finds a caption in vain, which does no harm.
        is_likely[:-1] |= self._look_up(self._pairs, _number_pairs(numbers))
        found = starts[np.flatnonzero(is_likely)]
        return np.searchsorted(offsets, found, side="right").astype(np.int64) - 1


def _cut(
    text: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.int64]]]:
    """Yields runs of captions: index of the first, their text, where each begins and the end."""
    import numpy as np

    targets = np.arange(0, len(text), CHUNK_BYTES)
    cuts = np.unique(np.append(np.searchsorted(offsets, targets), len(offsets) - 1))
    for first, last in pairwise(cuts.tolist()):
        own = offsets[first : last + 1]
        yield first, text[own[0] : own[-1]], own - own[0]


def _number_all(texts: Sequence[str]) -> NDArray[np.uint64]:
    import numpy as np

    text = np.frombuffer(" ".join(texts).encode(), np.uint8)
    return _number_words(text, np.zeros(1, np.int64))[1]


def _number_words(
    text: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Returns where each word starts, and its number."""
    import numpy as np

    # Words at the end of the text are read beyond it, and end there as others do.
    text = np.append(text, np.zeros(KEY_BYTES, np.uint8))
    starts, ends = _find_words(text, offsets)
    windows = np.ndarray(len(text) - KEY_BYTES + 1, "<u8", text, strides=(1,))
    masks = np.array([(1 << 8 * length) - 1 for length in range(KEY_BYTES + 1)], np.uint64)
    numbers = windows[starts].astype(np.uint64, copy=False)
    numbers |= np.uint64(LOWER_BITS)
    numbers &= masks[np.minimum(ends - starts, KEY_BYTES)]
    numbers *= np.uint64(FACTOR)
    return starts, numbers


def _number_pairs(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return numbers[:-1] * PAIR_FACTOR + numbers[1:]


def _find_words(
    text: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns where the words start, and where they end. The text ends in a separator."""
    import numpy as np

    # Unsigned differences: what is below the first letter or digit becomes large.
    is_letter = (text | 0x20) - ord("a") <= ord("z") - ord("a")
    is_word = is_letter | (text - ord("0") <= ord("9") - ord("0")) | (text > ASCII_MAX)
    follows_word = np.zeros_like(is_word)
    follows_word[1:] = is_word[:-1]
    goes_on = is_word & follows_word
    # Between two captions there may be no separator.
    goes_on[offsets] = False
    return np.flatnonzero(is_word ^ goes_on), np.flatnonzero(follows_word ^ goes_on)
