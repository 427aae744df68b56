"""Random draws that are the same everywhere: a row's seed and a field's name give a number.

A row has one 64-bit seed, and each of its fields is a hash of seed and field name, so rows with one
seed are equal, and neither chunk size nor the order of the fields matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Seeds = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Fractions = NDArray[np.float64]


def derive_number(*parts: object, n_bytes: int = 8) -> int:
    """Returns the unsigned number of `n_bytes` bytes that the parts stand for, by SHA-256."""
    text = ":".join(str(part) for part in parts)
    return int.from_bytes(sha256(text.encode()).digest()[:n_bytes], "big")


def start_seeds(count: int, *parts: object) -> Seeds:
    """Returns `count` seeds from the raw stream of PCG64, which NumPy promises not to change."""
    raw: Seeds = np.random.PCG64(derive_number(*parts, n_bytes=16)).random_raw(count)
    return raw


def mix(values: Seeds) -> Seeds:
    """Returns a hash of each value: the finalizer of SplitMix64 (Steele et al., 2014)."""
    # In place after the first step: new arrays cost more than the arithmetic.
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def draw(seeds: Seeds, field: str) -> Seeds:
    """Returns 64 random bits for each seed, unlike those of any other field."""
    return mix(seeds + np.uint64(derive_number(field)))


def draw_below(seeds: Seeds, field: str, bound: int) -> Integers:
    """Returns a number from 0 to `bound` - 1 for each seed, all equally likely."""
    return (draw(seeds, field) % np.uint64(bound)).view(np.int64)


def draw_skewed_below(seeds: Seeds, field: str, bound: int) -> Integers:
    """Returns a number from 0 to `bound` - 1, at most 2^22, the small ones far more often.

    It is `bound` times the product of three fractions of 14 bits, which 64 bits hold exactly.
    """
    bits = draw(seeds, field)
    product = np.full(len(seeds), bound, dtype=np.uint64)
    for shift in (0, 14, 28):
        product *= (bits >> np.uint64(shift)) & np.uint64(0x3FFF)
    return (product >> np.uint64(42)).astype(np.int64)


def draw_rank(seeds: Seeds, field: str, octaves: Sequence[int]) -> Integers:
    """Returns ranks from 1, long-tailed: an octave, then any rank in it.

    With every octave as often as the next, the rank r has a share in proportion to 1 / r, as in
    Zipf's law.

    Args:
        seeds: one for each row.
        field: what the rank is drawn for.
        octaves: pool of exponents; k stands for the ranks from 2^k to 2^(k+1) - 1.
    """
    first = (
        np.uint64(1) << np.array(octaves, dtype=np.uint64)[draw_below(seeds, field, len(octaves))]
    )
    return (first | (draw(seeds, f"{field} in octave") & (first - np.uint64(1)))).astype(np.int64)


def draw_fraction(seeds: Seeds, field: str) -> Fractions:
    """Returns a number from 0 to below 1: 24 random bits, exact as a 32-bit float too."""
    return (draw(seeds, field) >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def is_drawn(seeds: Seeds, field: str, share_per_10_000: int) -> Mask:
    """Returns whether the seed is one of that share."""
    return draw_below(seeds, field, 10_000) < share_per_10_000


def choose(seeds: Seeds, field: str, pool: Sequence[str | None] | pa.Array) -> pa.Array:
    """Returns one text of the pool for each seed, all equally likely."""
    return take(pool, draw_below(seeds, field, len(pool)))


def take(pool: Sequence[str | None] | pa.Array, indices: Integers) -> pa.Array:
    """Returns the texts of the pool at those indices."""
    texts = pool if isinstance(pool, pa.Array) else pa.array(pool, pa.string())
    return texts.take(pa.array(indices))


def join_texts(*parts: pa.Array | str) -> pa.Array:
    """Returns the parts of each row, one after the other."""
    return pc.binary_join_element_wise(*parts, "")


def replace_where(texts: pa.Array, mask: Mask, replacements: pa.Array) -> pa.Array:
    """Returns the texts, with the next of the replacements where the mask says so."""
    return pc.replace_with_mask(texts, pa.array(mask), replacements)


def format_numbers(numbers: Integers) -> pa.Array:
    """Returns the numbers as decimal texts."""
    return pc.cast(pa.array(numbers), pa.string())
