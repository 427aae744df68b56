"""Opens this project's Dagster instance from any program, as Dagster's own commands do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.project import set_up_home
from laion_assets.settings import Settings, find_catalog, find_history_dir, find_home
from laion_assets.stores.postgres import unreachable

if TYPE_CHECKING:
    import dagster as dg

# The databases of Dagster that are not of one run, with what SQLite keeps beside each.
HISTORY_FILES = ("history/runs.db*", "history/runs/index.db*", "schedules/schedules.db*")


def load_environment() -> Settings:
    """Reads `.env` of the project as Dagster does, and returns the settings.

    What the environment says of shards, sheets and the data folder wins over the file. The working
    folder becomes the project's home, where relative paths start. Outside a checkout the home is
    set up when it is first used.
    """
    from dotenv import dotenv_values

    home = find_home()
    set_up_home(home)
    if os.environ.get("LAION_HOME"):
        # A relative path would start elsewhere after the change of folder.
        os.environ["LAION_HOME"] = str(home)
    os.chdir(home)
    # Dagster's commands get this from the shell that starts them.
    os.environ["PWD"] = str(home)
    set_by_user = {name for name, value in os.environ.items() if _is_setting(name) and value}
    for name, value in dotenv_values(home / ".env").items():
        if value is not None and name not in {*set_by_user, "LAION_HOME"}:
            os.environ[name] = value
    settings = Settings.from_environment()
    os.environ.setdefault("DAGSTER_HOME", str(home))
    return settings


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Opens the instance; call `load_environment` first.

    Raises:
        HistoryError: its folder cannot be used.
    """
    import dagster as dg

    with name_history_errors():
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance


@contextmanager
def name_history_errors() -> Iterator[None]:
    """Turns what a disk refuses into one line that names the folder.

    Raises:
        HistoryError: the history cannot be opened or written.
    """
    from sqlalchemy.exc import OperationalError

    from laion_assets.errors import HistoryError, first_line

    try:
        yield
    except (OSError, OperationalError) as error:
        catalog = find_catalog()
        if catalog and isinstance(error, OperationalError):
            raise unreachable(catalog, error) from error
        variable = "LAION_HISTORY_DIR" if os.environ.get("LAION_HISTORY_DIR") else "LAION_DATA_DIR"
        cause = error.orig if isinstance(error, OperationalError) and error.orig else error
        reason = getattr(cause, "strerror", None) or first_line(cause)
        raise HistoryError(
            f"{variable}: {find_history_dir()}: Dagster's history cannot be opened ({reason}); "
            "check that its disk has room and can be written",
            code="history-unusable",
        ) from error


@contextmanager
def open_instance_to_read() -> Iterator[dg.DagsterInstance]:
    """Opens the instance for a command that only reads; call `load_environment` first.

    SQLite writes beside a file that it reads. Where that is not allowed, a copy is opened.

    Raises:
        HistoryError: its folder cannot be used.
    """
    history_dir = find_history_dir()
    if find_catalog() or is_writable(history_dir):
        with open_instance() as instance:
            yield instance
        return
    before = os.environ.get("LAION_HISTORY_DIR")
    with tempfile.TemporaryDirectory(prefix="laion-history-") as folder:
        copy_history(history_dir, Path(folder))
        os.environ["LAION_HISTORY_DIR"] = folder
        try:
            with open_instance() as instance:
                yield instance
        finally:
            if before is None:
                del os.environ["LAION_HISTORY_DIR"]
            else:
                os.environ["LAION_HISTORY_DIR"] = before


def is_writable(folder: Path) -> bool:
    """Returns whether this user can write into a folder, or make it."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def copy_history(history_dir: Path, target: Path) -> None:
    """Copies what tells of all runs together, without the log of each."""
    for pattern in HISTORY_FILES:
        for path in history_dir.glob(pattern):
            place = target / path.relative_to(history_dir)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _is_setting(name: str) -> bool:
    places = {"LAION_DATA_DIR", "LAION_HISTORY_DIR", "LAION_CATALOG", "LAION_RAY"}
    return name in {*places, "LAION_SHARDS"} or name.startswith("LAION_SHEET_")
