"""What a failed run says, and whether it is tried again."""

import inspect
from collections.abc import Iterator

import dagster as dg
import duckdb
import pytest

from laion_assets.backfill import run_job
from laion_assets.failures import explain_failures
from laion_assets.lib.errors import LaionError, ShardError

ERRORS: dict[str, tuple[Exception, str, bool]] = {
    "bad file": (ShardError("/s.parquet: is empty; fetch it again"), "is empty", False),
    "network": (ShardError("https://a: no connection", is_passing=True), "no connection", True),
    "DuckDB": (
        duckdb.BinderException("Binder Error: no column x\n\nLINE 1: SELECT x FROM images\n   ^"),
        "DuckDB: Binder Error: no column x",
        False,
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_asset_fails_with_one_line(case: str) -> None:
    error, reason, is_passing = ERRORS[case]

    @explain_failures
    def compute() -> None:
        raise error

    @explain_failures
    def generate() -> Iterator[int]:
        yield 1
        raise error

    for call in (compute, lambda: list(generate())):
        with pytest.raises(dg.Failure) as failure:
            call()
        assert reason in str(failure.value.description)
        assert "\n" not in str(failure.value.description)
        assert failure.value.allow_retries is is_passing
    assert inspect.isgeneratorfunction(generate)


def test_a_bug_stays_whole() -> None:
    @explain_failures
    def compute() -> None:
        raise KeyError("shard")

    with pytest.raises(KeyError):
        compute()


@pytest.mark.parametrize("is_passing", [True, False], ids=["may pass", "stays"])
def test_what_may_pass_is_tried_again_and_nothing_else(
    instance: dg.DagsterInstance, is_passing: bool
) -> None:
    attempts = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    @explain_failures
    def shard() -> None:
        attempts.append(1)
        raise LaionError("s: out of order; mend it", is_passing=is_passing)

    job = dg.define_asset_job("job", selection=["shard"])
    definitions = dg.Definitions(assets=[shard], jobs=[job])

    outcome = run_job(definitions.resolve_job_def("job"), instance)

    assert outcome.reason == "s: out of order; mend it"
    assert len(attempts) == 1 + is_passing
