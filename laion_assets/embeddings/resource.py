"""Which vectors are kept."""

from __future__ import annotations

import dagster as dg
from pydantic import Field


class EmbeddingRules(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which vectors are kept, as `LAION_EMBEDDINGS` says."""

    mode: str = Field(default="given", description="`given` or `none`.")
