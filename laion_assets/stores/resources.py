"""What an asset asks for: the DuckDB file and the Lance database.

A resource holds configuration and opens things; what is done with them is in the stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.stores.database import Database
    from laion_assets.stores.lance_store import LanceStore


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The DuckDB database. Writers queue for it; readers wait for a writer to finish."""

    path: str = Field(description="The database file.")
    bucket: str = Field(
        default="",
        description="Where the tables are, if not in the file: s3://bucket/prefix.",
    )
    shares_counts: bool = Field(
        default=False, description="Whether free nodes of Ray count the names of some shards."
    )
    queue_wait_s: float = Field(
        default=3600, description="Seconds to queue behind other processes of this project."
    )
    stranger_wait_s: float = Field(
        default=120, description="Seconds to wait for a foreign program to close the file."
    )

    @property
    def database(self) -> Database:
        """The database, to read from or to write to."""
        from laion_assets.stores.database import Database

        waits = self.queue_wait_s, self.stranger_wait_s
        return Database.at(Path(self.path), self.bucket or None, *waits)


class LanceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The LanceDB database."""

    path: str = Field(description="Folder of the LanceDB database.")
    bucket: str = Field(
        default="", description="Where the database is, if not in the folder: s3://bucket/prefix."
    )
    is_shared: bool = Field(
        default=False, description="Whether free nodes of Ray build a share of the indices."
    )

    @property
    def store(self) -> LanceStore:
        """The tables, to read from or to write to."""
        from laion_assets.stores.lance_store import LanceStore

        return LanceStore(Path(self.path), bucket=self.bucket or None)
