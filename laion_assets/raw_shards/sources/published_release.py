"""Shards in a release that `laion publish` made, with the names, places and rows that they had.

A file is written as the shard's own was, but for the rows that were left out: their places are
empty rows, so that every image has its `row_index` and the counts agree. The metadata of the file
names the SHA-256 of the shard's own file, so that a release of it has the same content digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.errors import ShardError
from laion_assets.raw_shards.samples import SAMPLE_METADATA
from laion_assets.schemas import LANCE_IMAGES
from laion_assets.stores.published_shards import ORIGIN_KEY, PublishedShard
from laion_assets.stores.shard_fragments import find_fragments

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Each is made anew from the others, or from the place of the row.
DERIVED = frozenset(column.name for column in LANCE_IMAGES if not column.sources)


@dataclass(frozen=True)
class RowPlaces:
    """Where the rows of a shard are, in the order of its file.

    Attributes:
        row_index: of each row, ascending.
        fragment: the number of its fragment.
        offset: its place in the fragment.
    """

    row_index: NDArray[np.int64]
    fragment: NDArray[np.int64]
    offset: NDArray[np.int64]


def find_rows(dataset: lance.LanceDataset, record: PublishedShard, name: str) -> RowPlaces:
    """Finds the rows of a shard.

    Raises:
        ShardError: they are not those that the record of the release tells of.
    """
    import numpy as np
    import pyarrow.compute as pc

    parts, id_sum = [], 0
    for number in find_fragments(dataset, record.shard):
        fragment = dataset.get_fragment(number)
        assert fragment is not None
        rows = fragment.to_table(columns=["shard", "row_index", "image_id"])
        (offsets,) = np.nonzero(pc.equal(rows["shard"], record.shard).to_numpy())
        own = rows["row_index"].to_numpy()[offsets]
        parts.append((own, np.full(len(offsets), number), offsets))
        id_sum += sum(map(int, rows["image_id"].to_numpy()[offsets].tolist()))
    row_index, fragments, offsets = (
        np.concatenate([part[n] for part in parts] or [np.empty(0, np.int64)]).astype(np.int64)
        for n in range(3)
    )
    order = np.argsort(row_index, kind="stable")
    places = RowPlaces(row_index[order], fragments[order], offsets[order])
    found = len(order), str(id_sum), bool((np.diff(places.row_index) > 0).all())
    is_within = not len(order) or 0 <= row_index.min() <= row_index.max() < record.file_rows
    if found != (record.image_count, record.id_sum, True) or not is_within:
        raise ShardError(
            f"{name}: its rows are not those of the release ({len(order):,} rows, "
            f"{record.image_count:,} by the record); copy the dataset again",
            code="released-rows-differ",
        )
    return places


def list_columns(columns: list[str]) -> list[str]:
    """Returns which columns of a published table a file is written from."""
    return [name for name in columns if name not in DERIVED]


def describe_columns(dataset: lance.LanceDataset, columns: list[str]) -> pa.Schema:
    """Returns the types of columns, each of which may be NULL."""
    import pyarrow as pa

    fields = [dataset.schema.field(name).with_nullable(True) for name in columns]
    return pa.schema([field.remove_metadata() for field in fields])


def read_rows(
    dataset: lance.LanceDataset,
    record: PublishedShard,
    places: RowPlaces,
    columns: list[str],
    at_once: int,
) -> Iterator[pa.Table]:
    """Yields the rows of the shard's file, with an empty one for each that was left out.

    Args:
        dataset: the published table.
        record: what it says of the shard.
        places: as `find_rows` found them.
        columns: which to read.
        at_once: rows of the table to read at a time.
    """
    import numpy as np
    import pyarrow as pa

    begin = 0
    for start in range(0, max(len(places.row_index), 1), at_once):
        stop = start + at_once
        is_last = stop >= len(places.row_index)
        end = record.file_rows if is_last else int(places.row_index[stop])
        taken = _take(dataset, places, slice(start, stop), columns)
        numbers = np.full(end - begin, -1)
        numbers[places.row_index[start:stop] - begin] = np.arange(taken.num_rows)
        yield taken.take(pa.array(numbers, mask=numbers < 0))
        begin = end


def describe_file(record: PublishedShard) -> dict[str, str]:
    """Returns the metadata of the shard's file."""
    return {ORIGIN_KEY: record.sha256, **(SAMPLE_METADATA if record.is_sample else {})}


def _take(
    dataset: lance.LanceDataset, places: RowPlaces, part: slice, columns: list[str]
) -> pa.Table:
    """Returns rows in the order of the places; all columns may be NULL."""
    import numpy as np
    import pyarrow as pa

    fragments, offsets = places.fragment[part], places.offset[part]
    schema = describe_columns(dataset, columns)
    tables, orders = [schema.empty_table()], [np.empty(0, np.int64)]
    for number in np.unique(fragments):
        (own,) = np.nonzero(fragments == number)
        fragment = dataset.get_fragment(int(number))
        assert fragment is not None
        tables.append(fragment.take(offsets[own].tolist(), columns=columns).cast(schema))
        orders.append(own)
    order = np.concatenate(orders)
    return pa.concat_tables(tables).take(pa.array(np.argsort(order, kind="stable")))
