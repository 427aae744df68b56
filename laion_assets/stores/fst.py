"""Reads a finite-state transducer, the form in which Lance keeps the words of an index.

Source: the format of version 3 of the Rust crate `fst` 0.4 (Andrew Gallant; `src/raw/node.rs`). Its
nodes are found by the position of their last byte, and are read backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeAlias

VERSION = 3
# Version and type before the nodes; number of keys, place of the root and checksum behind them.
HEADER_BYTES, FOOTER_BYTES = 16, 20
# The node at this place ends a key, and has nothing after it.
END = 0
# The bytes that have a number in the first byte of a node with one transition, from 1.
COMMON = b"te/oasripcnw.hlm-du012g=:bf3y5&_4v9678k%?xCDASFIBEjPTzRNM+LOqHG"
# A node with more transitions than this has a table of all bytes, too.
MOST_WITHOUT_TABLE = 32
# What the first byte of a node says: it has one transition; that leads to the node before it; or,
# of one that may have several, a key ends here.
HAS_ONE, IS_NEXT, IS_FINAL, NUMBER = 0b10000000, 0b1000000, 0b1000000, 0b111111

# The place of a node, and what is added to the value of a key on the way to it.
Way: TypeAlias = tuple[int, int]
# Of a node with any number of transitions: their number; where their bytes and the addresses of the
# nodes after them, begin; the bytes that each address takes and each output, which are right before
# the addresses; and where the node begins, which is with its own output if a key ends there. All
# lists have the last transition first.
Branches: TypeAlias = tuple[int, int, int, int, int, int]


class UnknownFormatError(Exception):
    """These are not the bytes of a transducer of this version."""


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
    """The keys of a transducer with their values, which are whole numbers.

    It keeps nothing but the bytes: to read a node anew takes less than to look it up.
    """

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

    def get(self, key: bytes) -> int | None:
        """Returns the value of a key, None if it is none."""
        place, value = self._root, 0
        for byte in key:
            way = self._follow(place, byte)
            if way is None:
                return None
            place, output = way
            value += output
        own = self._read_output(place)
        return None if own is None else value + own

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
        at: int | None = self._root
        for place in range(len(word) + 1):
            if at is None:
                return
            start, end, rest, after = word[:place], word[place:], rests[place], rests[place + 1]
            if end and self._ends(at, after):
                yield start + end[1:]
            if end[1:] and self._ends(at, pieces[place + 1] + pieces[place] + rests[place + 2]):
                yield start + end[1] + end[0] + end[2:]
            for letter, behind in self._follow_letters(at, others):
                if end and self._ends(behind, after):
                    yield start + letter + end[1:]
                if self._ends(behind, rest):
                    yield start + letter + end
            at = self._walk(at, pieces[place]) if end else None

    def _follow_letters(
        self, place: int, letters: Mapping[int, Sequence[tuple[str, bytes]]]
    ) -> Iterator[tuple[str, int]]:
        """Yields the letters that a key may go on with, each with the place of the node behind."""
        # Most nodes go on with fewer bytes than there are letters.
        for byte in self._list_bytes(place):
            for letter, more in letters.get(byte, ()):
                behind = self._walk(place, bytes([byte]) + more)
                if behind is not None:
                    yield letter, behind

    def _walk(self, place: int, piece: bytes) -> int | None:
        """Returns the place of the node behind some bytes, None if no key goes on so."""
        for byte in piece:
            way = self._follow(place, byte)
            if way is None:
                return None
            place = way[0]
        return place

    def _ends(self, place: int, piece: bytes) -> bool:
        """Returns whether a key ends behind these bytes."""
        behind = self._walk(place, piece)
        return behind is not None and self._read_output(behind) is not None

    def find(self, beginning: bytes) -> Iterator[bytes]:
        """Yields the keys that begin so, in the order of their bytes."""
        start = self._walk(self._root, beginning)
        unread = [] if start is None else [(beginning, start)]
        while unread:
            key, place = unread.pop()
            if self._read_output(place) is not None:
                yield key
            for byte in reversed(self._list_bytes(place)):
                way = self._follow(place, byte)
                assert way is not None
                unread.append((key + bytes([byte]), way[0]))

    def _follow(self, place: int, byte: int) -> Way | None:
        """Returns where a byte leads from a node, None if no key has it there."""
        content = self._content
        if place == END:
            return None
        first = content[place]
        if first & HAS_ONE:
            number = first & NUMBER
            before = place if number else place - 1
            if byte != (COMMON[number - 1] if number else content[before]):
                return None
            if first & IS_NEXT:
                # What follows stands right before it.
                return before - 1, 0
            address_bytes, output_bytes = divmod(content[before - 1], 16)
            start = before - 1 - address_bytes
            end = start - output_bytes
            return self._find(start, address_bytes, end), self._read_number(end, output_bytes)
        size, inputs, addresses, address_bytes, output_bytes, end = self._read_branches(
            place, first
        )
        at = content.find(byte, inputs, inputs + size) - inputs
        if at < 0:
            return None
        output = addresses - (size - at) * output_bytes
        return (
            self._find(addresses + at * address_bytes, address_bytes, end),
            self._read_number(output, output_bytes),
        )

    def _read_output(self, place: int) -> int | None:
        """Returns what is added to the value of a key that ends at a node; None if none does."""
        if place == END:
            return 0
        first = self._content[place]
        if first & HAS_ONE or not first & IS_FINAL:
            return None
        *_, output_bytes, end = self._read_branches(place, first)
        return self._read_number(end, output_bytes)

    def _list_bytes(self, place: int) -> bytes:
        """Returns the bytes that keys have after a node, in order."""
        if place == END:
            return b""
        first = self._content[place]
        if first & HAS_ONE:
            number = first & NUMBER
            return bytes([COMMON[number - 1] if number else self._content[place - 1]])
        size, inputs, *_ = self._read_branches(place, first)
        return self._content[inputs : inputs + size][::-1]

    def _read_branches(self, place: int, first: int) -> Branches:
        """Returns the parts of a node that may have several transitions.

        Args:
            place: its own.
            first: the byte there.
        """
        content, count = self._content, first & NUMBER
        before = place if count else place - 1
        if not count:
            # One transition is never written so.
            count = 256 if content[before] == 1 else content[before]
        address_bytes, output_bytes = divmod(content[before - 1], 16)
        inputs = before - 1 - (256 if count > MOST_WITHOUT_TABLE else 0) - count
        addresses = inputs - count * address_bytes
        end = addresses - (count + bool(first & IS_FINAL)) * output_bytes
        return count, inputs, addresses, address_bytes, output_bytes, end

    def _find(self, start: int, byte_count: int, end: int) -> int:
        """Returns the place that an address stands for, which is counted from the node's end."""
        distance = self._read_number(start, byte_count)
        return END if distance == 0 else end - distance

    def _read_number(self, start: int, byte_count: int) -> int:
        if not byte_count:
            return 0
        return int.from_bytes(self._content[start : start + byte_count], "little")
