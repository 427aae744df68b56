"""Finds where the truth value of a dataset, table, array or frame is asked for.

Without rows they are false, and some of them raise, so "is it there?" has to be `is not None`. mypy
cannot tell (they have a length, as lists do), so this reads the source: a value counts as data by
the annotation of its name, or by the function that it comes from.
"""

import ast
import gc
from collections.abc import Iterable, Iterator

DATA_TYPES = frozenset(
    {
        *("Array", "ChunkedArray", "Dataset", "FileSystemDataset", "LanceDataset", "LanceFragment"),
        *("LanceTable", "RecordBatch", "RecordBatchReader", "Table"),
        *("DataFrame", "LazyFrame", "NDArray", "Series", "ndarray"),
    }
)
# Of lance, lancedb, pyarrow, polars and DuckDB; the project's own are found by their annotation.
DATA_CALLS = frozenset(
    {
        *("checkout_version", "combine_chunks", "concat_tables", "dataset", "open_table"),
        *("read_parquet", "read_table", "scan_parquet", "to_arrow", "to_arrow_table", "to_numpy"),
        *("to_table", "write_dataset"),
    }
)
Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


def parse(source: str) -> ast.Module:
    """Returns the tree of a source, with the garbage collection off in the meantime.

    A finalizer that runs in between and parses as well (one that logs a traceback does) makes
    Python before 3.11.8 fail: "AST constructor recursion depth mismatch" (gh-106905).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collects:
            gc.enable()


def find_data_functions(trees: Iterable[ast.AST]) -> set[str]:
    """Returns the names of functions whose annotation says that they return data, or None."""
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.returns is not None
        and _is_data_type(node.returns)
    }


def find_truth_values(tree: ast.Module, functions: Iterable[str] = ()) -> list[str]:
    """Returns the places, as `line: source`, where data is used as a truth value.

    Args:
        tree: a module.
        functions: names of functions that return data, beside those of the libraries.
    """
    calls = DATA_CALLS | set(functions)
    attributes = {f"self.{name}" for name in _annotated_names(ast.walk(tree))}
    attributes |= {f"self.{name}" for name in _assigned_attributes(tree, calls)}
    found = set()
    for scope in ast.walk(tree):
        if not isinstance(scope, Scope):
            continue
        nodes = list(ast.walk(scope) if not isinstance(scope, ast.Module) else _own_nodes(scope))
        names = {*attributes, *_annotated_names(nodes), *_assigned_names(nodes, calls)}
        for tested in _tested(nodes):
            if _is_data(tested, names, calls):
                found.add((tested.lineno, ast.unparse(tested)))
    return [f"{line}: {source}" for line, source in sorted(found)]


def _own_nodes(module: ast.Module) -> Iterator[ast.AST]:
    for statement in module.body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from ast.walk(statement)


def _is_data_type(annotation: ast.expr) -> bool:
    """Returns whether it is a type of data or a union with one, such as `pa.Table | None`."""
    match annotation:
        case ast.Constant(value=str(text)):
            [expression] = parse(text).body
            return isinstance(expression, ast.Expr) and _is_data_type(expression.value)
        case ast.BinOp(left=left, right=right):
            return _is_data_type(left) or _is_data_type(right)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _is_data_type(inner)
        case ast.Subscript(value=generic):
            return _is_data_type(generic)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in DATA_TYPES
    return False


def _annotated_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.arg) and node.annotation and _is_data_type(node.annotation):
            yield node.arg
        elif isinstance(node, ast.AnnAssign) and _is_data_type(node.annotation):
            yield ast.unparse(node.target).removeprefix("self.")


def _assigned_attributes(tree: ast.Module, calls: set[str] | frozenset[str]) -> Iterator[str]:
    for name in _assigned_names(ast.walk(tree), calls):
        if name.startswith("self."):
            yield name.removeprefix("self.")


def _assigned_names(nodes: Iterable[ast.AST], calls: set[str] | frozenset[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Assign) and _is_data_call(node.value, calls):
            yield from (ast.unparse(target) for target in node.targets)
        elif isinstance(node, ast.NamedExpr) and _is_data_call(node.value, calls):
            yield node.target.id


def _tested(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """Yields the expressions whose truth value is asked for."""
    for node in nodes:
        match node:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                yield test
            case ast.Assert(test=test) | ast.match_case(guard=ast.expr() as test):
                yield test
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield operand
            case ast.BoolOp(values=values):
                yield from values
            case ast.comprehension(ifs=conditions):
                yield from conditions
            case ast.Call(func=ast.Name(id="bool" | "any" | "all"), args=arguments):
                yield from arguments


def _is_data(tested: ast.expr, names: set[str], calls: set[str] | frozenset[str]) -> bool:
    if isinstance(tested, ast.NamedExpr):
        return _is_data_call(tested.value, calls)
    if isinstance(tested, ast.Name | ast.Attribute):
        return ast.unparse(tested) in names
    return _is_data_call(tested, calls)


def _is_data_call(value: ast.expr, calls: set[str] | frozenset[str]) -> bool:
    match value:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in calls
    return False
