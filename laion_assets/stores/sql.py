"""Loads the SQL statements of the stages and quotes what cannot be bound.

Values are bound as parameters. Only names of tables and columns, which SQL cannot bind, and the
literals of a view, which DuckDB does not let bind, go through the quoting here.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files

from laion_assets.schemas import Column


@cache
def load_sql(name: str) -> str:
    """Returns a statement: `images/insert_images` is `images/sql/insert_images.sql`."""
    stage, statement = name.split("/")
    return files("laion_assets").joinpath(stage, "sql", f"{statement}.sql").read_text("utf-8")


def quote_identifier(name: str) -> str:
    """Returns the name as an SQL identifier, whatever it holds.

    Raises:
        ValueError: it is empty or has a NUL, which no identifier can hold.
    """
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be an SQL identifier")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Returns the text as an SQL string literal.

    Raises:
        ValueError: it has a NUL, at which a statement would end.
    """
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be an SQL literal")
    return "'" + text.replace("'", "''") + "'"


def quote_path(path: str) -> str:
    """Returns a literal that DuckDB's readers take for this one file, not for a glob."""
    return quote_literal(glob.escape(path))


def create_table(name: str, columns: Iterable[Column]) -> str:
    """Returns the statement that creates a table where it is missing."""
    definitions = ", ".join(map(_define, columns))
    return load_sql("stores/create_table").format(table=quote_identifier(name), columns=definitions)


def add_column(table: str, column: Column) -> list[str]:
    """Returns the statements that add a column where it is missing.

    DuckDB adds no required column: it gets a default for the rows that are there, and then a rule.
    """
    names = {"table": quote_identifier(table), "column": quote_identifier(column.name)}
    definition = _define(replace(column, is_required=False))
    if column.default is not None:
        definition += f" DEFAULT {column.default}"
    statements = [load_sql("stores/add_column").format(table=names["table"], definition=definition)]
    if column.default is not None:
        statements.append(load_sql("stores/drop_default").format(**names))
    if column.derivation is not None:
        # DuckDB makes no rule over rows that the same transaction has updated.
        names |= {"type": column.type, "value": column.derivation}
        statements.append(load_sql("stores/derive_column").format(**names))
    if column.is_required:
        statements.append(load_sql("stores/require_value").format(**names))
    return statements


def _define(column: Column) -> str:
    parts = [quote_identifier(column.name), column.type]
    if column.compression:
        parts.append(f"USING COMPRESSION {column.compression}")
    if column.is_required:
        parts.append("NOT NULL")
    return " ".join(parts)
