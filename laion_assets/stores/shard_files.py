"""Names of data files of a Lance table that say whose rows are in them.

To look into the files of thousands of shards is a request for each. So a file with the rows of one
shard is renamed before its commit: the name has the digest of the shard and the sum of the ids of
the rows. A manifest has the names of all files, so whoever opens a version has them too. Files of
older versions, and those that somebody else writes, have other names; they are looked into.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from laion_assets.stores.locks import name_digest

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from lance.fragment import FragmentMetadata, LanceFragment
    from numpy.typing import NDArray

    from laion_assets.stores.lance_store import LanceStore

_NAME = re.compile(r"([0-9a-f]{24})_(-?[0-9]+)_[0-9a-f]{16}\.lance")
_LOW_HALF = (1 << 32) - 1


class ShardFile(NamedTuple):
    """What the name of a data file says of the rows in it.

    Attributes:
        digest: of the shard of all of them, as `name_digest` makes it.
        id_sum: of their `image_id`, those that were deleted since included; None if the ids are not
            in this file.
    """

    digest: str
    id_sum: int | None


class IdSums:
    """Adds up the ids of rows on their way into fragments."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int64]] = []

    def see(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Takes note of rows, in their order; returns them."""
        if "image_id" in batch.schema.names:
            # A copy: a column of DuckDB's keeps the memory of its whole batch.
            self._ids.append(batch["image_id"].to_numpy().copy())
        return batch

    def add_up(self, row_counts: Sequence[int]) -> list[int]:
        """Returns the sum of each fragment; 0 where rows have no ids."""
        import numpy as np

        if not self._ids or not row_counts:
            return [0] * len(row_counts)
        parts = np.split(np.concatenate(self._ids), np.cumsum(row_counts)[:-1])
        return list(map(sum_ids, parts))


def sum_ids(ids: NDArray[np.int64]) -> int:
    """Returns the sum of numbers of 64 bits, which may have more."""
    return (int((ids >> 32).sum()) << 32) + int((ids & _LOW_HALF).sum())


def name_file(
    store: LanceStore, table: str, shard: str, fragment: FragmentMetadata, id_sum: int
) -> None:
    """Renames the file of a new fragment, which no version has yet; changes what describes it."""
    from lance.fragment import DataFile

    (file,) = fragment.files
    name = f"{name_digest(shard)}_{id_sum}_{secrets.token_hex(8)}.lance"
    store.rename_data_file(table, file.path, name)
    fragment.files[0] = DataFile(
        name,
        file.fields,
        file.column_indices,
        file.file_major_version,
        file.file_minor_version,
        file.file_size_bytes,
    )


def list_shard_files(
    dataset: lance.LanceDataset,
) -> Iterator[tuple[LanceFragment, ShardFile | None]]:
    """Yields the fragments, and what their names say; None where they have to be looked into."""
    ids = {field.name(): field.id() for field in dataset.lance_schema.fields()}
    shard_id, image_id = ids["shard"], ids.get("image_id")
    for fragment in dataset.get_fragments():
        yield fragment, _read_name(fragment, shard_id, image_id)


def _read_name(fragment: LanceFragment, shard_id: int, image_id: int | None) -> ShardFile | None:
    for file in fragment.data_files():
        # Its property `path` makes a class each time, which takes ten times as long.
        match = _NAME.fullmatch(file._path)
        # A column that somebody wrote again is in another file, and in this one no more.
        if match and shard_id in file.fields:
            return ShardFile(match[1], int(match[2]) if image_id in file.fields else None)
    return None
