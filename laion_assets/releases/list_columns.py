"""What a release keeps of the lists of names beside the names: the other columns of each list.

They lie in the metadata of the released version of the Lance table `entity_counts`, as JSON, so
the tag that pins the counts pins them as well, and the table has the columns that it always had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from laion_assets.stores.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import duckdb
    import lance
    import pyarrow as pa

# In the metadata of the schema.
_KEY = b"laion_assets.list_columns"


@dataclass(frozen=True)
class ListColumns:
    """The other columns of a list of names.

    Attributes:
        columns: their names, as the table of the kind has them.
        values: of each name the texts in these columns.
    """

    columns: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_lists(
    connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]
) -> dict[str, ListColumns]:
    """Returns the other columns of each list in DuckDB."""
    found = {}
    for kind in kinds:
        query = load_sql("releases/select_list").format(table=quote_identifier(kind))
        answer = connection.execute(query)
        columns = tuple(str(description[0]) for description in answer.description or ())
        values = {name: tuple(others) for name, *others in answer.fetchall()}
        found[kind] = ListColumns(columns[1:], values)
    return found


def keep_lists(counts: pa.Table, lists: Mapping[str, ListColumns]) -> pa.Table:
    """Returns the counts of names with the other columns of the lists beside them."""
    return counts.replace_schema_metadata({_KEY: _write(lists)})


def read_released_lists(entity_counts: lance.LanceDataset) -> dict[str, ListColumns]:
    """Returns the other columns of each list of a release; none of one from before they were kept.

    Args:
        entity_counts: the table as the release has it.
    """
    kept = json.loads((entity_counts.schema.metadata or {}).get(_KEY, b"{}"))
    return {
        kind: ListColumns(
            tuple(found["columns"]), {n: tuple(values) for n, values in found["values"].items()}
        )
        for kind, found in kept.items()
    }


def digest_lists(lists: Mapping[str, ListColumns]) -> str:
    """Returns the SHA-256 of all other columns, in hexadecimal."""
    return hashlib.sha256(_write(lists).encode()).hexdigest()


def _write(lists: Mapping[str, ListColumns]) -> str:
    kept = {
        kind: {"columns": found.columns, "values": dict(found.values)}
        for kind, found in sorted(lists.items())
        if found.columns
    }
    return json.dumps(kept, separators=(",", ":"))
