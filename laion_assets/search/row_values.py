"""The columns of the Lance table that a search needs of single rows, by row id.

Lance takes about a millisecond a column to read twenty rows. What is asked for again and again is
therefore kept in memory; of a table that is too large for that, Lance is asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from math import isnan
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.safety import UNSAFETY, measure_unsafety

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]

# In the order in which a hit has them.
HIT_COLUMNS = (
    "image_id",
    "url",
    "caption",
    "domain",
    "width",
    "height",
    "aesthetic",
    "similarity",
    "punsafe",
    "pwatermark",
    "shard",
    "row_index",
)
# Of these columns a value may be missing; 32-bit floats hold them, NaN for none.
FLOATS = ("width", "height", "aesthetic", "similarity", "punsafe", "pwatermark")
PIXELS = frozenset({"width", "height"})
INTEGERS = ("image_id", "row_index")
# Texts that many rows have in common: a number a row, and each text once.
CODED = ("domain", "shard")
# Texts by which the matches are counted; not of hits, so they are read when first asked for.
COUNTED = ("domain", "registered_domain", "shard", "license", "nsfw", "language")
# Each picture has one.
HASH = "picture_sha256"
# A column that no table has: the smaller of width and height.
SIDE = "shorter_side"
# The number that stands for the text of a row that has none.
NO_TEXT = 0
_SOURCES = {UNSAFETY: ("punsafe", "nsfw"), SIDE: ("width", "height")}
# Different for each row, and long.
TAKEN = ("url", "caption")
# Up to so many rows, a column of numbers is kept once it was asked for: 4 bytes a row.
MAX_KEPT_ROWS = 64_000_000
# Up to so many, all of a hit but URL and caption can be: 48 bytes a row.
MAX_KEPT_HITS = 16_000_000
# Rows that are read at a time.
BATCH_ROWS = 262_144


class RowValues:
    """Reads the values of rows of one version of the table `images`; for several threads at once.

    A row id is the number of the fragment, and in its lower half the place in there.
    """

    def __init__(self, dataset: lance.LanceDataset, *, keeps_hits: bool = False) -> None:
        """Looks at the fragments.

        Args:
            dataset: the version.
            keeps_hits: read all of a hit but URL and caption into memory now, unless the table is
                too large, or somebody deleted single rows of it.
        """
        import numpy as np

        fragments = dataset.get_fragments()
        sizes = [fragment.physical_rows for fragment in fragments]
        self._dataset = dataset
        # Lance makes a schema anew whenever it is asked for one, the longer the more columns.
        self._names = frozenset(dataset.schema.names)
        self._row_count = sum(sizes)
        self._by_id = {fragment.fragment_id: fragment for fragment in fragments}
        self._starts = np.zeros(1 + max((f.fragment_id for f in fragments), default=0), np.int64)
        self._fragments = np.array([f.fragment_id for f in fragments], np.int64)
        self._starts[self._fragments] = np.cumsum([0, *sizes])[:-1]
        self._floats: dict[str, Numbers] = {}
        self._others: dict[str, Numbers] = {}
        self._doubles: dict[str, Numbers] = {}
        self._ranges: dict[str, Numbers] = {}
        self._pictured: Numbers | None = None
        self._texts: dict[str, Sequence[str | None]] = {}
        # Lance counts the rows that are left, we those that were written.
        self._is_whole = not any(fragment.num_deletions for fragment in fragments)
        if keeps_hits and self._is_whole and self._row_count <= MAX_KEPT_HITS:
            self._keep_hits()

    def read(self, column: str, rows: Numbers) -> Numbers:
        """Returns the number in a column for each row id, NaN where there is none.

        Args:
            column: of numbers, `UNSAFETY` or `SIDE`.
            rows: row ids.
        """
        if self._row_count > MAX_KEPT_ROWS:
            return self._read_each(column, rows)
        return self.read_placed(column, self.place(rows))

    def read_placed(self, column: str, places: Numbers | None = None) -> Numbers:
        """Returns the number in a column for each place, NaN where there is none.

        For a table that is small enough (`can_count`).

        Args:
            column: of numbers, `UNSAFETY` or `SIDE`.
            places: of rows; None: all of the table.
        """
        every = self._keep_floats(column)
        return every if places is None else every[places]

    def read_ranges(self, column: str, edges: tuple[float, ...], places: Numbers) -> Numbers:
        """Returns for each place in which range between edges its number is.

        It is kept in a byte a row: of very many rows that is read several times as fast as the
        number, and needs no looking up.

        Args:
            column: as `read_placed` has it.
            edges: where one range ends and the next begins, ascending, the same each time.
            places: of rows.

        Returns:
            0 where there is no number, 1 below the first edge, and so on.
        """
        if column not in self._ranges:
            # Two threads may both do it, to the same end.
            self._ranges[column] = _find_ranges(self._keep_floats(column), edges)
        found: Numbers = self._ranges[column][places]
        return found

    def read_codes(self, column: str, places: Numbers) -> tuple[Numbers, Sequence[str | None]]:
        """Returns a number for the text in a column for each place, and the text of each number.

        `NO_TEXT` is the number of the rows without one.

        Args:
            column: one of `COUNTED`; one that the table lacks has no text in any row.
            places: of rows.
        """
        import numpy as np

        if column not in self._texts:
            # Two threads may both do it, to the same end.
            self._keep_codes(column)
        texts = self._texts[column]
        if len(texts) == 1:
            return np.zeros(len(places), np.int32), texts
        return self._others[column][places], texts

    def have_text(self, column: str, text: str, places: Numbers | None = None) -> Numbers:
        """Returns for each place whether a column has exactly this text.

        Args:
            column: one of `COUNTED`.
            text: what is looked for.
            places: of rows; None: all of the table.
        """
        import numpy as np

        _, texts = self.read_codes(column, np.zeros(0, np.int64))
        if text not in texts:
            return np.zeros(self._row_count if places is None else len(places), np.bool_)
        codes = self._others[column]
        found: Numbers = (codes if places is None else codes[places]) == texts.index(text)
        return found

    def read_own_texts(
        self, column: str, places: Numbers, most: int
    ) -> tuple[Numbers, Sequence[str | None]] | None:
        """Returns what `read_codes` does, of a column of texts or truth values of a user.

        None if there are more different ones than that.
        """
        import numpy as np
        import pyarrow as pa

        if column not in self._texts:
            known: dict[str | None, int] = {None: NO_TEXT}

            def encode(batch: pa.RecordBatch) -> Numbers:
                if len(known) > most:
                    return np.zeros(len(batch), np.int32)
                texts = batch.select([column]).cast(pa.schema([pa.field(column, pa.string())]))
                return _encode(known, texts)

            # Two threads may both do it, to the same end.
            self._others[column] = self._load([column], np.int32, encode)
            self._texts[column] = list(known) if len(known) <= most else []
        texts = self._texts[column]
        return (self._others[column][places], texts) if texts else None

    def read_own_numbers(self, column: str, places: Numbers | None = None) -> Numbers:
        """Returns the number in a column of a user for each place, NaN where there is none.

        Args:
            column: of numbers.
            places: of rows; None: all rows that there are.
        """
        import numpy as np
        import pyarrow as pa

        if column not in self._doubles:
            # Two threads may both do it, to the same end.
            self._doubles[column] = self._load(
                [column],
                np.float64,
                lambda b: b.column(0).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False),
                missing=np.nan,
            )
        every = self._doubles[column]
        return every if places is None else every[places]

    @property
    def can_count(self) -> bool:
        """Whether the table is small enough for `read_codes`."""
        return self._row_count <= MAX_KEPT_ROWS

    @property
    def keeps_hits(self) -> bool:
        """Whether most columns of hits are in memory; then no single row was removed."""
        return INTEGERS[0] in self._others

    def read_hits(self, rows: Numbers) -> list[Mapping[str, Any]]:
        """Returns the columns of hits for each row id."""
        if not len(rows):
            return []
        if self.keeps_hits:
            return self._read_kept(rows)
        if self._is_whole:
            return list(self._take(HIT_COLUMNS, rows).to_pylist())
        table = self._scan(HIT_COLUMNS, rows)
        found = {hit.pop("_rowid"): hit for hit in table.to_pylist()}
        return [found[row] for row in rows.tolist()]

    def locate(self, rows: Numbers) -> list[int]:
        """Returns the position of each row id: how many rows were written before it."""
        return list(self.place(rows).tolist())

    def place(self, rows: Numbers) -> Numbers:
        """Returns the place of each row id: how many rows were written before it."""
        import numpy as np

        fragments, places = rows >> np.uint64(32), rows & np.uint64(0xFFFFFFFF)
        found: Numbers = self._starts[fragments] + places.astype(np.int64)
        return found

    def identify(self, places: Numbers) -> Numbers:
        """Returns the row id at each place."""
        import numpy as np

        starts = self._starts[self._fragments]
        of = np.searchsorted(starts, places, side="right") - 1
        rows: Numbers = ((self._fragments[of] << 32) + places - starts[of]).astype(np.uint64)
        return rows

    @property
    def row_count(self) -> int:
        """Rows that were written, so that each place is below it."""
        return self._row_count

    @cached_property
    def is_in_order(self) -> bool:
        """Whether each row that was written is there, and those with greater ids are behind."""
        import numpy as np

        return self._is_whole and bool((np.diff(self._fragments) > 0).all())

    def read_at(
        self, positions: Sequence[int], columns: Sequence[str]
    ) -> list[Mapping[str, Any] | None]:
        """Returns columns of the row at each position; None where there is none, or none any more.

        Args:
            positions: numbers from 0, in any order.
            columns: their names.
        """
        import numpy as np

        written = [position for position in positions if position < self._row_count]
        if not written:
            return [None] * len(positions)
        known = np.unique(np.array(written, np.int64))
        if self._is_whole:
            places, table = known, self._dataset.take(known.tolist(), columns=list(columns))
        else:
            table = self._scan(columns, self.identify(known))
            places = self.place(table["_rowid"].to_numpy())
            table = table.drop_columns("_rowid")
        found = dict(zip(places.tolist(), table.to_pylist(), strict=True))
        return [found.get(position) for position in positions]

    def read_texts(self, rows: Numbers) -> pa.Table:
        """Returns URL and caption for each row id.

        Args:
            rows: row ids, ascending.
        """
        if self._is_whole:
            return self._take(TAKEN, rows)
        return self._scan(TAKEN, rows).sort_by("_rowid")

    def have_pictures(self, rows: Numbers) -> list[bool]:
        """Returns for each row id whether the table has the picture itself."""
        if self.picture_column is None or not len(rows):
            return [False] * len(rows)
        if self._row_count > MAX_KEPT_ROWS:
            return self._have(self.picture_column, rows)
        flags: list[bool] = self._keep_pictured()[self.place(rows)].tolist()
        return flags

    @property
    def picture_column(self) -> str | None:
        """A column that has a value where the table has a picture; None if it has no pictures.

        A hash is quicker read than a picture, but a subset may lack it.
        """
        return next((name for name in (HASH, "image") if name in self._names), None)

    def have_vectors(self, rows: Numbers, known: Numbers | None = None) -> list[bool]:
        """Returns for each row id whether it has a vector; for the rows of a page.

        Args:
            rows: row ids.
            known: ids of rows that have one; the others are read. None: all are.
        """
        import numpy as np

        if known is None:
            return self._have("img_emb", rows)
        flags = np.isin(rows, known)
        flags[~flags] = self._have("img_emb", rows[~flags])
        return list(flags.tolist())

    def _have(self, column: str, rows: Numbers) -> list[bool]:
        if column not in self._names or not len(rows):
            return [False] * len(rows)
        if self._is_whole:
            return list(self._take((column,), rows)[column].is_valid().to_pylist())
        scanned = self._scan((column,), rows)
        is_there = scanned[column].is_valid().to_pylist()
        found = dict(zip(scanned["_rowid"].to_pylist(), is_there, strict=True))
        return [found[row] for row in rows.tolist()]

    def _keep_pictured(self) -> Numbers:
        """Returns by position whether a row has a picture, and keeps it: a byte a row."""
        import numpy as np

        if self._pictured is None:
            # Two threads may both do it, to the same end.
            found = self._dataset.scanner(
                columns=[], filter=f"{self.picture_column} IS NOT NULL", with_row_id=True
            ).to_table()
            pictured = np.zeros(self._row_count, np.bool_)
            pictured[self.place(found["_rowid"].to_numpy())] = True
            self._pictured = pictured
        return self._pictured

    def _read_kept(self, rows: Numbers) -> list[Mapping[str, Any]]:
        positions = self.place(rows)
        columns: dict[str, list[Any]] = {}
        for name in INTEGERS:
            columns[name] = self._others[name][positions].tolist()
        for name in CODED:
            texts = self._texts[name]
            columns[name] = [texts[code] for code in self._others[name][positions].tolist()]
        for name in FLOATS:
            as_python = int if name in PIXELS else float
            values = self._floats[name][positions].tolist()
            columns[name] = [None if isnan(value) else as_python(value) for value in values]
        taken = self._take(TAKEN, rows)
        for name in TAKEN:
            columns[name] = taken[name].to_pylist()
        ordered = [columns[name] for name in HIT_COLUMNS]
        return [dict(zip(HIT_COLUMNS, hit, strict=True)) for hit in zip(*ordered, strict=True)]

    def _keep_hits(self) -> None:
        """Reads the columns of hits."""
        import numpy as np

        for name in FLOATS:
            self._keep_floats(name)
        for name in INTEGERS:
            self._others[name] = self._load(
                [name], np.int64, lambda batch: batch.column(0).to_numpy()
            )
        for name in CODED:
            self._keep_codes(name)

    def _keep_codes(self, column: str) -> None:
        """Reads a column of texts; one that is empty takes no room."""
        import numpy as np

        known: dict[str | None, int] = {None: NO_TEXT}
        if column not in self._names:
            self._texts[column] = [None]
            return
        codes = self._load([column], np.int32, partial(_encode, known))
        if len(known) != 1 or column in CODED:
            # The fewer bytes, the more of them are read at once.
            self._others[column] = codes.astype(np.min_scalar_type(len(known)))
        self._texts[column] = list(known)

    def _keep_floats(self, column: str) -> Numbers:
        """Returns a column by position, and keeps it."""
        import numpy as np

        if column not in self._floats:
            # Two threads may both do it, to the same end.
            values = self._load(
                _list_sources(column), np.float32, partial(_read_floats, column), missing=np.nan
            )
            if column == UNSAFETY and np.array_equal(
                values, known := self._keep_floats("punsafe"), equal_nan=True
            ):
                # Without labels; one of them is enough.
                values = known
            self._floats[column] = values
        return self._floats[column]

    def _load(
        self,
        columns: Sequence[str],
        dtype: type[np.generic],
        convert: Callable[[pa.RecordBatch], Numbers],
        missing: float = 0,
    ) -> Numbers:
        """Returns what becomes of some columns, by position, read some rows at a time."""
        import numpy as np

        values = np.full(self._row_count, missing, dtype)
        scanner = self._dataset.scanner(
            columns=list(columns), with_row_id=True, batch_size=BATCH_ROWS
        )
        for batch in scanner.to_batches():
            values[self.place(batch["_rowid"].to_numpy())] = convert(batch)
        return values

    def _read_each(self, column: str, rows: Numbers) -> Numbers:
        import numpy as np

        if not len(rows):
            return np.zeros(0, np.float32)
        found = self._scan(_list_sources(column), rows).combine_chunks()
        order = np.argsort(found["_rowid"].to_numpy())
        places = order[np.searchsorted(found["_rowid"].to_numpy()[order], rows)]
        return _read_floats(column, found.to_batches()[0])[places]

    def _take(self, columns: Sequence[str], rows: Numbers) -> pa.Table:
        """Reads rows, in the order of the ids, of a table of which none was removed."""
        if len(rows) == 1:
            # It need not be looked for in which fragment it is: that takes a third of the time.
            fragment, place = divmod(int(rows[0]), 2**32)
            return self._by_id[fragment].take([place], columns=list(columns))
        return self._dataset.take(self.place(rows).tolist(), columns=list(columns))

    def _scan(self, columns: Sequence[str], rows: Numbers) -> pa.Table:
        condition = f"_rowid IN ({','.join(map(str, rows.tolist()))})"
        return self._dataset.scanner(
            columns=list(columns), filter=condition, with_row_id=True
        ).to_table()


def _list_sources(column: str) -> tuple[str, ...]:
    return _SOURCES.get(column, (column,))


def _read_floats(column: str, rows: pa.RecordBatch) -> Numbers:
    """Returns numbers as 32-bit floats, NaN for NULL; whole ones are exact to 16 million."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column == UNSAFETY:
        values = measure_unsafety(rows["punsafe"], rows["nsfw"])
    elif column == SIDE:
        values = pc.min_element_wise(rows["width"], rows["height"], skip_nulls=False)
    else:
        values = rows[column]
    numbers: Numbers = values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _find_ranges(numbers: Numbers, edges: tuple[float, ...]) -> Numbers:
    """Returns in which range between edges each number is, from 1; 0 where there is none."""
    import numpy as np

    # As filters compare: with the edges as 32-bit floats.
    stored = np.array(edges, np.float32)
    found = np.zeros(len(numbers), np.uint8)
    for start in range(0, len(numbers), BATCH_ROWS):
        some = numbers[start : start + BATCH_ROWS]
        ranges = np.searchsorted(stored, some, side="right") + 1
        ranges[np.isnan(some)] = 0
        found[start : start + BATCH_ROWS] = ranges
    return found


def _encode(known: dict[str | None, int], rows: pa.RecordBatch) -> Numbers:
    """Returns a number for each text or None, and notes those of texts that are new."""
    import numpy as np

    encoded = rows.column(0).dictionary_encode(null_encoding="encode")
    codes = [known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()]
    numbers: Numbers = np.array(codes, np.int32)[encoded.indices.to_numpy()]
    return numbers
