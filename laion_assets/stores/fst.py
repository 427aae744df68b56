"""Reads a finite-state transducer, the form in which Lance keeps the words of an index.

Source: the format of version 3 of the Rust crate `fst` 0.4 (Andrew Gallant; `src/raw/node.rs`). Its
nodes are found by the position of their last byte, and are read backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
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
# Nodes that are kept as they were read: some 300 bytes each. Looking for a word with a slip of the
# pen passes the same ones some hundred times.
MAX_KEPT_NODES = 20_000


class UnknownFormatError(Exception):
    """These are not the bytes of a transducer of this version."""


class Node(NamedTuple):
    """A node.

    Attributes:
        output: what is added to the value of a key that ends here; None if none does.
        transitions: by each next byte, in order: what is added to the value, and the place of the
            node after it.
    """

    output: int | None
    transitions: dict[int, tuple[int, int]]


@cache
def _group_letters(
    letters: str, encode: Callable[[str], bytes]
) -> Mapping[int, Sequence[tuple[str, bytes]]]:
    """Returns letters by the first byte that stands for them, with the bytes after it."""
    grouped: dict[int, list[tuple[str, bytes]]] = {}
    for letter in letters:
        first, *_ = piece = encode(letter)
        grouped.setdefault(first, []).append((letter, piece[1:]))
    return grouped


class KeyMap:
    """The keys of a transducer with their values, which are whole numbers."""

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
        self._kept: dict[int, Node] = {}

    def get(self, key: bytes) -> int | None:
        """Returns the value of a key, None if it is none."""
        kept, node, value = self._kept, self._read(self._root), 0
        for byte in key:
            after = node.transitions.get(byte)
            if after is None:
                return None
            value += after[0]
            node = kept.get(after[1]) or self._read(after[1])
        return None if node.output is None else value + node.output

    def find_near(
        self, word: str, letters: str, encode: Callable[[str], bytes] = str.encode
    ) -> Iterator[str]:
        """Yields the keys of which one letter is another, one too many, missing, or swapped.

        Their beginnings are followed once, so it takes as long as looking some ten keys up.

        Args:
            word: that the keys are compared with; it may come, too, and a key more than once.
            letters: that a key may have in place of one of the word, or besides.
            encode: returns the bytes that stand for one letter in a key.
        """
        pieces = [encode(letter) for letter in word]
        rests = [b"".join(pieces[place:]) for place in range(len(word) + 2)]
        others = _group_letters(letters, encode)
        node: Node | None = self._read(self._root)
        for place in range(len(word) + 1):
            if node is None:
                return
            start, end, rest, after = word[:place], word[place:], rests[place], rests[place + 1]
            if end and self._ends(node, after):
                yield start + end[1:]
            if end[1:] and self._ends(node, pieces[place + 1] + pieces[place] + rests[place + 2]):
                yield start + end[1] + end[0] + end[2:]
            # Most keys have another byte there: looked at here, that takes no call.
            for letter, other in self._follow_letters(node, others):
                ways = other.transitions
                if end and (not after or after[0] in ways) and self._ends(other, after):
                    yield start + letter + end[1:]
                if (not rest or rest[0] in ways) and self._ends(other, rest):
                    yield start + letter + end
            node = self._walk(node, pieces[place]) if end else None

    def _follow_letters(
        self, node: Node, letters: Mapping[int, Sequence[tuple[str, bytes]]]
    ) -> Iterator[tuple[str, Node]]:
        """Yields the letters that a key may go on with, each with the node behind it."""
        # Most nodes go on with fewer bytes than there are letters.
        for byte, (_, place) in node.transitions.items():
            for letter, more in letters.get(byte, ()):
                after = self._kept.get(place) or self._read(place)
                if not more:
                    yield letter, after
                elif (last := self._walk(after, more)) is not None:
                    yield letter, last

    def _walk(self, node: Node, piece: bytes) -> Node | None:
        """Returns the node behind some bytes, None if no key goes on so."""
        for byte in piece:
            after = node.transitions.get(byte)
            if after is None:
                return None
            node = self._kept.get(after[1]) or self._read(after[1])
        return node

    def _ends(self, node: Node, piece: bytes) -> bool:
        """Returns whether a key ends behind these bytes."""
        kept = self._kept
        for byte in piece:
            after = node.transitions.get(byte)
            if after is None:
                return False
            node = kept.get(after[1]) or self._read(after[1])
        return node.output is not None

    def find(self, beginning: bytes) -> Iterator[bytes]:
        """Yields the keys that begin so, in the order of their bytes."""
        place = self._root
        for byte in beginning:
            after = self._read(place).transitions.get(byte)
            if after is None:
                return
            place = after[1]
        unread = [(beginning, place)]
        while unread:
            key, place = unread.pop()
            node = self._read(place)
            if node.output is not None:
                yield key
            ways = reversed(node.transitions.items())
            unread.extend((key + bytes([byte]), at) for byte, (_, at) in ways)

    def _read(self, place: int) -> Node:
        node = self._kept.get(place)
        if node is None:
            node = self._read_anew(place)
            if len(self._kept) < MAX_KEPT_NODES:
                self._kept[place] = node
        return node

    def _read_anew(self, place: int) -> Node:
        if place == END:
            return Node(0, {})
        first = self._content[place]
        number = first & 0b111111
        if not first & 0b10000000:
            return self._read_any(place, is_final=bool(first & 0b1000000), count=number)
        before = place if number else place - 1
        byte = COMMON[number - 1] if number else self._content[before]
        if first & 0b1000000:
            # What follows stands right before it.
            return Node(None, {byte: (0, before - 1)})
        address_bytes, output_bytes = divmod(self._content[before - 1], 16)
        start = before - 1 - address_bytes
        end = start - output_bytes
        output = self._read_number(end, output_bytes)
        return Node(None, {byte: (output, self._follow(start, address_bytes, end))})

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
        # All lists have the last transition first; the output of the node itself is before them.
        transitions = {
            self._content[inputs + count - 1 - n]: (
                self._read_number(addresses - (n + 1) * output_bytes, output_bytes),
                self._follow(inputs - (n + 1) * address_bytes, address_bytes, end),
            )
            for n in range(count)
        }
        return Node(self._read_number(end, output_bytes) if is_final else None, transitions)

    def _follow(self, start: int, byte_count: int, end: int) -> int:
        """Returns the place that an address stands for, which is counted from the node's end."""
        distance = self._read_number(start, byte_count)
        return END if distance == 0 else end - distance

    def _read_number(self, start: int, byte_count: int) -> int:
        return int.from_bytes(self._content[start : start + byte_count], "little")
