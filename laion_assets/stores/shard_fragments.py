"""Which fragments of a Lance table hold the rows of a shard."""

from __future__ import annotations

from collections.abc import Collection
from itertools import accumulate
from typing import TYPE_CHECKING

from laion_assets.stores.locks import name_digest
from laion_assets.stores.shard_files import list_shard_files
from laion_assets.stores.sql import quote_literal

if TYPE_CHECKING:
    import lance
    from lance.fragment import LanceFragment


def find_fragments(dataset: lance.LanceDataset, *shards: str) -> list[int]:
    """Returns the ids of the fragments with rows of these shards; only they add to the cost.

    `replace_shard` gives a shard fragments of its own, whose files name it. Others are looked into:
    a compaction by somebody else joins neighbours, so a fragment's first and last row tell which
    shards it can have: if both have the same, then that one alone, else all between have to be
    looked at.
    """
    digests = set(map(name_digest, shards))
    found, unnamed = set(), set()
    every = list(list_shard_files(dataset))
    for fragment, named in every:
        if named is None:
            unnamed.add(fragment.fragment_id)
        elif named.digest in digests and fragment.count_rows():
            found.add(fragment.fragment_id)
    if unnamed:
        found |= {
            fragment.fragment_id
            for fragment, first, last in _list_ends(dataset, unnamed)
            if not {first, last}.isdisjoint(shards)
            or (first != last and fragment.count_rows(select_shards(shards)))
        }
    return [id_ for fragment, _ in every if (id_ := fragment.fragment_id) in found]


def map_fragments(dataset: lance.LanceDataset) -> dict[str, list[LanceFragment]]:
    """Returns for each shard the fragments with rows of it, in the order of the table."""
    found: dict[str, list[LanceFragment]] = {}
    for fragment, first, last in _list_ends(dataset):
        shards = {first}
        if first != last:
            for batch in fragment.to_batches(columns=["shard"]):
                shards.update(batch["shard"].unique().to_pylist())
        for shard in shards:
            found.setdefault(shard, []).append(fragment)
    return found


def _list_ends(
    dataset: lance.LanceDataset, numbers: Collection[int] | None = None
) -> list[tuple[LanceFragment, str, str]]:
    """Returns each fragment that has rows, with the shards of its first and its last one.

    Args:
        dataset: the table.
        numbers: of the fragments to look into; None: all.
    """
    every = dataset.get_fragments()
    ends = accumulate(f.count_rows() for f in every)
    found = [
        (f, end - f.count_rows(), end - 1)
        for f, end in zip(every, ends, strict=True)
        if f.count_rows() and (numbers is None or f.fragment_id in numbers)
    ]
    if not found:
        return []
    fragments, firsts, lasts = zip(*found, strict=True)
    shards = _shards_at(dataset, list(firsts)), _shards_at(dataset, list(lasts))
    return list(zip(fragments, *shards, strict=True))


def find_fragments_with(dataset: lance.LanceDataset, columns: Collection[str]) -> set[int]:
    """Returns the ids of the fragments with a file for one of these columns."""
    return {fragment.fragment_id for fragment in list_fragments_with(dataset, columns)}


def list_fragments_with(
    dataset: lance.LanceDataset, columns: Collection[str]
) -> list[LanceFragment]:
    """Returns the fragments with a file for one of these columns.

    Only metadata is read. What a fragment has no file for is NULL in all of its rows.
    """
    ids = {f.id() for f in dataset.lance_schema.fields() if f.name() in columns}
    if not ids:
        return []
    return [
        fragment
        for fragment in dataset.get_fragments()
        if any(not ids.isdisjoint(file.fields) for file in fragment.data_files())
    ]


def select_shards(shards: Collection[str]) -> str:
    """Returns the predicate of Lance that the rows of these shards fulfil; there may be none."""
    names = ", ".join(map(quote_literal, sorted(shards)))
    return f"shard IN ({names})" if names else "false"


def _shards_at(dataset: lance.LanceDataset, offsets: list[int]) -> list[str]:
    shards: list[str] = dataset.take(offsets, columns=["shard"])["shard"].to_pylist()
    return shards
