"""Counts the matches of a search by the columns that a user declared, or added by hand.

Numbers are counted by ranges of round numbers, the same for all searches of a release; where there
are few different ones, by themselves, as texts are. A link filters by an SQL condition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.filter import quote_text
from laion_assets.search.row_values import NO_TEXT, RowValues
from laion_assets.search.where import NAME
from laion_assets.stores.own_columns import list_own
from laion_assets.stores.sql import quote_identifier

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]

# A text that more rows differ in is no facet: nobody picks from it, and it takes room.
MAX_TEXTS = 10_000
# Numbers are told by themselves where there are no more different ones.
MAX_NUMBERS = 8
# About so many bars.
BARS = 10
# Outside of it stand the first and the last range, however far their numbers are.
PERCENTILES = (1, 99)
# Beyond it a number of 64 bits is not exact as a float.
LARGEST = 2.0**53


@dataclass(frozen=True)
class OwnCount:
    """How many of the counted matches have a value of an own column.

    Attributes:
        value: a text, a number, or a range as `Bounds` has it.
        condition: the same as `SearchFilter.where` takes it.
        image_count: how many have it.
    """

    value: str
    condition: str
    image_count: int


@dataclass(frozen=True)
class OwnFacet:
    """The matches by one own column.

    Attributes:
        name: of the column.
        is_range: whether the values are ranges, in order; else they are the most first.
        counts: of each value.
        missing_count: how many matches have none.
    """

    name: str
    is_range: bool
    counts: tuple[OwnCount, ...]
    missing_count: int


class OwnFacets:
    """The own columns of one version of the table; for several threads at once."""

    def __init__(self, dataset: lance.LanceDataset, values: RowValues) -> None:
        """Reads nothing yet."""
        self._fields = [field for field in list_own(dataset.schema) if NAME.fullmatch(field.name)]
        self._values = values
        self._scales: dict[str, _Scale | None] = {}

    def count(self, places: Numbers) -> Iterator[OwnFacet]:
        """Yields the matches by each column that can be counted, and that any of them has.

        Args:
            places: of rows.
        """
        import pyarrow as pa

        for field in self._fields:
            if pa.types.is_string(field.type) or pa.types.is_boolean(field.type):
                found = self._count_texts(field, places)
            elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
                found = self._count_numbers(field, places)
            else:
                continue
            if found is not None and any(count.image_count for count in found.counts):
                yield found

    def _count_texts(self, field: pa.Field, places: Numbers) -> OwnFacet | None:
        import numpy as np
        import pyarrow as pa

        read = self._values.read_own_texts(field.name, places, MAX_TEXTS)
        if read is None:
            return None
        codes, texts = read
        name = quote_identifier(field.name)
        counts = np.bincount(codes, minlength=len(texts))
        is_text = pa.types.is_string(field.type)
        told = [
            OwnCount(text, f"{name} = {quote_text(text) if is_text else text}", int(count))
            for text, count in zip(texts, counts, strict=True)
            if text is not None and count and "\0" not in text
        ]
        told.sort(key=lambda one: (-one.image_count, one.value))
        return OwnFacet(field.name, False, tuple(told), int(counts[NO_TEXT]))

    def _count_numbers(self, field: pa.Field, places: Numbers) -> OwnFacet | None:
        import numpy as np

        if field.name not in self._scales:
            # Two threads may both do it, to the same end.
            every = self._values.read_own_numbers(field.name)
            self._scales[field.name] = _read_scale(field, every)
        scale = self._scales[field.name]
        if scale is None:
            return None
        numbers = self._values.read_own_numbers(field.name, places)
        known = numbers[~np.isnan(numbers)]
        counts = np.bincount(scale.place(known), minlength=len(scale.values)).tolist()
        told = [
            OwnCount(value, condition, count)
            for value, condition, count in zip(
                scale.values, scale.write_conditions(field.name), counts, strict=True
            )
        ]
        if not scale.is_range:
            told = [count for count in told if count.image_count]
            told.sort(key=lambda one: -one.image_count)
        return OwnFacet(field.name, scale.is_range, tuple(told), len(numbers) - len(known))


@dataclass(frozen=True)
class _Scale:
    """Where a column of numbers is cut.

    Attributes:
        marks: edges of ranges, ascending, or the numbers themselves; as texts that SQL reads.
        is_range: whether they are edges.
        is_narrow: whether the column has floats of 32 bits, as which Lance compares.
    """

    marks: tuple[str, ...]
    is_range: bool
    is_narrow: bool

    @property
    def values(self) -> Sequence[str]:
        """Ranges or numbers, in order."""
        if not self.is_range:
            return self.marks
        return [f"{first}..{last}" for first, last in self._ends()]

    def write_conditions(self, column: str) -> Iterator[str]:
        """Yields the condition of each of the values."""
        name = quote_identifier(column)
        if not self.is_range:
            yield from (f"{name} = {mark}" for mark in self.marks)
            return
        for first, last in self._ends():
            parts = [f"{name} >= {first}"] if first else []
            parts += [f"{name} < {last}"] if last else []
            yield " AND ".join(parts)

    def place(self, numbers: Numbers) -> Numbers:
        """Returns the place of each number among the values."""
        import numpy as np

        marks = np.array(list(map(float, self.marks)))
        if self.is_narrow:
            marks = marks.astype(np.float32).astype(np.float64)
        places: Numbers = np.searchsorted(marks, numbers, side="right" if self.is_range else "left")
        return places

    def _ends(self) -> Iterator[tuple[str, str]]:
        yield from zip(("", *self.marks), (*self.marks, ""), strict=True)


def _read_scale(field: pa.Field, numbers: Numbers) -> _Scale | None:
    """Returns where a column is cut; None if it has nothing to count, or numbers too large."""
    import numpy as np
    import pyarrow as pa

    known = numbers[np.isfinite(numbers)]
    is_whole, is_narrow = pa.types.is_integer(field.type), field.type == pa.float32()
    if not len(known) or (is_whole and np.abs(known).max() >= LARGEST):
        return None
    few = np.unique(known)
    if len(few) <= MAX_NUMBERS and np.isfinite(numbers[~np.isnan(numbers)]).all():
        marks = [str(int(one)) if is_whole else _write_float(one, is_narrow) for one in few]
        return _Scale(tuple(marks), is_range=False, is_narrow=is_narrow)
    low, high = (float(end) for end in np.percentile(known, PERCENTILES))
    if low == high:
        low, high = float(few[0]), float(few[-1])
    step = _round_up((high - low) / BARS)
    if is_whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step), math.floor(high / step)
    # One decimal more than the step has: 0.1 times 3 is not 0.3 otherwise.
    marks = [f"{number * step:.12g}" for number in range(first, last + 1)]
    return _Scale(tuple(marks), is_range=True, is_narrow=is_narrow) if marks else None


def _round_up(step: float) -> float:
    """Returns the next one of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= step)


def _write_float(number: Any, is_narrow: bool) -> str:
    import numpy as np

    return str(np.float32(number)) if is_narrow else repr(float(number))
