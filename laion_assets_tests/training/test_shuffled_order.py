from collections import Counter

import numpy as np
import pytest

from laion_assets.training.shuffled_order import shuffle_numbers


def order(count: int, seed: int = 0, epoch: int = 0) -> list[int]:
    return list(map(int, shuffle_numbers(np.arange(count), count, seed, epoch)))


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 65_536, 65_537, 100_000])
def test_every_number_goes_to_a_place_of_its_own(count: int) -> None:
    assert sorted(order(count)) == list(range(count))


def test_the_order_is_the_same_for_good() -> None:
    """States that were saved, and results that were published, depend on it."""
    assert order(10) == [8, 3, 5, 2, 4, 7, 1, 0, 6, 9]
    assert order(10, seed=1) != order(10) != order(10, epoch=1)


def test_a_part_of_the_numbers_goes_where_it_goes_with_all() -> None:
    assert shuffle_numbers(np.array([41, 7]), 1000, 3, 2).tolist() == [
        order(1000, 3, 2)[41],
        order(1000, 3, 2)[7],
    ]


@pytest.mark.exhaustive
def test_neighbours_are_torn_apart_and_every_place_is_as_likely() -> None:
    count, epochs = 8, 1000
    orders = [order(count, epoch=epoch) for epoch in range(epochs)]
    firsts = Counter(one[0] for one in orders)
    pairs = Counter(tuple(one[:2]) for one in orders)
    expected = epochs / count
    assert all(abs(firsts[n] - expected) < 5 * expected**0.5 for n in range(count))
    assert len(pairs) == count * (count - 1)

    large = np.array(order(100_000))
    assert abs(np.corrcoef(large[:-1], large[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(large, np.arange(100_000))[0, 1]) < 0.02
    assert np.mean(np.abs(np.diff(large)) == 1) < 0.001
