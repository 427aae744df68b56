"""Where runs run, and how many at once: on this machine, or on Ray if `LAION_RAY` is set.

`dagster.yaml` names these classes, so that the same file serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster import DefaultRunLauncher
from dagster._core.run_coordinator import QueuedRunCoordinator

from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.settings import find_ray

if TYPE_CHECKING:
    from dagster._core.launcher import RunLauncher
    from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
    from dagster._serdes import ConfigurableClassData

# Two runs of one shard would only wait for each other, and keep a processor from a third.
ONE_A_SHARD = {"key": PARTITION_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}


class RunStarter(DefaultRunLauncher):
    """Starts runs as processes of this machine, or as jobs of Ray."""

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> RunLauncher[Any]:
        """Returns what starts runs.

        Raises:
            LaionError: the extra is not installed.
        """
        if ray := find_ray():
            from laion_assets.runs.ray_cluster import check_library

            check_library()
            from laion_assets.runs.ray_launcher import build_launcher

            return build_launcher(ray, inst_data)
        return super().from_config_value(inst_data, config_value)


class RunQueue(QueuedRunCoordinator[Any]):
    """Runs that wait. On Ray as many run at once as all nodes together have processors.

    A run that Ray itself had to keep waiting would be given up after a while, as one that does not
    start.
    """

    def get_run_queue_config(self) -> RunQueueConfig:
        """Returns how many runs may run at once; the daemon asks before each look at the queue."""
        config = super().get_run_queue_config()
        ray = find_ray()
        if ray is None:
            return config
        from laion_assets.runs.ray_cluster import count_slots

        limits = [*config.tag_concurrency_limits, ONE_A_SHARD]
        return config._replace(max_concurrent_runs=count_slots(ray), tag_concurrency_limits=limits)
