"""Keeps the pages that were asked for last, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Hashable

from laion_assets.search.lru_cache import LruCache


class PageCache(LruCache[bytes]):
    """The bodies of pages by key; both count."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, _measure)


def _measure(key: Hashable, body: bytes) -> int:
    """Returns the bytes of an entry, about; the query in a key may be longer than its page."""
    return len(body) + len(repr(key))
