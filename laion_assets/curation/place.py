"""Where something stands in `curation.toml`, so that a message can name it with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_assets.errors import LaionError

_HEADER = re.compile(r"\s*\[([^\[].*?)\]\s*(#.*)?")
_KEY = re.compile(r"\s*([^=#]+?)\s*=")


class CurationError(LaionError):
    """`curation.toml` cannot be used; the message names the place in it and the remedy."""


@dataclass(frozen=True)
class Place:
    """A place in the file.

    Attributes:
        path: the file.
        text: what it says.
        names: the table and the key in it, such as `columns`, `aspect_ratio`, `sql`.
    """

    path: Path
    text: str = ""
    names: tuple[str, ...] = ()

    def of(self, name: str) -> Place:
        """Returns the place of a key in this table."""
        return Place(self.path, self.text, (*self.names, name))

    def __str__(self) -> str:
        """Returns the file with the line, and the table or the key in it."""
        if not self.names:
            return str(self.path)
        return f"{self.path}:{find_line(self.text, self.names)} [{'.'.join(self.names)}]"


def find_line(text: str, names: tuple[str, ...]) -> int:
    """Returns the line, from 1, at which a table or a key begins, or that which holds it.

    Args:
        text: TOML that can be read.
        names: the table and the key in it.
    """
    table: tuple[str, ...] = ()
    best, line_of_best, quote = 0, 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            # Within a text of several lines.
            quote = "" if quote in line else quote
            continue
        found: tuple[str, ...] = ()
        if header := _HEADER.fullmatch(line):
            found = table = _read_path(f"[{header[1]}]")
        elif key := _KEY.match(line):
            found = (*table, *_read_path(f"{key[1]} = 0"))
        quote = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
        length = len(names) if found[: len(names)] == names else len(found)
        if found[:length] == names[:length] and length > best:
            best, line_of_best = length, number
    return line_of_best


def check_keys(place: Place, table: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses a table with other keys.

    Raises:
        CurationError: it has one.
    """
    for name in table:
        if name not in known:
            raise CurationError(
                f"{place.of(name)}: `{name}` is not known here; known are {', '.join(known)}",
                code="curation-key-unknown",
            )


def are_tables(tables: Any) -> bool:
    """Returns whether a value is a table of tables."""
    return isinstance(tables, dict) and all(isinstance(each, dict) for each in tables.values())


def _read_path(line: str) -> tuple[str, ...]:
    """Returns the names of a header, or of a key with a value."""
    try:
        read: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        # The middle of a list, or of a text.
        return ()
    path = []
    while isinstance(read, dict) and read:
        ((name, read),) = read.items()
        path.append(name)
    return tuple(path)


def check_texts(place: Place, table: Mapping[str, Any]) -> None:
    """Checks that all values of a table are texts.

    Raises:
        CurationError: one is not, or is blank.
    """
    for key, value in table.items():
        if not isinstance(value, str) or not value.strip():
            raise CurationError(f"{place.of(key)}: write a text in quotes", code="curation-no-text")
