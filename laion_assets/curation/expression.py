"""Reads SQL expressions of users: parsed, checked part by part, and written again from the tree.

What a user wrote never becomes a part of a statement. DuckDB parses it, every part of the tree has
to be one of those below, and the statement that runs is generated from the tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from laion_assets.errors import LaionError
from laion_assets.schemas import Column
from laion_assets.stores.database import open_engine
from laion_assets.stores.sql import create_table, load_sql

if TYPE_CHECKING:
    import pyarrow as pa

# The rows that an expression is about.
ROWS = "rows"
# What Lance keeps as a column of its own, by the name that DuckDB has for it.
KEPT_TYPES = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    *("FLOAT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP"),
)
# What may stand in a cast: these, their other names, and what holds a number on the way.
CAST_TYPES = frozenset(
    {
        *KEPT_TYPES,
        *("BOOL", "INT", "INT1", "INT2", "INT4", "INT8", "SHORT", "SIGNED", "LONG", "HUGEINT"),
        *("REAL", "FLOAT4", "FLOAT8", "TEXT", "STRING", "CHAR", "BPCHAR", "DATETIME", "DECIMAL"),
        *("NUMERIC", "BLOB"),
    }
)
# An expression has no reason to be deeper, and recursion has an end.
MAX_DEPTH = 100
_MESSAGE = re.compile(r"^[A-Za-z ]+ Error: ")


class ExpressionError(LaionError):
    """An expression that cannot be used; the message says why, without where it stands."""


@dataclass(frozen=True)
class Expression:
    """An expression over columns that was checked.

    Attributes:
        query: a query that gives it for all rows of the table `rows`, generated from the tree.
        tree: the tree, as DuckDB's `json_serialize_sql` has it.
        reads: the columns that it reads.
    """

    query: str
    tree: Mapping[str, Any]
    reads: tuple[str, ...]


@contextmanager
def open_checker(columns: Collection[Column]) -> Iterator[Checker]:
    """Opens what checks expressions over these columns."""
    with open_sandbox() as engine:
        engine.execute(create_table(ROWS, columns))
        functions = engine.execute(load_sql("curation/select_functions")).fetchall()
        yield Checker(engine, {c.name for c in columns}, frozenset(name for (name,) in functions))


@contextmanager
def open_sandbox() -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens an engine that reaches no file, no network and no variable of Python."""
    with open_engine(enable_external_access="false", python_enable_replacements="false") as engine:
        engine.execute(load_sql("raw_shards/set_progress_off"))
        engine.execute(load_sql("curation/set_no_division_error"))
        engine.execute(load_sql("curation/set_no_infinity"))
        yield engine


def compute(
    engine: duckdb.DuckDBPyConnection, expression: Expression, field: tuple[str, str], rows: Any
) -> pa.RecordBatch:
    """Returns the values of an expression for some rows, in their order.

    Args:
        engine: as `open_sandbox` gives it.
        expression: what to compute.
        field: quoted name and DuckDB type of the result.
        rows: an Arrow batch with the columns that it reads.

    Raises:
        ExpressionError: a row has values for which there is no result.
    """
    name, kind = field
    query = load_sql("curation/compute_column").format(query=expression.query, type=kind, name=name)
    engine.register(ROWS, rows)
    try:
        table: Any = engine.sql(query).to_arrow_table()
    except duckdb.Error as error:
        raise ExpressionError(_shorten(str(error)), code="expression-failed") from error
    batch: pa.RecordBatch = table.combine_chunks().to_batches()[0]
    return batch


@dataclass(frozen=True)
class Checker:
    """Checks expressions.

    Attributes:
        engine: has a table `rows` with the columns.
        columns: that may be read.
        functions: that may be called.
    """

    engine: duckdb.DuckDBPyConnection
    columns: Collection[str]
    functions: Collection[str]

    def parse(self, text: str) -> Expression:
        """Reads an expression.

        Raises:
            ExpressionError: it is none, or has parts that are not allowed.
        """
        if "\0" in text or not text.strip():
            raise ExpressionError("it is empty", code="expression-empty")
        # Without parentheses too, so that none of these ends a part of what was written.
        self._parse("curation/place_expression", text)
        answer, tree = self._parse("curation/wrap_expression", text)
        part = _find_part(tree)
        reads: dict[str, None] = {}
        self._check(part, reads, 0)
        ((written,),) = self.engine.execute(
            load_sql("curation/deserialize_expression"), {"tree": answer}
        ).fetchall()
        return Expression(str(written), part, tuple(reads))

    def _parse(self, statement: str, text: str) -> tuple[str, Mapping[str, Any]]:
        query = load_sql(statement).replace("expression", text)
        ((answer,),) = self.engine.execute(
            load_sql("curation/serialize_expression"), {"query": query}
        ).fetchall()
        tree: Mapping[str, Any] = json.loads(answer)
        if tree["error"]:
            message = _shorten(tree["error_message"])
            if 'near "FROM"' in message and "from" not in text.lower():
                # A word of ours, behind what was written.
                message = "it is not one whole expression"
            raise ExpressionError(message, code="expression-syntax")
        return answer, tree

    def find_type(self, expression: Expression) -> str:
        """Returns the DuckDB type of an expression, one of `KEPT_TYPES`.

        Raises:
            ExpressionError: it has another one, or none because its parts do not fit together.
        """
        query = load_sql("curation/describe_expression").format(query=expression.query)
        try:
            ((_, kind, *_),) = self.engine.execute(query).fetchall()
        except duckdb.Error as error:
            raise ExpressionError(_shorten(str(error)), code="expression-unbound") from error
        if kind not in KEPT_TYPES:
            raise ExpressionError(
                f"it is of type {str(kind).strip(chr(34))}, which is not kept; put it into "
                f"CAST(… AS …) with one of {', '.join(KEPT_TYPES)}",
                code="expression-type",
            )
        return str(kind)

    def _check(self, part: Mapping[str, Any], reads: dict[str, None], depth: int) -> None:
        kind = part["class"]
        if depth > MAX_DEPTH or part["alias"] or kind not in _CHILDREN:
            what = kind.lower().replace("_", " ") if kind not in _CHILDREN else "expression"
            raise ExpressionError(
                f"a {what} like this is not allowed; use columns, constants, functions of one "
                "row, casts, comparisons, AND, OR, NOT, CASE, IN, BETWEEN, IS NULL, LIKE and "
                "arithmetic",
                code="expression-part",
            )
        if kind == "COLUMN_REF":
            reads[self._find_column(part)] = None
        elif kind == "FUNCTION":
            self._check_function(part)
        elif kind == "CAST":
            _check_cast(part["type_expr"])
        for child in _CHILDREN[kind](part):
            self._check(child, reads, depth + 1)

    def _find_column(self, part: Mapping[str, Any]) -> str:
        names = part["column_names"]
        known = {name.lower(): name for name in self.columns}
        name = known.get(str(names[-1]).lower())
        if len(names) > 1 or name is None:
            raise ExpressionError(
                f"there is no column `{'.'.join(names)}`; the columns are "
                f"{', '.join(sorted(self.columns))}",
                code="expression-column",
            )
        return name

    def _check_function(self, part: Mapping[str, Any]) -> None:
        name = str(part["function_name"])
        has_more = (
            part["schema"]
            or part["catalog"]
            or part["filter"]
            or part["distinct"]
            or part["export_state"]
            or part["order_bys"]["orders"]
            or len(part["qualified_name"]["path"]) > 1
            or any(argument["name"] for argument in part["arguments"])
        )
        if has_more or name.lower() not in self.functions:
            raise ExpressionError(
                f"function `{name}` is not allowed or not known; use functions that look at one "
                "row, and give the same for the same values",
                code="expression-function",
            )


def _list_named(*names: str) -> Any:
    return lambda part: [part[name] for name in names if part[name] is not None]


# Of each class of DuckDB's expressions that is allowed, its parts.
_CHILDREN: Mapping[str, Any] = {
    "CONSTANT": _list_named(),
    "COLUMN_REF": _list_named(),
    "FUNCTION": lambda part: [argument["expression"] for argument in part["arguments"]],
    "CAST": _list_named("child"),
    "COMPARISON": _list_named("left", "right"),
    "CONJUNCTION": lambda part: part["children"],
    "OPERATOR": lambda part: part["children"],
    "BETWEEN": _list_named("input", "lower", "upper"),
    "CASE": lambda part: [
        *(check[side] for check in part["case_checks"] for side in ("when_expr", "then_expr")),
        part["else_expr"],
    ],
}


def _find_part(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the only expression of a parsed query, which has nothing else."""
    statements = tree["statements"]
    node = statements[0]["node"]
    is_plain = (
        len(statements) == 1
        and not statements[0]["named_param_map"]
        and node["type"] == "SELECT_NODE"
        and not node["modifiers"]
        and not node["cte_map"]["map"]
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "BASE_TABLE"
        and node["from_table"]["table_name"] == ROWS
        and node["from_table"]["sample"] is None
        and not any(
            node[clause]
            for clause in ("where_clause", "group_expressions", "having", "sample", "qualify")
        )
    )
    if not is_plain:
        raise ExpressionError(
            "it is more than one expression; write one, as it stands after SELECT",
            code="expression-many",
        )
    part: Mapping[str, Any] = node["select_list"][0]
    return part


def _check_cast(kind: Mapping[str, Any]) -> None:
    name = str(kind.get("type_name", ""))
    has_more = kind.get("catalog") or kind.get("schema") or kind["class"] != "TYPE"
    children = kind.get("children", [])
    if (
        has_more
        or name.upper() not in CAST_TYPES
        or any(c["class"] != "CONSTANT" for c in children)
    ):
        raise ExpressionError(
            f"a cast to {name or 'this type'} is not allowed; cast to one of "
            f"{', '.join(KEPT_TYPES)}",
            code="expression-cast",
        )


def _shorten(message: str) -> str:
    """Returns what DuckDB says in one line, without its candidates and the text again."""
    return _MESSAGE.sub("", message.strip().splitlines()[0]).rstrip(" .!")
