"""What a run says when it fails: one line with the reason, and whether trying again can help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

import dagster as dg

from laion_assets.lib.errors import LaionError, first_line

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# For a network that is down, or a database that somebody holds; both were waited for before. What
# is wrong with a file or a sheet does not get better by itself, and is not tried again.
RETRIES = dg.RetryPolicy(max_retries=1, delay=10)


def explain_failures(compute: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes the function of an asset fail with the reason alone, as the pages of Dagster show it.

    The errors of this project are for people, without the code that they came through; an error of
    DuckDB is cut to its first line, and keeps the code. Anything else is a bug, and stays whole.
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
    import duckdb

    try:
        yield
    except LaionError as error:
        raise dg.Failure(str(error), allow_retries=error.is_passing) from None
    except duckdb.Error as error:
        raise dg.Failure(f"DuckDB: {first_line(error)}", allow_retries=False) from error
