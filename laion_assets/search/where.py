"""Reads the conditions of people, in a safe subset of SQL, and writes them as Lance takes them.

DuckDB parses a condition and checks that its parts fit together. What Lance gets is written from
the tree, part by part; nothing that somebody wrote is pasted into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from laion_assets.curation.expression import KEPT_TYPES, ExpressionError, open_checker
from laion_assets.errors import LaionError, first_line
from laion_assets.schemas import Column, arrow_type
from laion_assets.search.filter import quote_text

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

MAX_LENGTH = 1000
# Lance cannot ask for every name that a column may have.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words of ours, not of the caption.
HIDDEN_COLUMNS = ("caption_words",)
INTEGER = re.compile(r"-?[0-9]+")
_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_LIKES = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE"}
# Lance rounds where it divides integers, so nothing is divided.
_ARITHMETIC = ("+", "-", "*")
# DuckDB rounds where it makes an integer of a fraction, and Lance cuts: there is no cast to one.
_CASTS = ("DATE", "TIMESTAMP", "DOUBLE", "FLOAT")
# Lance names the places of its own source.
_SOURCE_PLACE = re.compile(r", /\S+\.rs:\d+:\d+")


def read_where(text: str, dataset: lance.LanceDataset) -> str:
    """Returns a condition as Lance takes it.

    Args:
        text: an SQL expression over the columns of the table that is true or false.
        dataset: the table.

    Raises:
        LaionError: it cannot be used; the message says why.
    """
    written = write_where(text, _list_columns(dataset.schema))
    try:
        dataset.scanner(columns=[], filter=written, with_row_id=True).explain_plan()
    except (ValueError, OSError) as error:
        reason = _SOURCE_PLACE.sub("", first_line(error))
        raise LaionError(
            f"where: Lance cannot compare this ({reason}); compare values of one type",
            code="where-not-comparable",
        ) from error
    return written


def write_where(text: str, columns: Collection[Column], untyped: Collection[str] = ()) -> str:
    """Returns a condition as Lance takes it, without a table to ask whether it can compare this.

    Args:
        text: an SQL expression that is true or false.
        columns: what it may read.
        untyped: names of those whose type is not known yet; whether its parts fit together is then
            not checked.

    Raises:
        LaionError: it cannot be used; the message says why.
    """
    if len(text) > MAX_LENGTH:
        raise LaionError(
            f"where: {len(text):,} characters; write at most {MAX_LENGTH:,}", code="where-too-long"
        )
    with open_checker(columns) as checker:
        try:
            expression = checker.parse(text)
            written = _Writer({c.name.lower(): c for c in columns}).write(expression.tree)
            is_known = set(untyped).isdisjoint(expression.reads)
            kind = checker.find_type(expression) if is_known else "BOOLEAN"
        except ExpressionError as error:
            raise LaionError(f"where: {error}", code=error.code) from error
    if kind != "BOOLEAN":
        raise LaionError(
            f"where: it is of type {kind}, not true or false; compare it, as in width > 500",
            code="where-no-condition",
        )
    return written


def _list_columns(schema: pa.Schema) -> list[Column]:
    names = {arrow_type(kind): kind for kind in KEPT_TYPES}
    return [
        Column(field.name, names[field.type], "")
        for field in schema
        if field.type in names and NAME.fullmatch(field.name) and field.name not in HIDDEN_COLUMNS
    ]


class _Writer:
    """Writes a checked tree of DuckDB as a filter of Lance.

    Args:
        columns: what may be read, by name in lower case.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    def write(self, part: Mapping[str, Any]) -> str:
        """Returns a part and all below it, in parentheses."""
        kind = str(part["class"])
        writers: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
            "CONSTANT": lambda one: _write_constant(one["literal"]),
            "COLUMN_REF": lambda one: f"`{self._find(one).name}`",
            "COMPARISON": self._write_comparison,
            "CONJUNCTION": self._write_conjunction,
            "BETWEEN": self._write_between,
            "CAST": self._write_cast,
            "FUNCTION": self._write_function,
            "OPERATOR": self._write_operator,
        }
        if kind not in writers:
            raise _refuse(kind)
        return writers[kind](part)

    def _write_comparison(self, part: Mapping[str, Any]) -> str:
        if part["type"] not in _COMPARISONS:
            raise _refuse("IS DISTINCT FROM")
        left, right = self._write_pair(part["left"], part["right"])
        return f"({left} {_COMPARISONS[part['type']]} {right})"

    def _write_conjunction(self, part: Mapping[str, Any]) -> str:
        word = part["type"].removeprefix("CONJUNCTION_")
        return f"({f' {word} '.join(map(self.write, part['children']))})"

    def _write_between(self, part: Mapping[str, Any]) -> str:
        first, least = self._write_pair(part["input"], part["lower"])
        last, greatest = self._write_pair(part["input"], part["upper"])
        return f"({first} >= {least} AND {last} <= {greatest})"

    def _write_operator(self, part: Mapping[str, Any]) -> str:
        kind = str(part["type"])
        children = list(map(self.write, part.get("children", [])))
        if kind == "OPERATOR_NOT":
            return f"(NOT {children[0]})"
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            word = kind.removeprefix("OPERATOR_").replace("_", " ")
            return f"({children[0]} {word})"
        if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
            word = kind.removeprefix("COMPARE_").replace("_", " ")
            return f"({children[0]} {word} ({', '.join(children[1:])}))"
        raise _refuse(kind.lower().replace("_", " "))

    def _write_function(self, part: Mapping[str, Any]) -> str:
        name = str(part["function_name"])
        arguments = [argument["expression"] for argument in part["arguments"]]
        if name in _LIKES and len(arguments) == 2 and _is_text(arguments[1]):  # noqa: PLR2004
            # Lance takes a backslash for an escape, and DuckDB does not.
            pattern = quote_text(arguments[1]["literal"]["text"].replace("\\", "\\\\"))
            return f"({self.write(arguments[0])} {_LIKES[name]} {pattern})"
        if name in _ARITHMETIC and arguments:
            written = list(map(self.write, arguments))
            return (
                f"({name}{written[0]})" if len(written) == 1 else f"({f' {name} '.join(written)})"
            )
        raise _refuse(name)

    def _write_cast(self, part: Mapping[str, Any]) -> str:
        kind = str(part["type_expr"]["type_name"]).upper()
        if kind not in _CASTS or part["try_cast"]:
            raise _refuse(f"cast to {kind}")
        return f"CAST({self.write(part['child'])} AS {kind})"

    def _write_pair(self, left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[str, str]:
        """Returns two sides of a comparison; an integer is compared with a fraction as one."""
        sides = self.write(left), self.write(right)
        one, other = (
            f"CAST({written} AS DOUBLE)"
            if self._is_integer(part) and _is_fraction(beside)
            else written
            for written, part, beside in zip(sides, (left, right), (right, left), strict=True)
        )
        return one, other

    def _is_integer(self, part: Mapping[str, Any]) -> bool:
        return part["type"] == "COLUMN_REF" and "INT" in self._find(part).type

    def _find(self, part: Mapping[str, Any]) -> Column:
        return self._columns[str(part["column_names"][-1]).lower()]


def _is_text(part: Mapping[str, Any]) -> bool:
    return bool(part["class"] == "CONSTANT" and part["literal"]["kind"] == "STRING")


def _is_fraction(part: Mapping[str, Any]) -> bool:
    return bool(part["class"] == "CONSTANT" and part["literal"]["kind"] == "NUMERIC")


def _write_constant(literal: Mapping[str, str]) -> str:
    kind, text = literal["kind"], literal["text"]
    if kind == "STRING":
        return quote_text(text)
    if kind == "NULL_LITERAL":
        return "NULL"
    if kind == "BOOLEAN":
        return "true" if text == "true" else "false"
    if kind == "INTEGER" and INTEGER.fullmatch(text):
        return text
    if kind == "NUMERIC":
        try:
            return repr(float(text))
        except ValueError:
            pass
    raise _refuse(f"constant {text[:20]}")


def _refuse(what: str) -> ExpressionError:
    return ExpressionError(
        f"`{what}` is not allowed; use columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN, "
        "IS NULL, LIKE, and + - *; declare a column for more",
        code="where-part",
    )
