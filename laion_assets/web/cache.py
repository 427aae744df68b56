"""Keeps the answers that were asked for last, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class PageCache:
    """The bodies of pages by key; both count. Those not asked for longest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        """Returns the body, if it is still there."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def put(self, key: Hashable, body: bytes) -> None:
        """Keeps a body, and lets go of others for it."""
        if known := self._bodies.pop(key, None):
            self._bytes -= _measure(key, known)
        self._bytes += _measure(key, body)
        self._bodies[key] = body
        while self._bytes > self._max_bytes:
            self._bytes -= _measure(*self._bodies.popitem(last=False))

    def clear(self) -> None:
        """Lets go of all."""
        self._bodies.clear()
        self._bytes = 0


def _measure(key: Hashable, body: bytes) -> int:
    """Returns the bytes of an entry, about; the query in a key may be longer than its page."""
    return len(body) + len(repr(key))
