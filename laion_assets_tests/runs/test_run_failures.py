"""What is said of a run of which no step failed."""

import dagster as dg
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo

from laion_assets.runs.run_failures import RunFailure, find_failure

UNREACHABLE = SerializableErrorInfo(
    "dagster._core.errors.DagsterUserCodeUnreachableError: The server took over 60 seconds.\n",
    [],
    "DagsterUserCodeUnreachableError",
)


def start(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Notes a run of the shard `s` that is about to start."""
    run = dg.DagsterRun(
        job_name="ingest_shards",
        status=dg.DagsterRunStatus.STARTING,
        tags={"dagster/partition": "s"},
    )
    return instance.add_run(run)


def find_last(instance: dg.DagsterInstance) -> RunFailure | None:
    return find_failure(instance, "ingest_shards", "s")


def test_a_run_that_the_daemon_could_not_start_says_why(instance: dg.DagsterInstance) -> None:
    run = start(instance)
    told = EngineEventData.engine_error(UNREACHABLE)
    instance.report_engine_event("Unexpected error in IPC client", run, told)
    instance.report_run_failed(run)

    reason = "its process was not started: The server took over 60 seconds."
    assert find_last(instance) == RunFailure(reason, may_pass=True, code="not-started")


def test_a_run_that_took_too_long_to_start_says_so(instance: dg.DagsterInstance) -> None:
    instance.report_run_failed(start(instance), "Run timed out after 180 seconds.")

    failure = find_last(instance)
    assert failure
    assert failure.reason == "its process was not started: Run timed out after 180 seconds."


def test_a_run_that_was_killed_says_that_it_has_no_reason(instance: dg.DagsterInstance) -> None:
    run = start(instance)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    instance.report_dagster_event(event, run.run_id)
    instance.report_run_failed(run)

    failure = find_last(instance)
    assert failure
    assert (failure.code, failure.may_pass) == ("killed", True)


def test_only_a_shard_has_to_be_started_again_by_hand(instance: dg.DagsterInstance) -> None:
    instance.report_run_canceled(start(instance))
    refresh = dg.DagsterRun(job_name="refresh_counts", status=dg.DagsterRunStatus.STARTED)
    instance.report_run_canceled(instance.add_run(refresh))

    assert find_last(instance) == RunFailure(
        "its run was cancelled; start it again by hand", may_pass=False
    )
    assert find_failure(instance, "refresh_counts") == RunFailure(
        "its run was cancelled", may_pass=False
    )
