"""Keeps the index of the vectors up to date: made, extended, merged, and trained anew as they grow.

How many partitions an index has says for how many vectors it was trained, so nothing else has to
be noted. A table with fewer vectors than one partition holds has none: reading all is as quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_fragments import list_fragments_with

if TYPE_CHECKING:
    import lance

VECTOR_INDEX = f"{COLUMN}_idx"
# Five bits a number, with a search in parts of the space; the best hits are measured exactly.
INDEX_KIND = "IVF_RQ"
METRIC = "cosine"
PARTITION_VECTORS = 4096
# Training reads everything, so it waits until the partitions are twice as large as they should be.
GROWTH = 2


def update_vector_index(store: LanceStore, dataset: lance.LanceDataset) -> lance.LanceDataset:
    """Makes the index of `img_emb` cover every row, and gives it as many partitions as it needs.

    Without vectors, or with few, there is none. Shards that changed are added to the parts that
    are there, and all parts become one.

    Args:
        store: the Lance tables.
        dataset: the newest version of the table `images`.

    Returns:
        The table with the index.
    """
    if COLUMN not in dataset.schema.names:
        return dataset
    partitions = count_partitions(dataset)
    if not partitions and _list_segments(dataset):
        dataset.drop_index(VECTOR_INDEX)
        dataset = store.open("images")
    if partitions and (len(_list_segments(dataset)) > 1 or find_unindexed(dataset)):
        dataset.optimize.optimize_indices(
            num_indices_to_merge=len(_list_segments(dataset)), index_names=[VECTOR_INDEX]
        )
        dataset = store.open("images")
    # Metadata says how many there are at most; only then they are counted.
    if not _is_too_small(partitions, _count_rows(dataset)):
        return dataset
    vectors = count_vectors(dataset)
    if _is_too_small(partitions, vectors):
        dataset.create_index(
            COLUMN,
            INDEX_KIND,
            VECTOR_INDEX,
            metric=METRIC,
            num_partitions=vectors // PARTITION_VECTORS,
            replace=True,
        )
    return store.open("images")


def count_partitions(dataset: lance.LanceDataset) -> int:
    """Returns the partitions of the index, by which it was trained; 0 if there is no index.

    One whose shards were all replaced counts as none: Lance knows nothing of it any more.
    """
    if not _list_segments(dataset):
        return 0
    parts = dataset.stats.index_stats(VECTOR_INDEX)["indices"]
    return max((int(part.get("num_partitions", 0)) for part in parts), default=0)


def find_unindexed(dataset: lance.LanceDataset) -> set[int]:
    """Returns the ids of the fragments that the index does not cover, as after a new load."""
    covered = set().union(*_list_segments(dataset))
    return {f.fragment_id for f in dataset.get_fragments() if f.fragment_id not in covered}


def count_vectors(dataset: lance.LanceDataset, fragments: set[int] | None = None) -> int:
    """Returns how many rows have a vector; reads them.

    Args:
        dataset: a version of the table `images`.
        fragments: the ids of those to count in; None: all.
    """
    return sum(
        fragment.count_rows(f"{COLUMN} IS NOT NULL")
        for fragment in list_fragments_with(dataset, [COLUMN])
        if fragments is None or fragment.fragment_id in fragments
    )


def _count_rows(dataset: lance.LanceDataset) -> int:
    """Returns the rows of the fragments that have a file of vectors."""
    return sum(f.count_rows() for f in list_fragments_with(dataset, [COLUMN]))


def _is_too_small(partitions: int, vectors: int) -> bool:
    return vectors // PARTITION_VECTORS >= max(1, GROWTH * partitions)


def _list_segments(dataset: lance.LanceDataset) -> list[set[int]]:
    """Returns the fragments that each part of the index covers."""
    return [
        set(segment.fragment_ids)
        for index in dataset.describe_indices()
        if index.name == VECTOR_INDEX
        for segment in index.segments
    ]
