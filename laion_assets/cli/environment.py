"""What commands work with: the settings and Dagster's history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.settings import Settings


def load_settings() -> Settings:
    """Returns the settings of the project that the command runs in."""
    from laion_assets.runs.instance import load_environment

    return load_environment()


@contextmanager
def open_instance(*, is_reading: bool = False) -> Iterator[dg.DagsterInstance]:
    """Opens the history, after it was noted which runs have died."""
    from laion_assets.orchestration.dead_runs import end_dead_runs
    from laion_assets.runs.instance import name_history_errors, open_instance, open_instance_to_read

    with (open_instance_to_read if is_reading else open_instance)() as instance:
        with name_history_errors():
            end_dead_runs(instance)
        yield instance
