"""Reads from the source every message of an error, with its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# The classes of errors for people; those that derive from them are found by themselves.
ROOTS = frozenset({"LaionError", "SettingsError"})
# A function that is given the class of its errors gives it this name.
GIVEN_CLASS = "error_type"
# Its first argument is the reason, and makes the code.
REASONED = "FetchError"


@dataclass(frozen=True)
class Message:
    """One place where an error is made.

    Attributes:
        place: module and line.
        code: empty if it has none, or one that is no plain text.
        template: the text, with the expressions that are filled in, in braces.
    """

    place: str
    code: str
    template: str


def find_messages(trees: Mapping[Path, ast.Module]) -> Iterator[Message]:
    """Yields every place where an error with a message of its own is made."""
    classes = {*find_error_classes(trees), GIVEN_CLASS} - {REASONED}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in classes and node.args:
                code = next((k.value for k in node.keywords if k.arg == "code"), None)
                # An error that is raised again with more words hands on the code of the first.
                if not isinstance(code, ast.Attribute):
                    text = str(code.value) if isinstance(code, ast.Constant) else ""
                    yield Message(f"{module}:{node.lineno}", text, render(node.args[0]))


def find_error_classes(trees: Mapping[Path, ast.Module]) -> set[str]:
    """Returns the names of all classes of errors for people."""
    classes = [
        (node.name, {ast.unparse(base) for base in node.bases})
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    found = set(ROOTS)
    while more := {name for name, bases in classes if bases & found} - found:
        found |= more
    return found


def render(node: ast.expr) -> str:
    """Returns a text with the expressions that are filled in, in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(render, node.values))
    if isinstance(node, ast.BoolOp):
        return " or ".join(map(render, node.values))
    value = node.value if isinstance(node, ast.FormattedValue) else node
    return f"{{{ast.unparse(value)}}}"
