"""Reads the keys of a finite-state transducer, the form in which Lance keeps the words of an index.

Source: the format of version 3 of the Rust crate `fst` 0.4 (Andrew Gallant; `src/raw/node.rs`). Its
nodes are found by the position of their last byte, and are read backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VERSION = 3
# Version and type before the nodes; number of keys, place of the root and checksum behind them.
HEADER_BYTES, FOOTER_BYTES = 16, 20
# The node at this place ends a key, and has nothing after it.
END = 0
# The bytes that have a number in the first byte of a node with one transition, from 1.
COMMON = b"te/oasripcnw.hlm-du012g=:bf3y5&_4v9678k%?xCDASFIBEjPTzRNM+LOqHG"
# A node with more transitions than this has a table of all bytes, too.
MOST_WITHOUT_TABLE = 32


class UnknownFormatError(Exception):
    """These are not the bytes of a transducer of this version."""


class Node(NamedTuple):
    """A node.

    Attributes:
        is_final: whether a key ends here.
        transitions: each next byte and the place of the node after it, by byte.
    """

    is_final: bool
    transitions: list[tuple[int, int]]


class KeySet:
    """The keys of a transducer; its values are not read."""

    def __init__(self, content: bytes) -> None:
        """Looks at its beginning and its end.

        Raises:
            UnknownFormatError: it is of another version, or none.
        """
        is_long = len(content) >= HEADER_BYTES + FOOTER_BYTES
        if not is_long or int.from_bytes(content[:8], "little") != VERSION:
            raise UnknownFormatError
        self._content = content
        self._root = int.from_bytes(content[-12:-4], "little")
        # The root is the last node; without a key there is none.
        nodes_bytes = HEADER_BYTES if self._root == END else self._root + 1
        if nodes_bytes + FOOTER_BYTES != len(content):
            raise UnknownFormatError

    def find(self, beginning: bytes) -> Iterator[bytes]:
        """Yields the keys that begin so, in the order of their bytes."""
        place = self._root
        for byte in beginning:
            after = dict(self._read(place).transitions)
            if byte not in after:
                return
            place = after[byte]
        unread = [(beginning, place)]
        while unread:
            key, place = unread.pop()
            node = self._read(place)
            if node.is_final:
                yield key
            unread.extend((key + bytes([byte]), at) for byte, at in reversed(node.transitions))

    def _read(self, place: int) -> Node:
        if place == END:
            return Node(True, [])
        first = self._content[place]
        number = first & 0b111111
        if not first & 0b10000000:
            return self._read_any(place, is_final=bool(first & 0b1000000), count=number)
        before = place if number else place - 1
        byte = COMMON[number - 1] if number else self._content[before]
        if first & 0b1000000:
            # What follows stands right before it.
            return Node(False, [(byte, before - 1)])
        address_bytes, output_bytes = divmod(self._content[before - 1], 16)
        start = before - 1 - address_bytes
        return Node(False, [(byte, self._follow(start, address_bytes, start - output_bytes))])

    def _read_any(self, place: int, *, is_final: bool, count: int) -> Node:
        before = place
        if not count:
            before -= 1
            # One transition is never written so.
            count = 256 if self._content[before] == 1 else self._content[before]
        address_bytes, output_bytes = divmod(self._content[before - 1], 16)
        inputs = before - 1 - (256 if count > MOST_WITHOUT_TABLE else 0) - count
        addresses = inputs - count * address_bytes
        end = addresses - (count + is_final) * output_bytes
        # Both lists have the last transition first.
        transitions = [
            (
                self._content[inputs + count - 1 - n],
                self._follow(inputs - (n + 1) * address_bytes, address_bytes, end),
            )
            for n in range(count)
        ]
        return Node(is_final, transitions)

    def _follow(self, start: int, byte_count: int, end: int) -> int:
        """Returns the place that an address stands for, which is counted from the node's end."""
        distance = int.from_bytes(self._content[start : start + byte_count], "little")
        return END if distance == 0 else end - distance
