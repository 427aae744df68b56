"""Which pictures are kept."""

from __future__ import annotations

import dagster as dg
from pydantic import Field


class PictureRules(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which pictures are kept, as `LAION_PICTURES` says."""

    mode: str = Field(default="given", description="`given` or `none`.")
