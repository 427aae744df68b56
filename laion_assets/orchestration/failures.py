"""What a run says when it fails, whether it is tried again, and how it is cancelled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn, ParamSpec, TypeVar, cast

import dagster as dg

from laion_assets.errors import AccessError, LaionError, ShardError
from laion_assets.orchestration.dead_runs import tag_worker
from laion_assets.orchestration.interrupts import SignalWatch, watch_signals
from laion_assets.stores.reasons import find_system_reason, give_reason, name_code

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# For a network that is down, or a database that somebody holds; both were waited for before. What
# is wrong with a file, a sheet or the disk does not get better by itself, and is not tried again.
# No asset has a retry policy: Dagster would apply it to a cancelled run as well.
MAX_RETRIES = 1
# Metadata of a failure: whether trying again at another time may help.
MAY_PASS_KEY = "may_pass"  # noqa: S105 - it passes no secret
# Metadata of a failure: which error it is.
CODE_KEY = "error_code"
# Dagster sleeps it, and hears of a cancellation only then.
PAUSE_S = 4


def explain_failures(compute: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes the function of an asset or a check fail with the reason, as Dagster's pages show it.

    The errors of this project are for people, without the code that they came through; every other
    error keeps it as its cause. A function that is cancelled ends within 5 seconds, whichever
    library is at work.
    """
    if inspect.isgeneratorfunction(compute):

        @functools.wraps(compute)
        def generate(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[object]:
            with _explain():
                yield from compute(*args, **kwargs)

        return cast("Callable[Parameters, Result]", generate)

    @functools.wraps(compute)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with _explain():
            return compute(*args, **kwargs)

    return call


@contextmanager
def _explain() -> Iterator[None]:
    context = _find_context()
    with ExitStack() as stack:
        watch = stack.enter_context(watch_signals())
        if context is not None:
            tag_worker(context.instance, context.run)
            if watch is not None:
                stack.enter_context(watch.before_hard_end(lambda: _end_run(context)))
        _check_cancelled(watch)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the page gets its reason
            # DuckDB and Lance have errors of their own for a query that was interrupted.
            _check_cancelled(watch, error)
            _fail(error, context)
        _check_cancelled(watch)


def _fail(error: Exception, context: dg.OpExecutionContext | None) -> NoReturn:
    if isinstance(error, dg.Failure | dg.RetryRequested):
        raise error
    failure = dg.Failure(
        give_reason(error),
        metadata={MAY_PASS_KEY: may_pass(error), CODE_KEY: name_code(error)},
        allow_retries=False,
    )
    if not isinstance(error, LaionError):
        raise failure from error
    attempt = context.retry_number if context is not None else 0
    if error.is_passing and attempt < MAX_RETRIES:
        raise dg.RetryRequested(MAX_RETRIES, seconds_to_wait=PAUSE_S) from failure
    raise failure from None


def may_pass(error: Exception) -> bool:
    """Returns whether trying again at another time may help.

    What is wrong with the file of a shard stays so until there is another one. The system, a
    setting, a login, an encoder or another shard can change without it.
    """
    if not isinstance(error, ShardError) or isinstance(error, AccessError):
        return True
    causes = (error.__cause__, error.__context__)
    return error.is_passing or any(_is_of_the_system(cause) for cause in causes if cause)


def _is_of_the_system(error: BaseException) -> bool:
    has_number = isinstance(error, OSError) and error.errno is not None
    return has_number or find_system_reason(error) is not None


def _check_cancelled(watch: SignalWatch | None, cause: Exception | None = None) -> None:
    if watch is not None and watch.first is not None:
        raise dg.DagsterExecutionInterruptedError from cause


def _find_context() -> dg.OpExecutionContext | None:
    """Returns the context of the step; None for a function that is called without Dagster."""
    try:
        return dg.OpExecutionContext.get()
    except dg.DagsterInvariantViolationError:
        return None


def _end_run(context: dg.OpExecutionContext) -> None:
    """Notes that the run has ended, on behalf of a process that is about to be ended."""
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or run.is_finished:
        return
    if run.status == dg.DagsterRunStatus.CANCELING:
        context.instance.report_run_canceled(run)
    else:
        context.instance.report_run_failed(run, "stopped by a signal; materialize it again")
