"""Keeps what was asked for last: answers, sets of rows, filters, pages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


def _count_one(_key: Hashable, _value: object) -> int:
    return 1


class LruCache(Generic[Value]):
    """Values by key, up to a size. Those not asked for longest go first. For several threads."""

    def __init__(
        self, max_size: int, measure: Callable[[Hashable, Value], int] = _count_one
    ) -> None:
        """Keeps nothing yet.

        Args:
            max_size: of all together.
            measure: returns the size of a key with its value; by default they are counted.
        """
        self._max_size = max_size
        self._measure = measure
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        """Returns the value, if it is still there."""
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keeps a value, and lets go of others for it."""
        with self._lock:
            known = self._kept.pop(key, None)
            if known is not None:
                self._size -= self._measure(key, known)
            self._kept[key] = value
            self._size += self._measure(key, value)
            while self._size > self._max_size:
                self._size -= self._measure(*self._kept.popitem(last=False))

    def find(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the value, or makes it. Two threads may both do that, to the same end."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value

    def clear(self) -> None:
        """Lets go of all."""
        with self._lock:
            self._kept.clear()
            self._size = 0
