"""Some rows of a table, as dictionaries or as arrays, whether values are missing or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array: TypeAlias = np.ndarray[Any, Any]

Row: TypeAlias = dict[str, Any]
# Of a batch: for each column, which rows have no value.
IS_NULL = "is_null"


class RowBatch(Sequence[Row]):
    """Rows in their order; each is a dictionary, with None where there is no value.

    Attributes:
        table: the rows, in one piece.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        # As a sequence: counted from the end, and an error beyond it.
        (row,) = self.table.slice(range(len(self))[index], 1).to_pylist()
        return dict(row)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.table.to_pylist())

    def to_arrays(self) -> dict[str, Any]:
        """Returns the columns, of types that do not depend on which values are missing.

        * Integers and truth values: an array, with 0 or False where there is none.
        * Floating-point numbers: an array, with NaN.
        * Vectors: an array with a row for each, of NaN.
        * Texts, bytes and all else: a list, with None.
        * `is_null`: for each column, an array that is true where there is no value.
        """
        import numpy as np
        import pyarrow.compute as pc

        columns = {name: _to_array(self._column(name)) for name in self.table.column_names}
        is_null = {
            name: np.array(pc.is_null(self._column(name))) for name in self.table.column_names
        }
        return {**columns, IS_NULL: is_null}

    def _column(self, name: str) -> pa.Array:
        return self.table[name].combine_chunks()


def _to_array(column: pa.Array) -> Array | list[Any]:
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        # Unlike `flatten`, this keeps a place for what is missing.
        start, size = column.offset * kind.list_size, len(column) * kind.list_size
        vectors = _to_numbers(column.values.slice(start, size)).reshape(-1, kind.list_size)
        vectors[np.array(column.is_null())] = np.nan
        return vectors
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return _to_numbers(column)
    return list(column.to_pylist())


def _to_numbers(column: pa.Array) -> Array:
    """Returns an array that may be written to, as torch asks for."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    missing = np.nan if pa.types.is_floating(kind) else 0
    if pa.types.is_boolean(kind):
        missing = False
    filled = pc.if_else(column.is_null(), pa.scalar(missing, kind), column)
    return np.array(filled.to_numpy(zero_copy_only=False))
