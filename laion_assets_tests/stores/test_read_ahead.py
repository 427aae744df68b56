"""What comes next is made in a thread, in order, and no further than somebody asked."""

import threading
from collections.abc import Iterator

import pytest

from laion_assets.stores.read_ahead import read_ahead


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(iter(range(100)), 3)) == list(range(100))
    assert list(read_ahead(iter([]), 3)) == []


def test_some_are_made_before_they_are_asked_for_and_no_more() -> None:
    asked = threading.Semaphore(0)
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            asked.release()
            yield number

    items = read_ahead(make(), 2)
    assert next(items) == 0
    for _ in range(3):
        assert asked.acquire(timeout=60)
    items.close()
    assert made == [0, 1, 2]


def test_an_error_comes_where_its_item_would() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    items = read_ahead(fail(), 5)
    assert next(items) == 1
    with pytest.raises(OSError, match="no more"):
        next(items)


def test_the_thread_has_ended_when_it_is_closed() -> None:
    before = threading.active_count()
    items = read_ahead(iter(range(10)), 2)
    assert next(items) == 0
    assert threading.active_count() == before + 1

    items.close()

    assert threading.active_count() == before
