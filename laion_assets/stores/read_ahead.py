"""Makes what comes next in a thread, while what came before is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item]:
    """Yields the same items, of which up to a number are made before somebody asks for them.

    It helps where items are made without Python's lock, and used without it. An error is raised in
    place of the item. Close it, and the thread has ended.

    Args:
        items: used by one thread of its own, until this ends.
        count: how many may be there that nobody has asked for.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = deque(pool.submit(next, items, end) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]  # all but the end is an item
        finally:
            for each in coming:
                each.cancel()
