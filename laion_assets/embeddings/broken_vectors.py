"""Looks for vectors that are not what was noted of them."""

from __future__ import annotations

from dataclasses import dataclass

from laion_assets.embeddings.add_embeddings import COLUMN, COLUMN_SET
from laion_assets.stores.columns import read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_fragments import select_shards

# Of each shard; a check runs with every refresh.
SAMPLE_COUNT = 100
# Each of the numbers is rounded to 11 bits.
MOST_DIFFERENCE = 0.002


@dataclass(frozen=True)
class Differing:
    """A shard whose vectors are not what they have to be."""

    shard: str
    what: str


def find_broken(database: Database, store: LanceStore) -> tuple[int, list[Differing]]:
    """Counts the vectors of each shard, and measures some.

    Returns:
        How many were measured, and what is wrong.
    """
    with database.read() as connection:
        notes = [n for n in read_notes(connection) if n.column_set == COLUMN_SET]
    encoders = sorted({n.encoder for n in notes if n.encoder})
    # One that is being written is looked at the next time.
    expected = {n.shard: n.value_count for n in notes if n.lance_version is not None}
    looked_at = 0
    broken = [
        Differing(note.shard, f"vectors of another encoder than others: {note.encoder_name}")
        for note in notes
        if note.encoder not in (None, *encoders[:1])
    ]
    for shard, count in expected.items():
        found, lengths = _measure(store, shard)
        looked_at += len(lengths)
        if found != count:
            broken.append(Differing(shard, f"{found} vectors instead of {count}"))
        elif wrong := [length for length in lengths if abs(length - 1) > MOST_DIFFERENCE]:
            broken.append(Differing(shard, f"a vector of the length {wrong[0]:.4f}"))
    return looked_at, broken


def _measure(store: LanceStore, shard: str) -> tuple[int, list[float]]:
    """Returns how many vectors a shard has, and the lengths of some from all over it."""
    import numpy as np

    dataset = store.open("images")
    if COLUMN not in dataset.schema.names:
        return 0, []
    is_there = f"{select_shards([shard])} AND {COLUMN} IS NOT NULL"
    addresses = dataset.to_table([], filter=is_there, with_row_address=True)["_rowaddr"]
    step = max(1, len(addresses) // SAMPLE_COUNT)
    chosen = addresses.combine_chunks()[::step][:SAMPLE_COUNT]
    if not len(chosen):
        return 0, []
    vectors = dataset._take_rows(chosen, columns=[COLUMN])[COLUMN].combine_chunks()
    numbers = vectors.flatten().to_numpy().astype(np.float64).reshape(len(chosen), -1)
    return len(addresses), np.linalg.norm(numbers, axis=1).tolist()
