"""Makes vectors of unit length, as the table has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOAT32_BYTES = 4
# By so much the length of a vector of unit length can be off once its numbers are float16.
ROUNDING = 2**-11


@dataclass(frozen=True)
class UnitVectors:
    """Vectors of unit length.

    Attributes:
        values: a row for each; what was zero or not finite is of no length.
        is_zero: which were zero.
        is_finite: which had finite numbers alone.
    """

    values: NDArray[np.float16]
    is_zero: NDArray[np.bool_]
    is_finite: NDArray[np.bool_]


def normalise(values: NDArray[np.floating]) -> UnitVectors:
    """Makes vectors of unit length; those of the table itself stay as they are, bit by bit.

    Args:
        values: a row for each.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        wide: NDArray[Any] = values
        if values.dtype.itemsize < FLOAT32_BYTES:
            wide = values.astype(np.float32)
        # By the largest number first, so that no square is too large or too small.
        largest = np.maximum(wide.max(axis=1), -wide.min(axis=1))[:, None]
        is_finite = np.isfinite(largest[:, 0])
        scaled = wide / largest
        scaled /= _find_lengths(scaled)[:, None]
        units = scaled.astype(np.float16)
        if values.dtype == np.float16:
            is_unit = np.abs(_find_lengths(wide) - 1) <= ROUNDING
            units = np.where(is_unit[:, None], values, units)
        return UnitVectors(units, largest[:, 0] == 0, is_finite)


def _find_lengths(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    lengths: NDArray[Any] = np.sqrt(np.einsum("ij,ij->i", values, values))
    return lengths


def find_good(units: UnitVectors) -> NDArray[np.bool_]:
    """Returns which of them have a direction."""
    good: NDArray[np.bool_] = units.is_finite & ~units.is_zero
    return good
