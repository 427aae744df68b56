"""The house rules that a reader relies on, each as a test; CONTRIBUTING.md gives the reasons."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

import laion_assets
from docs.messages import find_messages
from laion_assets.definitions import build_defs
from laion_assets.settings import Settings
from laion_assets_tests.truth_values import find_data_functions, find_truth_values, parse

PACKAGE = Path(laion_assets.__file__).parent
TESTS = Path(__file__).parent
TREES = {
    path.relative_to(PACKAGE): parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
SQL_FILES = {f"{path.parts[-3]}/{path.stem}" for path in PACKAGE.rglob("*.sql")}
HEAVY = frozenset({"lance", "lancedb", "numpy", "polars", "pyarrow", "torch"})
CLUSTER_PACKAGES = ("boto3", "botocore", "psycopg2", "dagster_postgres", "dagster_ray", "ray")
# Its modules make data and nothing else, and are themselves imported where they are used.
MAY_IMPORT_HEAVY = "demo"
STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|DELETE|UPDATE|CREATE|DROP|ALTER|COPY|ATTACH|WITH|MERGE|TRUNCATE|PRAGMA|SET)\s"
)
# Data flows one way, and imports run against it: what stands here may import what stands above.
ORDER = (
    "amounts",
    "errors",
    "schemas",
    "settings",
    "project",
    "partitions",
    "stores",
    "history_rules",
    "history_postgres",
    "history",
    "curation",
    "orchestration",
    "raw_shards",
    "names",
    "removals",
    "images",
    "counts",
    "lance_images",
    "pictures",
    "embeddings",
    "declared_columns",
    "releases",
    "search",
    "subsets",
    "training",
    "exports",
    "publishing",
    "runs",
    "alarms",
    "automation",
    "definitions",
    "operations",
    "demo",
    "web",
    "cli",
)
STAGES = (
    *("raw_shards", "images", "names", "counts", "lance_images", "pictures", "embeddings"),
    *("declared_columns", "releases", "subsets", "exports", "publishing", "removals"),
)
# A stage without Dagster can be read, tested and used without it.
MAY_IMPORT_DAGSTER = re.compile(
    r"(.*/)?(asset|source_asset|checks|resource|resources)\.py|counts/(domain|site|entity)_counts\.py"
    r"|(orchestration|runs|operations|cli)/.*|alarms/(findings|sensor)\.py|(automation|partitions|definitions|history(_\w+)?)\.py"
)
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
# Only `stores` opens files, tables and locks, so that they can move elsewhere.
OPENERS = ("FileLock", "ReadWriteLock", "duckdb.connect", "lance.dataset")
# The page reads Lance alone, so that loads and visitors never wait for each other.
FORBIDDEN_IN_WEB = ("dagster", "duckdb", "laion_assets.stores.database")
# Every stage has these; any other name means one thing.
COMMON_NAMES = {"__init__", "asset", "checks", "resource"}
# Dagster links assets of one table name: that of the Lance table is its folder's.
TABLE_NAMES = {"lance_images": "images.lance"}


@cache
def list_nodes(tree: ast.AST) -> list[ast.AST]:
    """Returns all that is in the tree."""
    return list(ast.walk(tree))


@cache
def list_calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Returns each call in the tree, by what is called."""
    return [(ast.unparse(n.func), n) for n in list_nodes(tree) if isinstance(n, ast.Call)]


def find_imports(tree: ast.AST) -> Iterator[str]:
    """Yields what is imported anywhere in the tree, with the names that are taken from it."""
    for node in list_nodes(tree):
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
    for node in list_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def find_patterns(tree: ast.AST) -> Iterator[re.Pattern[str]]:
    """Yields each f-string that begins with a text as a pattern, a group for a placeholder."""
    for node in list_nodes(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            yield re.compile(
                "".join(
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)"
                    for part in node.values
                )
            )


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def name_layer(module: Path) -> str:
    """Returns the folder of a module, or its own name at the top."""
    return module.parts[0].removesuffix(".py")


def list_assets(tmp_path: Path) -> list[dg.AssetSpec]:
    definitions = build_defs(Settings.default(tmp_path))
    return list(definitions.resolve_all_asset_specs())


def test_every_module_says_what_it_is_for() -> None:
    assert [str(module) for module, tree in TREES.items() if not ast.get_docstring(tree)] == []


@pytest.mark.exhaustive
def test_sql_stands_in_files_of_its_own() -> None:
    found = [
        (str(module), text)
        for module, tree in TREES.items()
        for text in find_strings(tree)
        if STATEMENT.match(text)
    ]

    assert found == [], "move each to the folder `sql` of its stage"


@pytest.mark.exhaustive
def test_no_truth_value_of_data_stands_for_its_presence() -> None:
    """Data without rows is false: ask `is not None`, or for the number of its rows."""
    repository = PACKAGE.parent
    folders = (PACKAGE, repository / "laion_assets_tests", repository / "benchmarks")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    trees = {path: parse(path.read_text(encoding="utf-8")) for path in paths}
    functions = find_data_functions(trees.values())

    found = [
        f"{path.relative_to(repository)}:{place}"
        for path, tree in trees.items()
        for place in find_truth_values(tree, functions)
    ]
    assert {"find", "open", "open_released"} <= functions
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
    assert len(find_truth_values(parse(source))) == 1


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
    assert find_truth_values(parse(source)) == []


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    found = {
        str(module): heavy
        for module, tree in TREES.items()
        if name_layer(module) != MAY_IMPORT_HEAVY
        and (heavy := {name.split(".")[0] for name in find_imports_at_load(tree.body)} & HEAVY)
    }

    assert found == {}, "import them in the functions that need them"


def test_imports_run_one_way() -> None:
    found = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        if name_layer(module) != "__init__"
        for name in find_imports(tree)
        if name.startswith("laion_assets.")
        and ORDER.index(name.split(".")[1]) > ORDER.index(name_layer(module))
    ]

    assert found == []


def test_the_order_of_imports_names_all_that_there_is() -> None:
    assert {name_layer(module) for module in TREES} - {"__init__"} == set(ORDER)


def test_dagster_is_imported_only_where_it_is_the_subject() -> None:
    found = [
        str(module)
        for module, tree in TREES.items()
        if not MAY_IMPORT_DAGSTER.fullmatch(module.as_posix())
        and any(is_within(name, "dagster") for name in find_imports(tree))
    ]

    assert found == []


def test_only_the_stores_open_files_tables_and_locks() -> None:
    found = [
        f"{module}: {opener}"
        for module, tree in TREES.items()
        if name_layer(module) not in ("stores", "demo")
        for opener in OPENERS
        if any(called == opener for called, _ in list_calls(tree))
    ]

    assert found == []


def test_the_tables_are_opened_where_the_settings_say() -> None:
    """`LanceStore(settings.lance_dir)` would miss a bucket: write `LanceStore.of(settings)`."""
    found = [
        str(module)
        for module, tree in TREES.items()
        for called, node in list_calls(tree)
        if called == "LanceStore"
        and any(".lance_dir" in ast.unparse(argument) for argument in node.args)
    ]

    assert found == []


def test_what_a_cluster_needs_is_imported_where_it_is_used() -> None:
    """The extra `cluster` may not be installed, and nobody waits for its imports."""
    found = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        if module.as_posix() not in ("history_postgres.py", "runs/ray_launcher.py")
        for name in find_imports_at_load(tree.body)
        if name.split(".")[0] in CLUSTER_PACKAGES
        or is_within(name, "laion_assets.history_postgres")
        or is_within(name, "laion_assets.runs.ray_launcher")
    ]

    assert found == []


def test_stores_are_handed_over_and_not_their_folders() -> None:
    """Whoever gets a folder has to know what is in it; a store can move to another place."""
    found = [
        f"{module}:{node.lineno} {node.name}({argument.arg})"
        for module, tree in TREES.items()
        if name_layer(module) not in ("stores", "settings")
        for node in list_nodes(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.arg in ("raw_dir", "lance_dir")
    ]

    assert found == [], "take a RawStore or a LanceStore"


@pytest.mark.exhaustive
def test_every_error_has_a_code_of_its_own() -> None:
    """Write `raise ShardError("what, where; what to do", code="shard-cut-off")`."""
    messages = list(find_messages(TREES))
    templates = defaultdict(set)
    for message in messages:
        templates[message.code].add(message.template)

    assert len(messages) > 100
    assert [m for m in messages if not CODE.fullmatch(m.code)] == [], (
        'give each a code in kebab-case, `code="…"`, and run `make reference`'
    )
    assert {code: texts for code, texts in templates.items() if len(texts) > 1} == {}, (
        "one code stands for one message"
    )


def test_the_search_page_reads_lance_alone() -> None:
    found = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        if name_layer(module) == "web"
        for name in find_imports(tree)
        if any(is_within(name, forbidden) for forbidden in FORBIDDEN_IN_WEB)
    ]

    assert found == []


def test_a_module_name_has_one_meaning() -> None:
    modules = defaultdict(list)
    for module in TREES:
        if module.stem not in COMMON_NAMES:
            modules[module.stem].append(str(module))

    assert [names for names in modules.values() if len(names) > 1] == []


def test_every_stage_has_its_asset_and_its_tests() -> None:
    for stage in STAGES:
        files = {path.name for path in (PACKAGE / stage).iterdir()}
        assert files & {"asset.py", f"{stage.removesuffix('s')}.py", "domain_counts.py"}, stage
        assert (TESTS / stage).is_dir(), stage


def test_tests_lie_where_their_modules_lie() -> None:
    """A folder of tests is a folder of the package, or one of the few that test the whole."""
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    package = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}

    assert folders - package <= {"integration"}


def test_the_environment_is_read_in_the_settings_alone() -> None:
    readers = {
        name_layer(module)
        for module, tree in TREES.items()
        for node in list_nodes(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }

    assert "settings" in readers
    # The others hand it on to the processes that they start.
    assert readers <= {"settings", "runs", "cli", "web", "stores"}


def test_tags_are_created_by_the_store() -> None:
    """Lance's own `tags.create` fails below some folders; see `LanceStore.create_tag`."""
    found = [
        str(module)
        for module, tree in TREES.items()
        for called, _ in list_calls(tree)
        if called.endswith("tags.create")
    ]

    assert found == []


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

    assert {"images", "domain_counts", "site_counts", "entity_counts", "artists"} <= tables.keys()
    assert tables == {name: TABLE_NAMES.get(name, name) for name in tables}
    assert len(set(tables.values())) == len(tables)


def test_every_sql_file_is_used() -> None:
    """Its name is a string of some module, or fits one such as f"images/delete_{table}"."""
    strings = {text for tree in TREES.values() for text in find_strings(tree)}
    patterns = {pattern for tree in TREES.values() for pattern in find_patterns(tree)}

    unused = [
        name
        for name in SQL_FILES
        if name not in strings
        and not any(m and m[1] in strings for m in (p.fullmatch(name) for p in patterns))
    ]
    assert unused == []


def test_every_page_of_docs_is_in_the_navigation() -> None:
    """`make docs` refuses another one, and CI does not run it."""
    repository = PACKAGE.parent
    pages = {p.relative_to(repository / "docs").as_posix() for p in repository.glob("docs/**/*.md")}
    _, navigation = (repository / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")

    named = re.findall(r"[\w./-]+\.md$", navigation, flags=re.MULTILINE)

    assert sorted(named) == sorted(pages)
