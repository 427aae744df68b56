"""Reads the rows of a release in their order, without those that an export leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.search.safety import drop_unsafe

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    from laion_assets.releases.manifest import Manifest
    from laion_assets.stores.lance_store import LanceStore

    Numbers: TypeAlias = np.ndarray[Any, Any]

BATCH_ROWS = 16_384
_OF_SAFETY = ("punsafe", "nsfw")


def scan_rows(
    images: lance.LanceDataset, columns: list[str], **only: Any
) -> Iterator[pa.RecordBatch]:
    """Yields rows with their ids, in the order of the table, which is the same whenever it is read.

    Args:
        images: the released version.
        columns: of each row.
        only: arguments of `scanner` that say which rows.
    """
    yield from images.scanner(
        columns=columns,
        batch_size=BATCH_ROWS,
        # Else Lance reads far ahead of the writer, and memory grows with the table.
        batch_readahead=2,
        fragment_readahead=1,
        scan_in_order=True,
        with_row_id=True,
        **only,
    ).to_batches()


def leave_out(batch: pa.RecordBatch, removed: Numbers, *, is_safe: bool) -> pa.RecordBatch:
    """Returns a batch of `scan_rows` without some of its rows.

    Args:
        batch: with the columns `punsafe` and `nsfw`, if unsafe rows are left out.
        removed: the ids of the rows that are on the list of removals.
        is_safe: whether unsafe rows are left out as well.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(removed):
        batch = batch.filter(pc.invert(pc.is_in(batch["_rowid"], value_set=pa.array(removed))))
    return drop_unsafe(batch) if is_safe else batch


def check_removed(store: LanceStore, manifest: Manifest, removed: Numbers) -> None:
    """Checks that nothing came onto the list of removals while a release was exported.

    Args:
        store: the Lance tables.
        manifest: the record of the release.
        removed: ids of its rows that were left out, as `find_hidden` gave them before.

    Raises:
        LaionError: other rows are on the list now.
    """
    if find_hidden(store, manifest).tolist() != removed.tolist():
        raise LaionError(
            f"release {manifest.release}: the list of removals changed while it was exported, and "
            "nothing was written; export it again",
            code="export-removals-changed",
        )


def number_rows(
    images: lance.LanceDataset, columns: Sequence[str], removed: Numbers, *, is_safe: bool
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of an export in the order of the table, with a column `id`, from 1.

    An image has the same id with and without those left out.

    Args:
        images: the released version.
        columns: of each row.
        removed: as of `leave_out`.
        is_safe: as of `leave_out`.
    """
    import pyarrow as pa

    seen = 0
    for batch in scan_rows(images, [*dict.fromkeys((*columns, *(_OF_SAFETY * is_safe)))]):
        numbers = pa.array(range(seen + 1, seen + 1 + batch.num_rows), pa.int64())
        seen += batch.num_rows
        yield leave_out(batch.append_column("id", numbers), removed, is_safe=is_safe)


def list_values(column: pa.Array) -> list[Any]:
    """Returns the values of a column for SQLite, which takes NaN for NULL.

    By way of numpy that is ten times as fast. It would make a missing whole number a float.
    """
    import pyarrow as pa

    is_slow = column.null_count and pa.types.is_integer(column.type)
    values: list[Any] = (
        column.to_pylist() if is_slow else column.to_numpy(zero_copy_only=False).tolist()
    )
    return values
