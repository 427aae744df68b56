"""The decorator of every asset: who owns it, what it holds, why it failed and how long it took."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, ParamSpec, TypeVar, cast

import dagster as dg

from laion_assets.orchestration.failures import explain_failures

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Whom to ask about a table; put your own team here.
OWNERS = ["team:laion-assets"]
# For those who have to know where URLs, captions, pictures and vectors of people are kept.
Holding = Literal["counts", "names", "pictures", "urls-and-captions", "vectors"]


def laion_asset(
    *, holds: Holding, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Returns the decorator of an asset.

    A failure shows its reason alone, as `explain_failures` says, and every materialization has
    `duration_s`, its seconds. No asset has a retry policy: Dagster would apply it to a cancelled
    run as well, so `explain_failures` asks for retries itself.

    Args:
        holds: what kind of data it keeps, as a tag.
        **options: of `dagster.asset`.
    """

    def decorate(compute: Callable[..., Any]) -> dg.AssetsDefinition:
        measured = explain_failures(_measure(compute))
        asset: dg.AssetsDefinition = dg.asset(owners=OWNERS, tags={"holds": holds}, **options)(
            measured
        )
        return asset

    return decorate


def _measure(compute: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Adds its duration to each materialization that a function returns or yields."""
    if inspect.isgeneratorfunction(compute):

        @functools.wraps(compute)
        def generate(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[object]:
            started = time.monotonic()
            for result in compute(*args, **kwargs):
                yield _add_duration(result, started)

        return cast("Callable[Parameters, Result]", generate)

    @functools.wraps(compute)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        started = time.monotonic()
        return _add_duration(compute(*args, **kwargs), started)

    return call


def _add_duration(result: Result, started: float) -> Result:
    if not isinstance(result, dg.MaterializeResult):
        return result
    metadata = {**(result.metadata or {}), "duration_s": round(time.monotonic() - started, 3)}
    return cast("Result", result._replace(metadata=metadata))
