"""The resource of the shards' sources."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.defs_state.base import DefsStateStorage

from laion_assets.runs.backfill import discover_shards

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from laion_assets.settings import Settings


def test_looking_for_shards_leaves_dagsters_instance_in_its_place(
    settings: Settings, tmp_path: Path
) -> None:
    """Else Dagster asks an instance that is gone, as "undefined DagsterInstance weakref" says."""
    frames: list[FrameType] = []

    def keep(frame: FrameType, _event: str, _argument: object) -> None:
        # So does an exception that outlives the call: its frames hold what they had opened.
        if frame.f_code is discover_shards.__code__:
            frames.append(frame)

    history = tmp_path / "history"
    history.mkdir()
    with dg.DagsterInstance.local_temp(str(history)) as instance:
        sys.setprofile(keep)
        try:
            discover_shards(settings, instance)
        finally:
            sys.setprofile(None)

        assert frames
        assert DefsStateStorage.get() is instance.defs_state_storage
