"""Tells the log how far a download has come."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("laion_assets.download")
STEPS = 10
# Between two lines for a file of unknown size.
STEP_BYTES = 100_000_000


class Progress:
    """Logs each tenth of a file, and counts what was transferred.

    Attributes:
        transferred_bytes: what came over the network, parts that came twice included.
    """

    def __init__(self, name: str) -> None:
        self.transferred_bytes = 0
        self._name = name
        self._done_bytes: int | None = None
        self._step = 0

    def __call__(self, done_bytes: int, total_bytes: int | None) -> None:
        """Takes how many bytes are there; fewer than before mean that it began anew."""
        # What is there at the first call came in an earlier run.
        before = done_bytes if self._done_bytes is None else self._done_bytes
        self.transferred_bytes += max(0, done_bytes - before)
        self._done_bytes = done_bytes
        step = done_bytes * STEPS // total_bytes if total_bytes else done_bytes // STEP_BYTES
        if step != self._step:
            self._step = step
            of_total = f" of {total_bytes / 1e6:,.0f}" if total_bytes else ""
            LOGGER.info("%s: %s%s MB", self._name, f"{done_bytes / 1e6:,.0f}", of_total)
