"""Checks of an asset are one step, and each tells its own result."""

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.errors import LaionError
from laion_assets.orchestration import failures
from laion_assets.orchestration.check_steps import Check, build_check_steps, laion_check
from laion_assets.runs.backfill import run_job
from laion_assets.settings import Settings


@laion_check(asset="table")
def passes(
    context: dg.AssetCheckExecutionContext, word: dg.ResourceParam[str]
) -> dg.AssetCheckResult:
    """It holds."""
    return dg.AssetCheckResult(passed=True, metadata={"word": word, "run": context.run.run_id})


@laion_check(asset="table")
def warns() -> dg.AssetCheckResult:
    """It holds nearly."""
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


@laion_check(asset="table")
def cannot_look() -> dg.AssetCheckResult:
    """It is out of order."""
    raise LaionError("table: out of order; mend it")


@laion_check(asset="table", blocking=True)
def blocks() -> dg.AssetCheckResult:
    """Nothing is made from what is wrong."""
    return dg.AssetCheckResult(passed=False)


def build_job(*checks: Check) -> dg.JobDefinition:
    """Returns the job of an asset, of what is made from it, and of checks in between."""

    @dg.asset
    def table() -> None: ...

    @dg.asset(deps=[table])
    def after() -> None: ...

    definitions = dg.Definitions(
        assets=[table, after],
        asset_checks=build_check_steps(checks),
        jobs=[dg.define_asset_job("job")],
        resources={"word": "fox"},
    )
    return definitions.resolve_job_def("job")


def run(
    instance: dg.DagsterInstance, *checks: Check
) -> tuple[dg.ExecuteInProcessResult, dict[str, dg.AssetCheckEvaluation]]:
    """Runs that job; returns how it ended, and what each check says."""
    result = build_job(*checks).execute_in_process(instance=instance, raise_on_error=False)
    return result, {check.check_name: check for check in result.get_asset_check_evaluations()}


def find_steps(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key or "" for event in result.all_events if event.is_step_start]


@pytest.mark.slow
def test_the_checks_of_an_asset_are_one_step(instance: dg.DagsterInstance) -> None:
    result, checks = run(instance, passes, warns)
    assert result.success
    assert sorted(find_steps(result)) == ["after", "check_table", "table"]
    assert checks["passes"].passed
    assert checks["passes"].metadata["word"].value == "fox"
    assert checks["passes"].metadata["run"].value == result.run_id
    assert not checks["warns"].passed
    assert checks["warns"].severity == dg.AssetCheckSeverity.WARN
    target = checks["warns"].target_materialization_data
    assert target
    assert target.run_id == result.run_id


@pytest.mark.slow
def test_one_that_cannot_look_says_why_and_leaves_the_others(instance: dg.DagsterInstance) -> None:
    result, checks = run(instance, cannot_look, passes, warns)
    assert {name: check.passed for name, check in checks.items()} == {
        "cannot_look": False,
        "passes": True,
        "warns": False,
    }
    assert checks["cannot_look"].severity == dg.AssetCheckSeverity.ERROR
    assert checks["cannot_look"].metadata["reason"].value == "table: out of order; mend it"
    assert checks["cannot_look"].description == "table: out of order; mend it"
    # What is made from the table does not wait for a check that does not block.
    assert result.asset_materializations_for_node("after")


@pytest.mark.slow
def test_the_run_fails_with_the_reason_of_one_that_cannot_look(
    instance: dg.DagsterInstance,
) -> None:
    outcome = run_job(build_job(passes, cannot_look, warns), instance)
    assert outcome.reason == "table: out of order; mend it"


@pytest.mark.slow
def test_what_may_pass_is_looked_at_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PAUSE_S", 0)
    attempts = []

    @laion_check(asset="table")
    def is_busy() -> dg.AssetCheckResult:
        attempts.append(1)
        if len(attempts) == 1:
            raise LaionError("table: busy; wait", is_passing=True)
        return dg.AssetCheckResult(passed=True)

    result, checks = run(instance, is_busy, passes)
    assert result.success
    assert len(attempts) == 2
    assert [check.passed for check in checks.values()] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("others", [(), (cannot_look,)], ids=["alone", "beside a broken one"])
def test_one_that_blocks_holds_up_what_comes_after(
    instance: dg.DagsterInstance, others: tuple[Check, ...]
) -> None:
    result, checks = run(instance, blocks, passes, *others)
    assert not checks["blocks"].passed
    assert checks["passes"].passed
    assert "after" not in find_steps(result)
    assert set(find_steps(result)) == {"table", "check_table", "check_table_blocks"}


def test_each_can_be_run_alone(instance: dg.DagsterInstance) -> None:
    steps = build_check_steps([passes, warns])
    job = dg.define_asset_job("alone", dg.AssetSelection.checks(warns.spec.key))
    definitions = dg.Definitions(asset_checks=steps, jobs=[job], resources={"word": "fox"})
    result = definitions.resolve_job_def("alone").execute_in_process(instance=instance)
    assert [check.check_name for check in result.get_asset_check_evaluations()] == ["warns"]


def test_every_asset_of_a_refresh_is_checked_in_one_step(settings: Settings) -> None:
    job = build_defs(settings).resolve_job_def("refresh_counts")
    names = {node.name for node in job.nodes if node.name.startswith("check_")}
    assert {"check_images", "check_images_columns_as_documented", "check_pictures"} <= names
    assert len(names) == len({"columns_as_documented"}) + len(
        {key.asset_key for key in job.asset_layer.asset_graph.asset_check_keys}
    )
