"""Where Dagster keeps its history: in `LAION_HISTORY_DIR`, else beside the data.

`dagster.yaml` names these classes. They are Dagster's own, but for the folder: a `.env` file cannot
say "this variable, or else that one with `/dagster` behind it", so every one of Dagster's programs
asks `settings.py` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from laion_assets.settings import find_history_dir

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


class HistoryStorage(DagsterSqliteStorage):
    """Runs, events and schedules, in SQLite."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, _config: Mapping[str, Any]
    ) -> Self:
        """Opens the history; creates its folder."""
        return cls.from_local(str(find_history_dir()), inst_data)


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


def remove_run_log(run_id: str) -> None:
    """Removes the file of the events of a run that was deleted; Dagster only empties it."""
    for path in (find_history_dir() / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink(missing_ok=True)
