"""What a failed run says, and whether it is tried again."""

import errno
import inspect
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from laion_assets.definitions import build_defs
from laion_assets.errors import AccessError, GoneError, LaionError, ShardError
from laion_assets.orchestration import failures
from laion_assets.orchestration.failures import explain_failures, may_pass
from laion_assets.orchestration.interrupts import StoppedError
from laion_assets.runs.backfill import run_job
from laion_assets.runs.run_failures import read_failure
from laion_assets.settings import Settings
from laion_assets.stores.disk_space import DiskSpaceError

pytestmark = pytest.mark.slow

ERRORS: dict[str, tuple[Exception, str, bool, str]] = {
    "bad file": (ShardError("/s: is empty", code="shard-empty"), "is empty", False, "shard-empty"),
    "network": (
        ShardError("https://a: no connection", code="http-no-connection", is_passing=True),
        "no connection",
        True,
        "http-no-connection",
    ),
    "DuckDB": (
        duckdb.BinderException("Binder Error: no column x\n\nLINE 1: SELECT x FROM images\n   ^"),
        "DuckDB: Binder Error: no column x",
        False,
        "duckdb-failed",
    ),
    "full disk": (
        OSError(errno.ENOSPC, "No space left on device", "/data/raw"),
        "/data/raw: the disk is full; make room, then run it again",
        False,
        "system-refused",
    ),
    "bug": (KeyError("shard"), "internal error (KeyError in ", False, "internal-error"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_asset_fails_with_one_line(case: str) -> None:
    error, reason, is_passing, code = ERRORS[case]

    @explain_failures
    def compute() -> None:
        raise error

    @explain_failures
    def generate() -> Iterator[int]:
        yield 1
        raise error

    for call in (compute, lambda: list(generate())):
        with pytest.raises((dg.Failure, dg.RetryRequested)) as raised:
            call()
        assert isinstance(raised.value, dg.RetryRequested) is is_passing
        failure = raised.value.__cause__ if is_passing else raised.value
        assert isinstance(failure, dg.Failure)
        assert reason in str(failure.description)
        assert "\n" not in str(failure.description)
        assert failure.metadata["error_code"].value == code
    assert inspect.isgeneratorfunction(generate)


def test_a_bug_keeps_the_way_that_it_took_and_asks_to_be_reported(
    instance: dg.DagsterInstance,
) -> None:
    @dg.asset
    @explain_failures
    def shard() -> None:
        raise KeyError("shard")

    result = dg.materialize([shard], instance=instance, raise_on_error=False)

    (failure,) = (event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error
    assert error.cause
    assert error.cause.cls_name == "KeyError"
    assert "internal error (KeyError in " in error.message
    assert "; please report it" in error.message


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_passing", [True, False], ids=["may pass", "stays"])
def test_what_may_pass_is_tried_again_and_nothing_else(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, is_passing: bool
) -> None:
    monkeypatch.setattr(failures, "PAUSE_S", 0)
    attempts = []

    @dg.asset
    @explain_failures
    def shard() -> None:
        attempts.append(1)
        raise LaionError("s: out of order; mend it", is_passing=is_passing)

    job = dg.define_asset_job("job", selection=["shard"])
    definitions = dg.Definitions(assets=[shard], jobs=[job])

    outcome = run_job(definitions.resolve_job_def("job"), instance)

    assert outcome.reason == "s: out of order; mend it"
    assert len(attempts) == 1 + is_passing
    (run,) = instance.get_runs()
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failure.dagster_event
    error = failure.dagster_event.step_failure_data.error
    # The page's headline is the reason, not the number of attempts.
    assert error
    assert error.message.strip().endswith("s: out of order; mend it")


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (ShardError("s: damaged"), False),
        (GoneError("s: no such file"), False),
        (AccessError("s: not allowed; set HF_TOKEN"), True),
        (LaionError("the encoder is not there"), True),
        (DiskSpaceError("no room"), True),
        (KeyError("a bug"), True),
    ],
)
def test_only_what_is_wrong_with_a_file_stays_until_it_changes(
    error: Exception, is_passing: bool
) -> None:
    assert may_pass(error) is is_passing


def test_no_asset_has_a_retry_policy(tmp_path: Path) -> None:
    # Dagster would try a cancelled run again.
    definitions = build_defs(Settings.default(tmp_path))
    assets = [a for a in definitions.assets or () if isinstance(a, dg.AssetsDefinition)]
    assert len(assets) > 4
    assert [a.op for a in assets if getattr(a.op, "retry_policy", None)] == []


def test_an_interrupted_query_is_a_cancellation_not_an_error(instance: dg.DagsterInstance) -> None:
    attempts = []

    @dg.asset
    @explain_failures
    def shard() -> None:
        attempts.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        # DuckDB's own words, which hide the signal.
        raise RuntimeError("Query interrupted")

    job = dg.define_asset_job("job", selection=["shard"])
    definitions = dg.Definitions(assets=[shard], jobs=[job])

    with pytest.raises(StoppedError) as stop:
        run_job(definitions.resolve_job_def("job"), instance)

    assert stop.value.exit_status == 130
    assert len(attempts) == 1
    (run,) = instance.get_runs()
    (failure,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert failure.dagster_event
    error = failure.dagster_event.step_failure_data.error
    assert error
    assert error.cls_name == "DagsterExecutionInterruptedError"
    said = read_failure(instance, run)
    assert (said.reason, said.may_pass) == ("its run was cancelled", False)


def test_a_signal_that_everybody_swallows_stops_before_the_next_step(
    instance: dg.DagsterInstance,
) -> None:
    steps = []

    @dg.asset
    @explain_failures
    def first() -> None:
        steps.append("first")
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    @dg.asset(deps=[first])
    @explain_failures
    def second() -> None:
        steps.append("second")

    job = dg.define_asset_job("job", selection=["first", "second"])
    definitions = dg.Definitions(assets=[first, second], jobs=[job])

    with pytest.raises(StoppedError) as stop:
        run_job(definitions.resolve_job_def("job"), instance)

    assert stop.value.exit_status == 143
    assert steps == ["first"]


def test_the_reason_of_a_run_that_fails_before_its_steps_is_told(
    instance: dg.DagsterInstance,
) -> None:
    @dg.resource
    def disk() -> None:
        raise LaionError("/data: out of order; mend it")

    @dg.asset(required_resource_keys={"disk"})
    def shard() -> None: ...

    job = dg.define_asset_job("job", selection=["shard"])
    definitions = dg.Definitions(assets=[shard], jobs=[job], resources={"disk": disk})

    outcome = run_job(definitions.resolve_job_def("job"), instance)

    assert str(outcome.reason).endswith("/data: out of order; mend it")
