"""Where releases are published, and what their publisher says of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from laion_assets.publishing.publication import PublishOrder
    from laion_assets.publishing.target import Target
    from laion_assets.settings import Settings


class PublishRules(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where releases are published. Each run reads the terms anew."""

    destination: str = Field(description="A folder, or hf://datasets/<org>/<name>.")
    folder: str = Field(description="Where published forms are made, on the disk of the tables.")
    curation: str = Field(description="The TOML file with the table [publish].")
    is_curation_required: bool = Field(default=False, description="Whether it has to be there.")
    hub_endpoint: str = Field(description="Where the Hugging Face Hub is.")

    @classmethod
    def for_releases(cls, settings: Settings) -> PublishRules | None:
        """Returns the resource for where each release is published; None for nowhere."""
        return cls.build(settings, settings.publish) if settings.publish else None

    @classmethod
    def build(cls, settings: Settings, destination: str) -> PublishRules:
        """Returns the resource for these settings and a destination."""
        return cls(
            destination=destination,
            folder=str(settings.publish_dir),
            curation=str(settings.curation_file),
            is_curation_required=settings.curation is not None,
            hub_endpoint=settings.hub_endpoint,
        )

    def name_place(self) -> str:
        """Returns the place as the page of the asset names it."""
        from laion_assets.errors import LaionError

        try:
            return self.open_target().name
        except LaionError:
            # Whoever publishes there says what is wrong.
            return self.destination

    def open_target(self) -> Target:
        """Returns the destination.

        Raises:
            LaionError: it cannot be one.
        """
        from laion_assets.publishing.destinations import open_target

        return open_target(self.destination, self.hub_endpoint)

    def order(self, release: str | None) -> PublishOrder:
        """Returns the order to publish a release, the newest if none is named.

        Raises:
            CurationError: something in the file of the terms cannot be used.
        """
        from laion_assets.curation.curation_file import read_curation
        from laion_assets.publishing.publication import PublishOrder

        path = Path(self.curation)
        terms = read_curation(path, is_required=self.is_curation_required).publish
        return PublishOrder(Path(self.folder), release, terms, path)
