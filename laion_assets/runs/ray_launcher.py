"""Starts runs as jobs of Ray, by dagster-ray; imported where `LAION_RAY` is set alone."""

from __future__ import annotations

import shlex
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import RETRY_STRATEGY_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster_ray.core.run_launcher import RayRunLauncher

from laion_assets.runs.ray_cluster import name_job, write_variables

if TYPE_CHECKING:
    from dagster import DagsterRun
    from dagster._core.launcher import LaunchRunContext
    from dagster._serdes import ConfigurableClassData

# `api execute_run` and what is to be run, after the program that this machine would take.
ARGUMENTS = 3
# The daemon asks for each run every half a minute. A head that is busy or starts again may not know
# one for a while that goes on; after so many times it is taken for lost.
LOST_AFTER = 3


class RayStarter(RayRunLauncher):
    """Starts each run as a job that takes one processor of a node, as Ray counts them."""

    @cached_property
    def _unknown(self) -> Counter[str]:
        """How often in a row Ray did not say what became of a run."""
        return Counter()

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Returns how the job of a run is, as far as Ray says so."""
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status == WorkerStatus.UNKNOWN:
            self._unknown[run.run_id] += 1
            if self._unknown[run.run_id] < LOST_AFTER:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._unknown[run.run_id]
        return found

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts a run. If its node dies, all of its steps run again.

        Else it would go on where it was, on a node that does not have the raw file.
        """
        run = context.dagster_run
        assert run.job_code_origin is not None
        self._instance.add_run_tags(run.run_id, {RETRY_STRATEGY_TAG: "ALL_STEPS"})
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        ).get_command_args()
        # A node has Python where it likes. And the quotes of dagster-ray would end at the first one
        # in what Dagster says of its instance.
        command = shlex.join(["dagster", *arguments[-ARGUMENTS:]])
        self._launch_ray_job(name_job(run.run_id), command, run)


def build_launcher(ray: str, inst_data: ConfigurableClassData | None) -> RayStarter:
    """Returns what starts runs.

    Args:
        ray: where Ray takes jobs.
        inst_data: what Dagster's instance knows of it.
    """
    return RayStarter(ray, env_vars=write_variables(), num_cpus=1, inst_data=inst_data)
