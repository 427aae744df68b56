"""The rows of a query, for pages and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb


@dataclass(frozen=True)
class Rows:
    """A small table."""

    columns: Sequence[str]
    records: Sequence[Mapping[str, object]]


def read_rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object]
) -> Rows:
    """Returns the answer of a query as a small table."""
    return fetch_rows(connection.execute(query, dict(parameters)))


def fetch_rows(answer: duckdb.DuckDBPyConnection) -> Rows:
    """Returns the rows of an executed query as a small table."""
    columns = [description[0] for description in answer.description or ()]
    return Rows(columns, [dict(zip(columns, row, strict=True)) for row in answer.fetchall()])
