"""Where Dagster keeps its history: in `LAION_HISTORY_DIR`, else beside the data; or in Postgres.

`dagster.yaml` names these classes. They are Dagster's own, but for three things. The folder: a
`.env` file cannot say "this variable, or else that one with `/dagster` behind it", so every one of
Dagster's programs asks `settings.py` here. And the files: Dagster opens one for each event and
reads its 50 migrations for each run, which was half of what a run of a small shard takes. Here a
file stays open, and that of a new run is a copy of an empty one. And the programs that write what a
run prints: they do not hear Ctrl-C.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import dagster as dg
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from laion_assets.history_rules import EventRules, RunRules
from laion_assets.settings import find_catalog, find_history_dir
from laion_assets.stores.locks import lock_file
from laion_assets.stores.sqlite_engines import SqliteEngines, is_stamped
from laion_assets.stores.sqlite_file import put_new, replace_files

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._core.storage.compute_log_manager import CapturedLogContext
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy import Connection

Storage = TypeVar("Storage", SqliteRunStorage, SqliteScheduleStorage)


class HistoryRuns(RunRules, SqliteRunStorage):
    """Runs, in SQLite."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._engines = SqliteEngines()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Opens a transaction."""
        path = Path(self._conn_string.removeprefix("sqlite:///"))
        with self._engines.find(path).begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Closes the file."""
        super().dispose()
        self._engines.close()


class HistoryEvents(EventRules, SqliteEventLogStorage):
    """Events of runs, in SQLite."""

    def __init__(self, base_dir: str) -> None:
        self._engines = SqliteEngines()
        self._tables: set[str] = set()
        super().__init__(base_dir)

    def store_event(self, event: EventLogEntry) -> None:
        """Stores an event."""
        super().store_event(event)
        # The web UI watches this file, and SQLite writes into the log beside it. Somebody may have
        # deleted the run.
        with suppress(FileNotFoundError):
            os.utime(self.path_for_shard(event.run_id))

    def has_table(self, table_name: str) -> bool:
        """Returns whether there is a table; Dagster asks for the same ones with every event."""
        is_there = table_name in self._tables or super().has_table(table_name)
        if is_there:
            self._tables.add(table_name)
        return is_there

    def wipe(self) -> None:
        """Removes all events."""
        self._engines.close()
        super().wipe()

    def dispose(self) -> None:
        """Closes the files."""
        super().dispose()
        self._engines.close()

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Opens a transaction in the file of a run, or in that of all runs."""
        with self._db_lock:
            path = Path(self.path_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._create(path)
                self._initialized_dbs.add(shard)
            with self._engines.find(path).begin() as connection:
                yield connection

    def _create(self, path: Path) -> None:
        """Creates the file of a run, unless there is one."""
        empty = Path(self._base_dir).with_name(f"empty-run-{dg.__version__}.sqlite")
        if not path.exists():
            if not empty.exists():
                with lock_file(empty.with_suffix(".lock")), replace_files(empty) as (new,):
                    self._create_tables(new)
            put_new(empty, path)
        # What a power cut has left of one.
        if not is_stamped(path):
            self._create_tables(path)

    def _create_tables(self, path: Path) -> None:
        engines = SqliteEngines()
        self._initdb(engines.find(path))
        engines.close()


class HistoryStorage(DagsterSqliteStorage):
    """Runs, events and schedules, in SQLite; in Postgres if `LAION_CATALOG` is set."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._run_storage = _open(HistoryRuns, Path(base_dir) / "history" / "runs.db")
        self._event_log_storage = HistoryEvents(str(Path(base_dir) / "history" / "runs"))
        self._schedule_storage = _open(
            SqliteScheduleStorage, Path(base_dir) / "schedules" / "schedules.db"
        )

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData, _config: Mapping[str, Any]
    ) -> DagsterStorage:
        """Opens the history; creates its folder.

        Several processes that find it empty would each create its tables, and break it: the first
        one does it while the others wait. Web server, daemon and health checks start together.
        """
        history_dir = find_history_dir()
        history_dir.mkdir(parents=True, exist_ok=True)
        catalog = find_catalog()
        if catalog:
            from laion_assets.history_postgres import open_postgres

            return open_postgres(catalog, inst_data)
        with lock_file(history_dir / ".init.lock"):
            return cls.from_local(str(history_dir), inst_data)


def _open(kind: type[Storage], path: Path) -> Storage:
    """Opens a file of the history; only one that is new is compared with Dagster's migrations."""
    folder = str(path.parent)
    if is_stamped(path):
        return kind(create_db_conn_string(folder, path.stem))
    return kind.from_local(folder)


class HistoryArtifacts(LocalArtifactStorage):
    """What steps leave as files."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _config: Mapping[str, Any]
    ) -> Self:
        """Returns the folder."""
        return cls(str(find_history_dir()), inst_data)


class HistoryLogs(LocalComputeLogManager):
    """What runs print."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _config: Mapping[str, Any]
    ) -> Self:
        """Returns the folder."""
        return cls(str(find_history_dir() / "compute_logs"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Writes to files what is printed in the block.

        The programs that do it end with the block. A terminal tells Ctrl-C to them as well, and
        they would print where it met them: they do not hear it.
        """
        with ExitStack() as stack:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                captured = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield captured


def remove_run_log(run_id: str) -> None:
    """Removes the file of the events of a run that was deleted; Dagster only empties it."""
    for path in (find_history_dir() / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink(missing_ok=True)
