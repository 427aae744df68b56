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


class ShardSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The parquet shards, and the folder that keeps the verified files."""

    locations: list[str] = Field(description="Paths or globs of parquet files.")
    raw_dir: str = Field(description="Folder of the verified files, one a shard.")


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
