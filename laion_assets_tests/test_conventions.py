"""The house rules that a reader relies on, each as a test; CONTRIBUTING.md gives the reasons."""

import ast
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest

import laion_assets
from laion_assets.definitions import build_defs
from laion_assets.settings import Settings
from laion_assets_tests.truth_values import find_data_functions, find_truth_values

PACKAGE = Path(laion_assets.__file__).parent
MODULES = {str(p.relative_to(PACKAGE)): p for p in sorted(PACKAGE.rglob("*.py"))}
SQL_FILES = sorted(
    path.name.removesuffix(".sql")
    for path in files("laion_assets.sql").iterdir()
    if path.name.endswith(".sql")
)
HEAVY = frozenset({"lance", "lancedb", "numpy", "polars", "pyarrow"})
# Its modules make data and nothing else, and are themselves imported where they are used.
MAY_IMPORT_HEAVY = "demo"
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|DELETE|UPDATE|CREATE|DROP|ALTER|COPY|ATTACH|WITH|MERGE|TRUNCATE|PRAGMA|SET)\s"
)
# Layer: what its modules may not import, at any place. From the top of the map in ARCHITECTURE.md.
FORBIDDEN = {
    "lib": (
        "dagster",
        "laion_assets.assets",
        "laion_assets.automation",
        "laion_assets.counts.checks",
        "laion_assets.cli.main",
        "laion_assets.definitions",
        "laion_assets.partitions",
        "laion_assets.stores.resources",
        "laion_assets.web",
    ),
    "web": (
        "dagster",
        "duckdb",
        "laion_assets.assets",
        "laion_assets.automation",
        "laion_assets.cli.main",
        "laion_assets.definitions",
        "laion_assets.stores.database",
        "laion_assets.stores.resources",
    ),
    "assets": (
        "httpx",
        "laion_assets.automation",
        "laion_assets.counts.checks",
        "laion_assets.cli.main",
        "laion_assets.definitions",
        "laion_assets.images.checks",
        "requests",
        "urllib.request",
        "urllib3",
    ),
    "sql": ("dagster", "laion_assets"),
    "schemas.py": ("dagster", "laion_assets"),
    "settings.py": ("dagster", "laion_assets"),
    "resources.py": ("laion_assets.assets", "laion_assets.automation", "laion_assets.definitions"),
    "partitions.py": ("laion_assets.assets", "laion_assets.automation", "laion_assets.definitions"),
    "automation.py": ("laion_assets.assets", "laion_assets.definitions"),
}
# Dagster links assets of one table name: that of the Lance table is its folder's.
TABLE_NAMES = {"lance_images": "images.lance"}


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def find_imports(tree: ast.AST) -> Iterator[str]:
    """Yields what is imported anywhere in the tree, with the names that are taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_imports_at_load(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Yields what is imported when the module is: not in functions, not for type checkers."""
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        ):
            continue
        inner = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from find_imports(statement)
        yield from find_imports_at_load(inner)


def find_strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def find_patterns(tree: ast.AST) -> Iterator[re.Pattern[str]]:
    """Yields each f-string that begins with a text as a pattern, a group for a placeholder."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            yield re.compile(
                "".join(
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)"
                    for part in node.values
                )
            )


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def list_assets(tmp_path: Path) -> list[dg.AssetSpec]:
    definitions = build_defs(Settings.default(tmp_path))
    return list(definitions.resolve_all_asset_specs())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    docstring = ast.get_docstring(parse(module))

    assert docstring, f"{module} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_sql_stands_in_files_of_its_own(module: str) -> None:
    found = [text for text in find_strings(parse(module)) if STATEMENT.match(text)]

    assert found == [], f"{module}: move it to laion_assets/sql"


def test_no_truth_value_of_data_stands_for_its_presence() -> None:
    """Data without rows is false: ask `is not None`, or for the number of its rows."""
    repository = PACKAGE.parent
    folders = (PACKAGE, repository / "laion_assets_tests", repository / "benchmarks")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    functions = find_data_functions(trees.values())

    found = [
        f"{path.relative_to(repository)}:{place}"
        for path, tree in trees.items()
        for place in find_truth_values(tree, functions)
    ]
    assert "open_table" in functions
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(path):\n    if dataset := open_table(path): pass",
        "def f(path):\n    dataset = lance.dataset(path)\n    return dataset and dataset.version",
        "def f(table: pa.Table | None):\n    return 1 if table else 0",
        "def f(table: 'pa.Table | None'):\n    assert table",
        "def f(frames: list[str], frame: pl.DataFrame):\n    return not frame",
        "def f(numbers: NDArray[np.uint8]):\n    while numbers: pass",
        "def f(path):\n    return {t: 1 for t in path if (d := open_table(t))}",
        "def f(path):\n    return bool(open_table(path))",
        "class A:\n    table: pa.Table\n    def f(self):\n        return self.table or 1",
        "class A:\n def f(self):\n  self._t = x.to_table()\n def g(self):\n  if self._t: pass",
        "if open_table(1): pass",
    ],
)
def test_a_truth_value_of_data_is_found(source: str) -> None:
    assert len(find_truth_values(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def f(path):\n    if (dataset := open_table(path)) is not None: pass",
        "def f(table: pa.Table):\n    return table.num_rows or len(table) or not len(table)",
        "def f(tables: list[pa.Table]):\n    return tables or None",
        "def f(table: str):\n    if table: pass\ndef g(table: pa.Table): pass",
        "def f(series: pl.Series):\n    return series.any() or series.len()",
    ],
)
def test_a_number_of_rows_is_no_truth_value_of_data(source: str) -> None:
    assert find_truth_values(ast.parse(source)) == []


@pytest.mark.parametrize("module", [m for m in MODULES if Path(m).parts[0] != MAY_IMPORT_HEAVY])
def test_heavy_libraries_are_imported_where_they_are_used(module: str) -> None:
    imported = {name.split(".")[0] for name in find_imports_at_load(parse(module).body)}

    assert imported & HEAVY == set(), f"{module}: import it in the function that needs it"


@pytest.mark.parametrize("module", [m for m in MODULES if Path(m).parts[0] in FORBIDDEN])
def test_imports_run_downwards(module: str) -> None:
    forbidden = FORBIDDEN[Path(module).parts[0]]
    found = [
        name for name in find_imports(parse(module)) if any(is_within(name, f) for f in forbidden)
    ]

    assert found == [], f"{module} may not import from above"


def test_the_rules_of_imports_name_what_exists() -> None:
    assert [layer for layer in FORBIDDEN if not (PACKAGE / layer).exists()] == []


def test_the_environment_is_read_in_the_settings_alone() -> None:
    readers = [
        module
        for module in MODULES
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
            for node in ast.walk(parse(module))
        )
    ]

    assert "settings.py" in readers
    assert [m for m in readers if m.startswith(("lib", "assets", "sql", "demo"))] == []


@pytest.mark.parametrize("module", MODULES)
def test_tags_are_created_by_our_function(module: str) -> None:
    calls = [
        ast.unparse(node.func) for node in ast.walk(parse(module)) if isinstance(node, ast.Call)
    ]

    found = [call for call in calls if call.endswith("tags.create")]
    assert found == [], f"{module}: `lance_table.create_tag` works below any folder"


def test_every_asset_is_described(tmp_path: Path) -> None:
    for spec in list_assets(tmp_path):
        name = spec.key.to_user_string()
        assert spec.description, f"{name} has no description"
        assert spec.group_name not in (None, "default"), f"{name} has no group"
        assert spec.kinds, f"{name} has no kinds"


def test_a_table_is_named_as_its_asset(tmp_path: Path) -> None:
    tables = {
        spec.key.to_user_string(): spec.metadata["dagster/table_name"]
        for spec in list_assets(tmp_path)
        if "dagster/table_name" in spec.metadata
    }

    assert {"images", "domain_counts", "entity_counts", "artists"} <= tables.keys()
    assert tables == {name: TABLE_NAMES.get(name, name) for name in tables}
    assert len(set(tables.values())) == len(tables)


def test_every_sql_file_is_used() -> None:
    """Its stem is a string of some module, or fits one such as f"delete_{table}" with a string."""
    trees = [parse(module) for module in MODULES]
    strings = {text for tree in trees for text in find_strings(tree)}
    patterns = {pattern for tree in trees for pattern in find_patterns(tree)}

    unused = [
        stem
        for stem in SQL_FILES
        if stem not in strings
        and not any(m and m[1] in strings for m in (p.fullmatch(stem) for p in patterns))
    ]
    assert unused == []
