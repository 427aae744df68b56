"""Orders numbers at random, by arithmetic alone.

The random generators of numpy and of LanceDB may give another order with their next version. This
order is the same on every machine for good. It also takes no memory: where a number goes is
computed when somebody asks, in whichever process that is.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

ROUNDS = 6
# With fewer bits there are too few orders to pick from.
LEAST_HALF_BITS = 3


def shuffle_numbers(numbers: Numbers, count: int, seed: int, epoch: int) -> Numbers:
    """Returns where numbers go if 0 to `count` are put in another order, each to its own place.

    A Feistel cipher moves every number of `n` bits to another one, and none to the same; what is
    not below `count` moves on until it is.

    Args:
        numbers: some of those below `count`.
        count: how many there are.
        seed: any integer; another one is another order.
        epoch: so is another one of these.
    """
    import numpy as np

    half_bits = max(LEAST_HALF_BITS, ((count - 1).bit_length() + 1) // 2)
    digest = hashlib.blake2b(f"{seed} {epoch}".encode(), digest_size=8 * ROUNDS).digest()
    keys = np.frombuffer(digest, "<u8")
    moved = _encrypt(np.asarray(numbers, np.uint64), np.uint64(half_bits), keys)
    while (is_outside := moved >= count).any():
        moved[is_outside] = _encrypt(moved[is_outside], np.uint64(half_bits), keys)
    return moved


def _encrypt(numbers: Numbers, half_bits: np.uint64, keys: Numbers) -> Numbers:
    import numpy as np

    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = numbers >> half_bits, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half_bits) | right


def _mix(numbers: Numbers) -> Numbers:
    """Returns numbers in which each bit depends on all, as SplitMix64 makes them."""
    import numpy as np

    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Numbers = numbers ^ (numbers >> np.uint64(31))
    return mixed
