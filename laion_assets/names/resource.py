"""Where the lists of names come from, and the limits of a download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.names.sheet_download import DownloadRules


class SheetSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lists of names."""

    locations: dict[str, str] = Field(description="Where the list of each kind is, by kind.")
    removals: str | None = Field(
        default=None, description="Where the list of removals is; none if it is not set."
    )
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
        from laion_assets.names.sheet_download import DownloadRules

        return DownloadRules(
            google_origin=self.google_origin,
            google_hosts=tuple(self.google_hosts),
            max_bytes=self.max_bytes,
            timeout_s=self.timeout_s,
            deadline_s=self.deadline_s,
            attempts=self.attempts,
            backoff_s=self.backoff_s,
        )
