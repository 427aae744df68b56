"""Reads a Lance table as if it had columns that it lacks, so that a search can work on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from laion_assets.stores.sql import quote_literal

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

# Lance's names of types, where they differ from DuckDB's.
_TYPES = {"VARCHAR": "STRING", "INTEGER": "INT"}
_TEXT = re.compile(r"('(?:[^']|'')*')")
SHARD, PLACE, HOST, URL = "shard", "row_index", "domain", "url"
# What stands around the host in a URL: what comes before the first, after each of the others.
_BEFORE, _AFTER = "://", ("/", "?", ":")


class FilledTable:
    """A version of a table, with NULL in the columns that it lacks.

    Of a table without `shard` and `row_index` these are its own name and the row id, so that each
    row has an address; without `domain`, that is the host in `url`. Everything else is the table's
    own.
    """

    def __init__(self, dataset: lance.LanceDataset, name: str, columns: Mapping[str, str]) -> None:
        """Reads nothing yet.

        Args:
            dataset: the version.
            name: of the table.
            columns: DuckDB types of the columns that it is to have, by name.
        """
        self._table = dataset
        self._name = name
        missing = {c: kind for c, kind in columns.items() if c not in dataset.schema.names}
        if not {SHARD, PLACE}.isdisjoint(missing):
            # An address has both, or neither.
            missing |= {SHARD: "VARCHAR", PLACE: "BIGINT"}
        self._missing = missing
        self._values = {
            column: f"CAST(NULL AS {_TYPES.get(kind, kind)})" for column, kind in missing.items()
        }
        if SHARD in missing:
            self._values |= {SHARD: quote_literal(name), PLACE: "CAST(_rowid AS BIGINT)"}
        if HOST in missing:
            self._values[HOST] = _write_host()
        names = "|".join(map(re.escape, self._values))
        self._named = re.compile(rf"(`?)\b({names})\b\1") if names else None

    def __getattr__(self, name: str) -> Any:
        """Returns what the table itself has."""
        return getattr(self._table, name)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table, and those that it lacks."""
        import pyarrow as pa

        from laion_assets.schemas import arrow_type

        own = [field for field in self._table.schema if field.name not in self._missing]
        filled = [pa.field(name, arrow_type(kind)) for name, kind in self._missing.items()]
        return pa.schema([*own, *filled])

    def scanner(
        self, columns: Sequence[str], filter: str | None = None, **options: Any
    ) -> lance.LanceScanner:
        """Returns a scanner of the table; the arguments are those of Lance."""
        asked: Any = list(columns)
        if not self._missing.keys().isdisjoint(columns):
            asked = {name: self._values.get(name, f"`{name}`") for name in columns}
            # Lance scans nothing that it does not read.
            options["with_row_id"] = options.get("with_row_id") or not self._list_own(columns)
        return self._table.scanner(columns=asked, filter=self._write(filter), **options)

    def count_rows(self, filter: str | None = None) -> int:
        """Returns how many rows there are for which a condition is true."""
        return self._table.count_rows(self._write(filter))

    def take(self, indices: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Returns the rows at some positions."""
        found = self._table.take(indices, columns=self._list_taken(columns))
        return self._fill(found, self._find_rows(indices), columns)

    def _take_rows(self, rows: pa.Array, columns: Sequence[str]) -> pa.Table:
        found = self._table._take_rows(rows, columns=self._list_taken(columns))
        return self._fill(found, rows.to_pylist(), columns)

    def _list_own(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name not in self._missing]

    def _list_taken(self, columns: Sequence[str]) -> list[str]:
        own = self._list_own(columns)
        return own if HOST not in self._missing or URL in own else [*own, URL]

    def _fill(self, found: pa.Table, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        values = {name: found[name] for name in found.schema.names}
        for field in self.schema:
            if field.name in self._missing and field.name in columns:
                values[field.name] = pa.nulls(len(rows), field.type)
        if SHARD in self._missing:
            values |= {SHARD: pa.array([self._name] * len(rows)), PLACE: pa.array(rows, pa.int64())}
        if HOST in self._missing:
            values[HOST] = pa.array(map(_read_host, found[URL].to_pylist()), pa.string())
        return pa.table({name: values[name] for name in columns})

    def _find_rows(self, indices: Sequence[int]) -> list[int]:
        """Returns the row ids at positions; no rows were deleted."""
        starts, start = [], 0
        for fragment in self._table.get_fragments():
            starts.append((start, fragment.fragment_id))
            start += fragment.physical_rows
        rows = []
        for index in indices:
            first, fragment_id = max(pair for pair in starts if pair[0] <= index)
            rows.append((fragment_id << 32) + index - first)
        return rows

    def _write(self, condition: str | None) -> str | None:
        """Returns a condition with values in place of the columns that the table lacks."""
        if condition is None or self._named is None:
            return condition
        named = self._named
        # Texts in quotes stand at odd places.
        parts = _TEXT.split(condition)
        parts[::2] = [named.sub(lambda m: f"({self._values[m[2]]})", part) for part in parts[::2]]
        return "".join(parts)


def _write_host() -> str:
    """Returns the host in `url` as Lance takes it."""
    written = f"split_part(url, '{_BEFORE}', 2)"
    for mark in _AFTER:
        written = f"split_part({written}, '{mark}', 1)"
    return f"lower({written})"


def _read_host(url: str) -> str:
    """Returns the same."""
    host = url.partition(_BEFORE)[2].partition(_BEFORE)[0]
    for mark in _AFTER:
        host = host.partition(mark)[0]
    return host.lower()
