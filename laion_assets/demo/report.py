"""What `laion demo` says at its end."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from laion_assets.releases.catalog import newest_release
from laion_assets.settings import REPOSITORY, find_home, is_checkout
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.postgres import name_catalog
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    from laion_assets.settings import Settings


def print_report(settings: Settings) -> None:
    """Prints what was made, where it is, and what to do next."""
    with Database.of(settings).read() as connection:
        totals = dict(connection.execute(load_sql("runs/select_totals")).fetchall())
        domains = connection.execute(load_sql("counts/top_domains")).fetchmany(3)
    release = newest_release(LanceStore.of(settings))
    assert release is not None
    program = _name_program()
    vectors = ", with their vectors" if settings.embeddings == "compute" else ""
    top = ", ".join(f"{domain} ({count:,})" for domain, count, *_ in domains)
    lines = (
        "",
        "What was made",
        f"  images            {totals['images']:,} of {len(release.shards)} shards, "
        f"{totals['rejected rows']:,} rows rejected",
        f"  domain_counts     {totals['domains']:,} domains: {top}",
        f"  entity_counts     {totals['names']:,} names, "
        f"{totals['names in a caption']:,} of them in a caption",
        f"  pictures          {totals['pictures']:,} small scenes, drawn for their captions"
        f"{vectors}",
        f"  release           {release.release}, Lance version {release.lance_versions['images']}",
        "",
        "Where it is",
        f"  parquet files     {_shorten(settings.raw_dir)}",
        f"  DuckDB            {settings.warehouse_bucket or _shorten(settings.database)}",
        f"  Lance             {settings.lance_bucket or _shorten(settings.lance_dir)}",
        f"  Dagster history   {_name_history(settings)}",
        "",
        "What to do next",
        f"  {_name_web_ui_command():<17} opens the web UI at http://127.0.0.1:3000",
        f"  {program} serve       opens the search page at http://127.0.0.1:8000",
        f"  {' ' * (len(program) + 12)}and pictures at http://127.0.0.1:8000/search?q=red+boat",
        f"  {program} search 'red boat'",
        *([f"  {program} search 'red boat at sunset' --by meaning"] if vectors else []),
        f"  {program} status",
    )
    console = Console()
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _name_program() -> str:
    """Returns how one calls `laion` again."""
    is_on_path = not _is_home() and shutil.which("laion") == sys.argv[0]
    return "laion" if is_on_path else _shorten(Path(sys.argv[0]))


def _name_web_ui_command() -> str:
    return "make dev" if _is_home() else f"cd {shlex.quote(str(find_home()))} && dagster dev"


def _is_home() -> bool:
    """Returns whether this is a checkout, and the project in it."""
    return is_checkout() and find_home() == REPOSITORY


def _shorten(path: Path) -> str:
    """Returns the path as one would type it in the root of the checkout, if that is the project."""
    absolute = path.absolute()
    is_inside = _is_home() and absolute.is_relative_to(REPOSITORY)
    return str(absolute.relative_to(REPOSITORY) if is_inside else path)


def _name_history(settings: Settings) -> str:
    return name_catalog(settings.catalog) if settings.catalog else _shorten(settings.history_dir)
