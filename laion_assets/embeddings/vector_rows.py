"""Rows that get a vector each, as far as one is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from laion_assets.embeddings.given_vectors import Vectors
from laion_assets.embeddings.unit_vectors import find_good, normalise

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# Why a row has no vector. The last two are only where vectors are computed.
REASONS = ("not_given", "zero", "not_finite", "no_picture", "no_direction")


@dataclass
class VectorRows:
    """Some rows, and their vectors as far as they are known.

    Attributes:
        values: float16, a row for each, of unit length where there is one.
        is_there: which have one.
        reasons: why the others have none, by its number in `REASONS`.
    """

    values: NDArray[np.float16]
    is_there: NDArray[np.bool_]
    reasons: NDArray[np.int8]

    def add(self, values: NDArray[np.float16], is_there: NDArray[np.bool_]) -> None:
        """Gives vectors to rows that have none."""
        is_new = is_there & ~self.is_there
        self.values[is_new] = values[is_new]
        self.is_there |= is_new

    def note_pictures(self, has_picture: NDArray[np.bool_]) -> None:
        """Says of rows for which no vector was given that one is wanted of their picture."""
        is_open = self.reasons == REASONS.index("not_given")
        self.reasons[is_open & ~has_picture] = REASONS.index("no_picture")
        self.reasons[is_open & has_picture] = REASONS.index("no_direction")

    def finish(self, schema: pa.Schema, counts: Counter[str]) -> pa.RecordBatch:
        """Returns them as the table has them, and counts the rows that get none."""
        import numpy as np
        import pyarrow as pa

        missing = np.bincount(self.reasons[~self.is_there], minlength=len(REASONS))
        for reason, count in zip(REASONS, missing.tolist(), strict=True):
            if count:
                counts[reason] += count
        self.values[~self.is_there] = 0
        numbers = pa.array(np.ascontiguousarray(self.values).reshape(-1))
        mask = pa.array(~self.is_there)
        vectors = pa.FixedSizeListArray.from_arrays(numbers, type=schema.field(0).type, mask=mask)
        return pa.RecordBatch.from_arrays([vectors], schema=schema)


def start_rows(part: Vectors) -> VectorRows:
    """Returns rows with the vectors that were given."""
    import numpy as np

    units = normalise(part.values)
    reasons = np.full(len(part), REASONS.index("not_given"), np.int8)
    reasons[part.is_given & units.is_zero] = REASONS.index("zero")
    reasons[part.is_given & ~units.is_finite] = REASONS.index("not_finite")
    return VectorRows(units.values, part.is_given & find_good(units), reasons)


def start_empty(row_count: int, dimension: int) -> VectorRows:
    """Returns rows of which nothing is known."""
    import numpy as np

    return VectorRows(
        np.zeros((row_count, dimension), np.float16),
        np.zeros(row_count, bool),
        np.full(row_count, REASONS.index("not_given"), np.int8),
    )


def join_rows(parts: Sequence[VectorRows]) -> VectorRows:
    """Returns all rows in one."""
    import numpy as np

    columns = ([getattr(part, f.name) for part in parts] for f in fields(VectorRows))
    return VectorRows(*map(np.concatenate, columns))


def read_column(vectors: pa.Array, dimension: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Returns the vectors of a column of the table, and which of them there are."""
    import numpy as np

    is_there: NDArray[np.bool_] = vectors.is_valid().to_numpy(zero_copy_only=False)
    values = np.zeros((len(vectors), dimension), np.float16)
    values[is_there] = vectors.flatten().to_numpy().reshape(-1, dimension)
    return values, is_there
