"""Where shards come from, and the folder that keeps the verified files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.raw_shards.sources.source import SourceRules
    from laion_assets.settings import Settings
    from laion_assets.stores.raw_store import RawStore


class ShardSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The parquet shards, and the folder that keeps the verified files."""

    locations: list[str] = Field(
        description="Paths, globs, and URLs with https://, hf:// or s3:// of parquet files."
    )
    raw_dir: str = Field(description="Folder of the verified files, one a shard.")
    hub_endpoint: str = Field(
        default="https://huggingface.co", description="Where the Hugging Face Hub is."
    )
    hub_token: str | None = Field(default=None, description="Sent to the Hub alone.")
    bucket_endpoint: str | None = Field(
        default=None, description="Where the buckets of s3:// are; Amazon's if not set."
    )
    is_anonymous: bool = Field(
        default=False, description="Whether buckets are asked without credentials."
    )
    timeout_s: float = Field(default=30, description="Seconds that a server may be silent.")
    attempts: int = Field(
        default=5, description="How often in a row to try without getting further."
    )
    backoff_s: float = Field(
        default=1, description="Seconds before the second attempt; it doubles with each."
    )

    is_bringing_archives: bool = Field(
        default=True, description="Whether <shard>.tar beside <shard>.parquet is fetched as well."
    )
    is_bringing_vectors: bool = Field(
        default=True, description="Whether the .npy file of a shard's vectors is fetched as well."
    )

    @classmethod
    def build(cls, settings: Settings) -> ShardSource:
        """Returns the resource for these settings; the token's value stays in the environment."""
        return cls(
            locations=list(settings.shards),
            raw_dir=str(settings.raw_dir),
            hub_endpoint=settings.hub_endpoint,
            hub_token=dg.EnvVar("HF_TOKEN") if settings.has_hub_token else None,
            bucket_endpoint=settings.bucket_endpoint,
            is_anonymous=settings.is_anonymous,
            is_bringing_archives=settings.pictures != "none",
            is_bringing_vectors=settings.embeddings != "none",
        )

    @classmethod
    def open(cls, settings: Settings) -> ShardSource:
        """Returns the resource for use outside a run, with the token's value.

        Dagster's own way to find such values opens an instance in memory, which takes longer than
        to look at a folder of shards.
        """
        source = cls.build(settings)
        token = dg.EnvVar("HF_TOKEN").get_value() if settings.has_hub_token else None
        return source.model_copy(update={"hub_token": token})

    @property
    def store(self) -> RawStore:
        """The verified files."""
        from laion_assets.stores.raw_store import RawStore

        return RawStore(Path(self.raw_dir))

    @property
    def rules(self) -> SourceRules:
        """How to talk to servers."""
        from laion_assets.raw_shards.sources.source import SourceRules

        return SourceRules(
            hub_endpoint=self.hub_endpoint,
            hub_token=self.hub_token,
            bucket_endpoint=self.bucket_endpoint,
            is_anonymous=self.is_anonymous,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            backoff_s=self.backoff_s,
            is_bringing_archives=self.is_bringing_archives,
            is_bringing_vectors=self.is_bringing_vectors,
        )
