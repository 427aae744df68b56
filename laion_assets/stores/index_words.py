"""Reads the words that a full-text index of Lance has, which Lance itself does not tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.stores.fst import KeyMap, UnknownFormatError

if TYPE_CHECKING:
    import lance
    import numpy as np
    from lance.file import LanceFileReader

    Counts: TypeAlias = np.ndarray[Any, np.dtype[np.uint32]]


READ_ROWS = 65_536


class Part(NamedTuple):
    """One part of an index.

    Attributes:
        words: each word, with its number in the part.
        counts: how many rows have it, by that number; replaced and removed rows are counted too.
        place: what the addresses of its files begin with.
        options: how Lance asks for them, where they are in a bucket.
        covered: ids of the fragments for whose rows it still stands.
    """

    words: KeyMap
    counts: Counts
    place: str
    options: dict[str, str] | None
    covered: Collection[int]

    def open(self, name: str, columns: Sequence[str] | None = None) -> LanceFileReader:
        """Opens one of its files, to read some columns or all."""
        return _open(f"{self.place}_{name}", self.options, columns)


class IndexWords:
    """The words of one column, of one version of a table, by the rules of its index.

    Attributes:
        parts: of the index.
        unread: ids of the fragments that the index does not cover, or whose part of it Lance wrote
            in a form that we do not know.
    """

    def __init__(self, dataset: lance.LanceDataset, column: str) -> None:
        """Reads the lists of words, a few bytes a word."""
        fragments = {fragment.fragment_id for fragment in dataset.get_fragments()}
        self.parts: list[Part] = []
        self.unread = set(fragments)
        for index in dataset.describe_indices():
            if index.field_names != [column] or "Inverted" not in index.type_url:
                continue
            for segment in index.segments:
                covered = fragments.intersection(segment.fragment_ids)
                # Those of replaced shards stay in the list of the version.
                if covered and segment.base_id is None:
                    folder = f"{dataset.uri}/_indices/{segment.uuid}"
                    parts = _read_parts(folder, dataset.initial_storage_options, covered)
                    self.parts.extend(parts or ())
                    self.unread -= covered if parts is not None else set()

    def find(self, beginning: str) -> Iterator[str]:
        """Yields the words that begin so, in order; a few may stand in replaced rows alone."""
        found = merge(*(part.words.find(beginning.encode()) for part in self.parts))
        return (word.decode() for word, _ in groupby(found))

    def find_near(
        self, word: str, letters: str, encode: Callable[[str], bytes] = str.encode
    ) -> set[str]:
        """Returns the words that differ from one in a letter, as `KeyMap.find_near` does."""
        return {w for part in self.parts for w in part.words.find_near(word, letters, encode)}

    def look_up(self, word: str) -> list[tuple[int, int]]:
        """Returns each part that has a word, by its place among them, and its number there."""
        key = word.encode()
        found = ((place, part.words.get(key)) for place, part in enumerate(self.parts))
        return [(place, number) for place, number in found if number is not None]

    def count(self, word: str) -> int:
        """Returns how many rows have a word, at most: replaced and removed ones are counted too."""
        return sum(int(self.parts[place].counts[number]) for place, number in self.look_up(word))


def _open(
    name: str, options: dict[str, str] | None, columns: Sequence[str] | None = None
) -> LanceFileReader:
    from lance.file import LanceFileReader

    return LanceFileReader(f"{name}.lance", options, None if columns is None else list(columns))


def _read_parts(
    folder: str, options: dict[str, str] | None, covered: Collection[int]
) -> list[Part] | None:
    """Returns the parts of an index, None if they are in a form that is not known."""
    try:
        told = _open(f"{folder}/metadata", options).metadata().schema.metadata or {}
        parts = []
        for number in json.loads(told[b"partitions"]):
            place = f"{folder}/part_{number}"
            table = _open(f"{place}_tokens", options).read_all().to_table()
            words = KeyMap(table["_token_fst_bytes"][0].as_py())
            lists = _open(f"{place}_invert", options, ["_length"])
            counts = lists.read_all(batch_size=READ_ROWS).to_table()["_length"].to_numpy()
            if len(counts) != table["_token_next_id"][0].as_py():
                return None
            parts.append(Part(words, counts, place, options, covered))
    except (OSError, ValueError, KeyError, UnknownFormatError):
        return None
    return parts
