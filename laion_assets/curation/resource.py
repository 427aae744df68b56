"""What a user declares, as the file says at the time of asking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.curation.curation_file import Curation
    from laion_assets.settings import Settings


class CurationFile(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The file of declared columns. Each run reads it anew, so a change needs no restart."""

    path: str = Field(description="The TOML file.")
    is_required: bool = Field(default=False, description="Whether it has to be there.")

    @classmethod
    def build(cls, settings: Settings) -> CurationFile:
        """Returns the resource for these settings."""
        return cls(path=str(settings.curation_file), is_required=settings.curation is not None)

    def read(self) -> Curation:
        """Returns what is declared now.

        Raises:
            CurationError: something in the file cannot be used.
        """
        from laion_assets.curation.curation_file import read_curation

        return read_curation(Path(self.path), is_required=self.is_required)
