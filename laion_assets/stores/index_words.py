"""Reads the words that a full-text index of Lance has, which Lance itself does not tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING

from laion_assets.stores.fst import KeySet, UnknownFormatError

if TYPE_CHECKING:
    import lance


class IndexWords:
    """The words of one column, of one version of a table, by the rules of its index.

    Attributes:
        unread: ids of the fragments that the index does not cover, or whose part of it Lance wrote
            in a form that we do not know.
    """

    def __init__(self, dataset: lance.LanceDataset, column: str) -> None:
        """Reads the lists of words, a few bytes a word."""
        fragments = {fragment.fragment_id for fragment in dataset.get_fragments()}
        self._sets: list[KeySet] = []
        self.unread = set(fragments)
        for index in dataset.describe_indices():
            if index.field_names != [column] or "Inverted" not in index.type_url:
                continue
            for segment in index.segments:
                covered = fragments.intersection(segment.fragment_ids)
                # Those of replaced shards stay in the list of the version.
                if covered and segment.base_id is None:
                    sets = _read_sets(f"{dataset.uri}/_indices/{segment.uuid}")
                    self._sets.extend(sets or ())
                    self.unread -= covered if sets is not None else set()

    def find(self, beginning: str) -> Iterator[str]:
        """Yields the words that begin so, in order; a few may stand in replaced rows alone."""
        found = merge(*(keys.find(beginning.encode()) for keys in self._sets))
        return (word.decode() for word, _ in groupby(found))


def _read_sets(folder: str) -> list[KeySet] | None:
    """Returns the words of each part of an index, None if they are in a form that is not known."""
    from lance.file import LanceFileReader

    try:
        told = LanceFileReader(f"{folder}/metadata.lance").metadata().schema.metadata or {}
        sets = []
        for part in json.loads(told[b"partitions"]):
            table = LanceFileReader(f"{folder}/part_{part}_tokens.lance").read_all().to_table()
            sets.append(KeySet(table["_token_fst_bytes"][0].as_py()))
    except (OSError, ValueError, KeyError, UnknownFormatError):
        return None
    return sets
