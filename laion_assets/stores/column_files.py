"""Writes columns that rows of the Lance table `images` get later: one data file a fragment.

The files are made in a folder of their own, and renamed into the table when they are whole, so what
a killed process leaves is never among the table's files, and the next writer removes it. Only a
commit makes a reader see them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laion_assets.errors import LaionError
from laion_assets.stores.column_digest import ColumnDigest
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from lance.fragment import DataFile
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ColumnSet:
    """Columns that are always written together.

    Attributes:
        name: of the asset that writes them.
        schema: the columns; each may be NULL. The first says whether a row has them.
    """

    name: str
    schema: pa.Schema


@dataclass(frozen=True)
class RowSpan:
    """The rows of one fragment.

    Attributes:
        physical_rows: rows of its files, those that were deleted included.
        offsets: where the rows are that were not deleted, in order; None: all are there.
    """

    physical_rows: int
    offsets: NDArray[np.int64] | None = None

    @property
    def row_count(self) -> int:
        """The rows that were not deleted."""
        return self.physical_rows if self.offsets is None else len(self.offsets)


@dataclass(frozen=True)
class ColumnFiles:
    """Files that hold a set of columns of some fragments, which no reader sees yet.

    Attributes:
        columns: the set.
        paths: one file for each fragment.
        row_count: rows that were not deleted.
        value_count: of these, the rows with a value in the first column.
        data_bytes: size of the files.
        digest: of the values, in the order of the rows.
    """

    columns: ColumnSet
    paths: Sequence[Path]
    row_count: int
    value_count: int
    data_bytes: int
    digest: str

    def install(self, store: LanceStore, dataset: lance.LanceDataset) -> list[DataFile]:
        """Moves the files among those of the table; returns what a commit has to say of each."""
        from lance.fragment import DataFile

        names = self.columns.schema.names
        ids = {f.name(): f.id() for f in dataset.lance_schema.fields()}
        major, minor = map(int, dataset.data_storage_version.split("."))
        files = []
        for path in self.paths:
            size = path.stat().st_size
            place = store.add_data_file("images", path)
            fields = [ids[name] for name in names]
            files.append(DataFile(place, fields, list(range(len(names))), major, minor, size))
        return files


@dataclass
class _Tally:
    """What has been written so far."""

    digest: ColumnDigest
    row_count: int = 0
    value_count: int = 0
    paths: list[Path] = field(default_factory=list)


def write_column_files(
    folder: Path,
    columns: ColumnSet,
    spans: Sequence[RowSpan],
    values: Iterator[pa.RecordBatch],
    version: str,
) -> ColumnFiles:
    """Writes one file for each fragment.

    Args:
        folder: where to; it is there, and empty.
        columns: the columns.
        spans: the rows of each fragment.
        values: their values, row for row and fragment after fragment, in batches of any size; read
            to the end.
        version: of the table's file format.

    Raises:
        LaionError: the values are not as many as the rows, or not of these columns.
    """
    tally = _Tally(ColumnDigest(columns.schema))
    batches = _cut(values, [span.row_count for span in spans], columns)
    for number, span in enumerate(spans):
        path = folder / f"{number}.lance"
        _write_file(path, columns, span, next(batches), version, tally)
        tally.paths.append(path)
    if next(batches, None) is not None:
        raise LaionError(
            f"{columns.name}: more values than rows; please report it",
            code="column-values-too-many",
        )
    return ColumnFiles(
        columns=columns,
        paths=tally.paths,
        row_count=tally.row_count,
        value_count=tally.value_count,
        data_bytes=sum(path.stat().st_size for path in tally.paths),
        digest=tally.digest.hexdigest(),
    )


def _write_file(
    path: Path,
    columns: ColumnSet,
    span: RowSpan,
    batches: Iterator[pa.RecordBatch],
    version: str,
    tally: _Tally,
) -> None:
    from lance.file import LanceFileWriter

    written = live = 0
    with LanceFileWriter(str(path), columns.schema, version=version) as writer:
        for batch in batches:
            tally.digest.add(batch)
            tally.value_count += len(batch) - batch.column(0).null_count
            live += len(batch)
            end = span.physical_rows
            if span.offsets is not None and live < span.row_count:
                end = int(span.offsets[live])
            elif span.offsets is None:
                end = live
            rows = _add_gaps(batch, span, live, written, end)
            written += len(rows)
            writer.write_batch(rows)
        if written < span.physical_rows:
            # All of its rows were deleted, or it has none.
            writer.write_batch(_make_nulls(columns.schema, span.physical_rows - written))
    # Lance takes a file with too few rows, and then cannot read the fragment.
    if live != span.row_count:
        raise LaionError(
            f"{columns.name}: {live} values for {span.row_count} rows; please report it",
            code="column-values-miscounted",
        )
    tally.row_count += live


def _add_gaps(
    batch: pa.RecordBatch, span: RowSpan, live: int, start: int, end: int
) -> pa.RecordBatch:
    """Returns the batch with NULL where rows were deleted, so that each row is in its place."""
    import numpy as np
    import pyarrow as pa

    if span.offsets is None:
        return batch
    rows = np.zeros(end - start, np.int64)
    is_gap = np.ones(end - start, bool)
    places = span.offsets[live - len(batch) : live] - start
    rows[places] = np.arange(len(batch))
    is_gap[places] = False
    indices = pa.array(rows, mask=is_gap)
    return pa.RecordBatch.from_arrays([c.take(indices) for c in batch.columns], schema=batch.schema)


def _make_nulls(schema: pa.Schema, row_count: int) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.nulls(row_count, f.type) for f in schema], schema=schema)


def _cut(
    batches: Iterator[pa.RecordBatch], counts: Sequence[int], columns: ColumnSet
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Yields the batches of each fragment; one more if there are rows left.

    The batches of a fragment have to be read before those of the next.
    """
    rest: list[pa.RecordBatch] = []

    def take(count: int) -> Iterator[pa.RecordBatch]:
        while count:
            batch = rest.pop() if rest else next(batches, None)
            if batch is None:
                return
            batch = _check(batch, columns)
            if len(batch) > count:
                rest.append(batch.slice(count))
                batch = batch.slice(0, count)
            count -= len(batch)
            yield batch

    for count in counts:
        yield take(count)
    if rest or any(len(batch) for batch in batches):
        yield iter(rest)


def _check(batch: pa.RecordBatch, columns: ColumnSet) -> pa.RecordBatch:
    import pyarrow as pa

    found: Any = batch.schema.remove_metadata()
    if found.equals(columns.schema):
        return batch
    if found.names != columns.schema.names or found.types != columns.schema.types:
        raise LaionError(
            f"{columns.name}: values have other columns or types; please report it",
            code="column-values-mistyped",
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=columns.schema)
