"""What an asset asks for: where shards and sheets come from, the DuckDB file, the Lance database.

A resource holds configuration and opens things; what is done with them is in `lib`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.lib.database import Database
    from laion_assets.lib.sheet_download import DownloadRules
    from laion_assets.lib.sources.source import SourceRules
    from laion_assets.settings import Settings


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
        )

    @property
    def rules(self) -> SourceRules:
        """How to talk to servers."""
        from laion_assets.lib.sources.source import SourceRules

        return SourceRules(
            hub_endpoint=self.hub_endpoint,
            hub_token=self.hub_token,
            bucket_endpoint=self.bucket_endpoint,
            is_anonymous=self.is_anonymous,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            backoff_s=self.backoff_s,
        )


class SheetSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lists of names."""

    locations: dict[str, str] = Field(description="Where the list of each kind is, by kind.")
    google_origin: str = Field(
        default="https://docs.google.com", description="Where Google Sheets are."
    )
    google_hosts: list[str] = Field(
        default=["google.com", "googleusercontent.com"],
        description="Hosts, with all below them, that a Google link may be redirected to.",
    )
    timeout_s: float = Field(default=30, description="Seconds that a server may be silent.")
    deadline_s: float = Field(default=180, description="Seconds for all attempts together.")
    attempts: int = Field(default=4, description="How often to try what may pass.")
    backoff_s: float = Field(
        default=1, description="Seconds before the second attempt; it doubles with each."
    )
    max_bytes: int = Field(default=20_000_000, description="Size of a sheet at most.")

    @property
    def rules(self) -> DownloadRules:
        """The limits of a download."""
        from laion_assets.lib.sheet_download import DownloadRules

        return DownloadRules(
            google_origin=self.google_origin,
            google_hosts=tuple(self.google_hosts),
            max_bytes=self.max_bytes,
            timeout_s=self.timeout_s,
            deadline_s=self.deadline_s,
            attempts=self.attempts,
            backoff_s=self.backoff_s,
        )


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The DuckDB database. Writers queue for it; readers wait for a writer to finish."""

    path: str = Field(description="The database file.")
    queue_wait_s: float = Field(
        default=3600, description="Seconds to queue behind other processes of this project."
    )
    stranger_wait_s: float = Field(
        default=120, description="Seconds to wait for a foreign program to close the file."
    )

    @property
    def database(self) -> Database:
        """The database, to read from or to write to."""
        from laion_assets.lib.database import Database

        return Database(Path(self.path), self.queue_wait_s, self.stranger_wait_s)


class LanceStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The LanceDB database."""

    path: str = Field(description="Folder of the LanceDB database.")
