"""Reads the columns of a shard's own file that are kept under their own names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laion_assets.curation.curation_file import KeptColumn
from laion_assets.curation.expression import KEPT_TYPES
from laion_assets.curation.place import CurationError
from laion_assets.raw_shards.row_parts import RowParts
from laion_assets.schemas import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

# Of the type of a column that no shard has had yet.
UNKNOWN = "VARCHAR"
BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Kept:
    """A column of one shard's file.

    Attributes:
        column: what is declared.
        path: the verified parquet file.
        name: of the column in the file, whatever its case; None if the file lacks it.
        kind: DuckDB type of the values.
    """

    column: KeptColumn
    path: Path
    name: str | None
    kind: str

    def describe(self) -> str:
        """Returns what is odd, for a person; empty if nothing is."""
        return "" if self.name else "the file of the shard has no such column"

    def compute(self, keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yields the value of each row, in their order.

        Args:
            keys: the rows, with their places in the file as `row_index`, ascending.

        Raises:
            CurationError: a value does not fit into the column.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([pa.field(self.column.name, arrow_type(self.kind))])
        if self.name is None:
            for batch in keys:
                nulls = pa.nulls(len(batch), schema.field(0).type)
                yield pa.RecordBatch.from_arrays([nulls], schema=schema)
            return
        # Read bit by bit: it would else hold the whole of a row group.
        with pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
            parts = RowParts(file.iter_batches(BATCH_ROWS, columns=[self.name]))
            for batch in keys:
                for part, places in parts.take(batch["row_index"].to_numpy()):
                    values = self._cast(part.column(0).take(pa.array(places)))
                    yield pa.RecordBatch.from_arrays([values], schema=schema)

    def _cast(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa

        try:
            cast: Any = values.cast(arrow_type(self.kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise CurationError(
                f"[keep] {self.column.name}: {self.path} has values of type {values.type}, and "
                f"those of other shards are {self.kind}; keep another column, or correct the file",
                code="kept-type-other",
            ) from error
        return cast


def open_kept(column: KeptColumn, path: Path, kind: str | None) -> Kept:
    """Looks at the column in a shard's file.

    Args:
        column: what is declared.
        path: the verified parquet file.
        kind: DuckDB type of the values that other shards have; None if none has any.

    Raises:
        CurationError: its values are of a type that is not kept.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        fields = {field.name.lower(): field for field in file.schema_arrow}
    field = fields.get(column.name.lower())
    if field is None:
        return Kept(column, path, None, kind or UNKNOWN)
    found = _find_kind(field.type)
    if found is None:
        raise CurationError(
            f"[keep] {column.name}: in {path} it is of type {field.type}, which is not kept; those "
            f"are {', '.join(KEPT_TYPES)}",
            code="kept-type",
        )
    return Kept(column, path, field.name, kind or found)


def _find_kind(kind: pa.DataType) -> str | None:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "VARCHAR"
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return "TIMESTAMP"
    names = {arrow_type(name): name for name in KEPT_TYPES}
    return names.get(kind)
