"""Reads a version of a Lance table by shards: only the fragments of those that a query can meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lance
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as pds


def join_parts(table: lance.LanceDataset, parts: Mapping[str, Sequence[int]]) -> pds.Dataset:
    """Returns the rows of some fragments, for DuckDB, which hands its filters and columns down.

    Other fragments of the version are not read: they belong to a load that is not committed, or
    not any more.

    Args:
        table: the version.
        parts: numbers of the fragments of each shard, which hold no other shard.
    """
    import pyarrow.dataset as pds

    # DuckDB takes nothing but a dataset of Arrow, and pyarrow is imported where it is needed.
    class ShardParts(pds.Dataset):  # type: ignore[misc]
        """Finds what it scans when a query comes."""

        def __init__(self) -> None:
            """Reads nothing yet; Arrow's own classes cannot be made."""

        @property
        def schema(self) -> pa.Schema:
            """The columns of the table."""
            return table.schema

        def scanner(
            self,
            columns: Sequence[str] | None = None,
            filter: pc.Expression | None = None,
            **options: Any,
        ) -> pds.Scanner:
            """Returns a scanner of what the filter can be true for; the arguments are Arrow's."""
            chosen = {n for shard in index.find_shards(filter) for n in parts[shard]}
            fragments = [f for f in table.get_fragments() if f.fragment_id in chosen]
            assert len(fragments) == len(chosen), f"{table.uri}: a fragment is gone"
            return table.scanner(
                columns=None if columns is None else list(columns),
                filter=filter,
                fragments=fragments,
                **options,
            )

    index = _ShardIndex(sorted(parts), table.schema)
    return ShardParts()


class _ShardIndex:
    """Says which shards a condition rules out."""

    def __init__(self, shards: Sequence[str], schema: pa.Schema) -> None:
        self._shards, self._schema = shards, schema

    def find_shards(self, condition: pc.Expression | None) -> Sequence[str]:
        """Returns the shards that can have rows for which a condition is true."""
        if condition is None:
            return self._shards
        found = self._stand_ins.get_fragments(filter=condition)
        return [self._shards[int(stand_in.path)] for stand_in in found]

    @cached_property
    def _stand_ins(self) -> pds.FileSystemDataset:
        """One file for each shard, which is never opened: Arrow knows what its rows have in common.

        So Arrow decides what a condition rules out, whatever it looks like.
        """
        import pyarrow.compute as pc
        import pyarrow.dataset as pds
        from pyarrow import fs

        form, place = pds.IpcFileFormat(), fs.LocalFileSystem()
        files = [
            form.make_fragment(str(number), place, pc.field("shard") == shard)
            for number, shard in enumerate(self._shards)
        ]
        return pds.FileSystemDataset(files, self._schema, form)
