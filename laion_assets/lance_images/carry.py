"""Carries columns that a shard got later over to its next load, where the image_id is the same.

Their files become part of the new fragments before these are committed, so no version of the table
has the new rows without them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from laion_assets.schemas import ADDED_COLUMNS
from laion_assets.stores.column_files import ColumnFiles, ColumnSet, RowSpan, write_column_files
from laion_assets.stores.columns import NotedColumns, find_schema
from laion_assets.stores.database import open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.own_columns import Loss, can_be_declared, is_portable, list_own
from laion_assets.stores.shard_fragments import find_fragments, find_fragments_with, select_shards
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from lance.fragment import FragmentMetadata
    from numpy.typing import NDArray

# What such columns were made from; whoever makes them sees that it was not this load.
CARRIED = "carried over"
# Of pictures with some megabytes each, so many are held; of vectors some more.
TAKEN_ROWS = 64
TAKEN_VECTORS = 2048


class Carrier:
    """Carries the columns of one shard over. Hold `lock_shard` meanwhile.

    Args:
        store: the Lance tables.
        shard: partition key.
        load_id: of the load that is copied.
        run_id: the Dagster run, for provenance.
        declared: the columns that are declared; they are made again, so they stay behind.
        made: the sets of columns that this project has made for some shard. Others of its names
            were added by hand.
    """

    def __init__(
        self,
        store: LanceStore,
        shard: str,
        load_id: str,
        run_id: str,
        declared: Collection[str] = (),
        made: Collection[str] = (),
    ) -> None:
        self._store, self._shard, self._declared, self._made = store, shard, declared, made
        self._load_id, self._run_id = load_id, run_id
        self._ids: list[NDArray[np.int64]] = []
        self.notes: list[NotedColumns] = []
        self.losses: list[Loss] = []

    def see(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Takes note of new rows, in their order; returns them."""
        # A copy: a column of DuckDB's keeps the memory of its whole batch.
        self._ids.append(batch["image_id"].to_numpy().copy())
        return batch

    def extend(self, fragments: list[FragmentMetadata]) -> None:
        """Adds files of the columns to the new fragments, and a note of each set to `notes`.

        Columns that somebody added by hand come along as well; `losses` says of which rows they
        are NULL now.
        """
        dataset = self._store.open("images")
        # Once for all columns, and not at all without any.
        find_old = cache(lambda: find_fragments(dataset, self._shard))
        match = cache(lambda: self._match(dataset, find_old()))
        own = list_own(dataset.schema, self._declared)
        for name, columns in ADDED_COLUMNS.items():
            names = [column.name for column in columns]
            schema = find_schema(dataset, names)
            if schema is None or name not in self._made:
                own += [field for field in dataset.schema if field.name in names]
                continue
            if not fragments or not _has_values(dataset, find_old(), schema):
                continue
            addresses = match()
            if addresses.null_count < len(addresses):
                files = self._add(dataset, ColumnSet(name, schema), fragments, addresses)
                self.notes.append(self._note(files))
        for field in own:
            self._extend_own(dataset, find_old, fragments, field, match)

    def _extend_own(
        self,
        dataset: lance.LanceDataset,
        find_old: Callable[[], Sequence[int]],
        fragments: list[FragmentMetadata],
        field: pa.Field,
        match: Callable[[], pa.Array],
    ) -> None:
        import pyarrow as pa

        schema = pa.schema([field])
        total = sum(fragment.physical_rows for fragment in fragments)
        can_come = is_portable(field.type)
        if not total or (can_come and not find_fragments_with(dataset, [field.name])):
            return
        lost = total
        if can_come and _has_values(dataset, find_old(), schema):
            addresses = match()
            lost = addresses.null_count
            if lost < total:
                columns = ColumnSet(f"own-{field.name}", schema)
                self._add(dataset, columns, fragments, addresses)
        if lost:
            self.losses.append(Loss(field.name, lost, total, can_be_declared(field)))

    def _match(self, dataset: lance.LanceDataset, old: Sequence[int]) -> pa.Array:
        """Returns for each new row the address of the old one, NULL if there is none."""
        import numpy as np
        import pyarrow as pa

        ids = np.concatenate(self._ids)
        new_rows = pa.table({"image_id": ids, "place": np.arange(len(ids))})
        scanner = dataset.scanner(
            columns={"place": "row_index", "image_id": "image_id"},
            filter=select_shards([self._shard]),
            fragments=[f for f in dataset.get_fragments() if f.fragment_id in old],
            with_row_address=True,
        )
        with open_engine() as engine:
            engine.register("new_rows", new_rows)
            old_rows = scanner.to_table()
            engine.register("old_rows", old_rows.rename_columns(["place", "image_id", "address"]))
            matched = engine.sql(load_sql("lance_images/match_rows")).to_arrow_table()
        return matched["address"].combine_chunks()

    def _add(
        self,
        dataset: lance.LanceDataset,
        columns: ColumnSet,
        fragments: Sequence[FragmentMetadata],
        addresses: pa.Array,
    ) -> ColumnFiles:
        """Adds a file of these columns to each of the new fragments."""
        files = self._write(dataset, columns, fragments, addresses)
        for fragment, file in zip(fragments, files.install(self._store, dataset), strict=True):
            fragment.files.append(file)
        return files

    def _write(
        self,
        dataset: lance.LanceDataset,
        columns: ColumnSet,
        fragments: Sequence[FragmentMetadata],
        addresses: pa.Array,
    ) -> ColumnFiles:
        name = f"{columns.name}-carried"
        with self._store.lock_columns(self._shard, name):
            return write_column_files(
                self._store.staging_folder(self._shard, name),
                columns,
                [RowSpan(fragment.physical_rows) for fragment in fragments],
                _take(dataset, columns.schema, addresses),
                dataset.data_storage_version,
            )

    def _note(self, files: ColumnFiles) -> NotedColumns:
        return NotedColumns(
            shard=self._shard,
            column_set=files.columns.name,
            load_id=self._load_id,
            made_from=CARRIED,
            value_count=files.value_count,
            data_bytes=files.data_bytes,
            digest=files.digest,
            lance_version=None,
            run_id=self._run_id,
        )


def _has_values(dataset: lance.LanceDataset, fragments: Sequence[int], schema: pa.Schema) -> bool:
    """Returns whether a fragment has a file for these columns of the table."""
    return not find_fragments_with(dataset, schema.names).isdisjoint(fragments)


def _take(
    dataset: lance.LanceDataset, schema: pa.Schema, addresses: pa.Array
) -> Iterator[pa.RecordBatch]:
    """Yields the old values of new rows, a few at a time."""
    import numpy as np
    import pyarrow as pa

    is_of_vectors = all(pa.types.is_fixed_size_list(kind) for kind in schema.types)
    step = TAKEN_VECTORS if is_of_vectors else TAKEN_ROWS
    for start in range(0, len(addresses), step):
        part = addresses.slice(start, step)
        found: NDArray[np.uint64] = np.unique(part.drop_null().to_numpy())
        if not len(found):
            nulls = [pa.nulls(len(part), field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(nulls, schema=schema)
            continue
        table = dataset._take_rows(pa.array(found), columns=schema.names).combine_chunks()
        places = pa.array(found).to_numpy().searchsorted(part.fill_null(0).to_numpy())
        indices = pa.array(places, mask=part.is_null().to_numpy(zero_copy_only=False))
        columns = [table[name].combine_chunks().take(indices) for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
