"""Which vectors are kept, and how the others are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from laion_assets.orchestration.run_config import set_defaults

if TYPE_CHECKING:
    from laion_assets.embeddings.compute import Computing, Report
    from laion_assets.embeddings.encoder import Encoder
    from laion_assets.settings import Settings


class EmbeddingRules(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which vectors are kept, as `LAION_EMBEDDINGS` says, and how the others are computed."""

    mode: str = Field(default="given", description="`given`, `compute` or `none`.")
    encoder: str | None = Field(default=None, description="As `LAION_ENCODER` says.")
    cache_dir: str = Field(default="", description="Folder of the vectors that were computed.")
    hub_endpoint: str | None = Field(default=None, description="Where the Hugging Face Hub is.")
    chunk_rows: int = Field(
        default=2000, ge=1, description="Pictures after which the vectors are kept for good."
    )
    is_shared: bool = Field(
        default=False, description="Whether free nodes of Ray compute a share of a large shard."
    )

    @classmethod
    def build(cls, settings: Settings) -> EmbeddingRules:
        """Returns the resource for these settings."""
        return set_defaults(
            cls,
            mode=settings.embeddings,
            encoder=settings.encoder,
            cache_dir=str(settings.picture_cache_dir),
            hub_endpoint=settings.hub_endpoint,
            is_shared=settings.ray is not None,
        )

    def find_encoder(self, wanted: str | None) -> Encoder | None:
        """Opens the encoder that is set; without one that of the demo, if it made the vectors.

        Args:
            wanted: the digest of the encoder of the vectors; None if nobody knows it.
        """
        from laion_assets.embeddings.encoder import find_encoder

        return find_encoder(self.encoder, self.hub_endpoint, wanted)

    def start_computing(self, report: Report) -> Computing | None:
        """Returns how to compute vectors; None if only given ones are kept.

        Args:
            report: is told now and then how far it is.
        """
        from functools import partial
        from pathlib import Path

        from laion_assets.embeddings.compute import Computing
        from laion_assets.embeddings.encoder import open_encoder

        if self.mode != "compute" or self.encoder is None:
            return None
        return Computing(
            partial(open_encoder, self.encoder, self.hub_endpoint),
            Path(self.cache_dir),
            self.chunk_rows,
            report,
            self.is_shared,
        )
