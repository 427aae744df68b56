"""Which pictures are kept, and how the others are fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from laion_assets.orchestration.run_config import set_defaults

if TYPE_CHECKING:
    from laion_assets.pictures.fetching.rules import FetchRules
    from laion_assets.settings import Settings
    from laion_assets.stores.picture_cache import PictureCache


class PictureRules(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which pictures are kept, as `LAION_PICTURES` says, and how the others are fetched."""

    mode: str = Field(default="given", description="`given`, `fetch` or `none`.")
    contact: str | None = Field(
        default=None, description="An e-mail address or a web page, told to every server."
    )
    cache_dir: str = Field(default="", description="Folder of what was fetched.")
    resize: str = Field(
        default="keep_ratio",
        description="`keep_ratio`: the shorter side has `size` pixels. `center_crop`: a square of "
        "the middle. `border`: a square with white borders. `original`: the bytes as they came.",
    )
    size: int = Field(default=256, ge=16, le=4096, description="Pixels; none is made larger.")
    quality: int = Field(default=90, ge=1, le=95, description="Of the JPEG.")
    connections: int = Field(default=256, ge=1, description="Requests at once, over all hosts.")
    connections_per_host: int = Field(default=2, ge=1, description="Requests at once to a host.")
    requests_per_s: float = Field(default=500, gt=0, description="Over all hosts.")
    time_s: float = Field(default=30, gt=0, description="For one request in all.")
    attempts: int = Field(default=3, ge=1, description="For what may pass, in one run.")
    max_bytes: int = Field(default=30_000_000, ge=1, description="Of a picture as it comes.")
    max_pixels: int = Field(default=100_000_000, ge=1, description="A picture with more is left.")
    max_punsafe: float = Field(
        default=0.5, ge=0, le=1, description="What is more probably unsafe is not fetched."
    )
    denied_hosts: list[str] = Field(
        default=[], description="Never asked; `example.com` stands for the hosts below it too."
    )
    allowed_networks: list[str] = Field(
        default=[], description="Addresses that are asked although they are not public."
    )
    is_shared: bool = Field(
        default=False, description="Whether free nodes of Ray fetch a share of a large shard."
    )
    share_urls: int = Field(default=2000, ge=1, description="URLs that are worth such a share.")

    @classmethod
    def build(cls, settings: Settings) -> PictureRules:
        """Returns the resource for these settings."""
        return set_defaults(
            cls,
            mode=settings.pictures,
            contact=settings.fetch_contact,
            cache_dir=str(settings.picture_cache_dir),
            is_shared=settings.ray is not None,
        )

    def open_cache(self) -> PictureCache:
        """Returns the cache of pictures of this size."""
        from pathlib import Path

        from laion_assets.stores.picture_cache import PictureCache

        return PictureCache(Path(self.cache_dir), self.fetch_rules.sizes.name)

    @property
    def fetch_rules(self) -> FetchRules:
        """How to talk to servers, and what becomes of the bytes.

        Raises:
            LaionError: nobody is named to write to, or a rule is not of the known form.
        """
        from ipaddress import ip_network

        from laion_assets.errors import LaionError
        from laion_assets.pictures.fetching.rules import FetchRules, Mode, SizeRules

        if not self.contact:
            raise LaionError(
                "nothing is fetched without LAION_FETCH_CONTACT; set it",
                code="fetch-without-contact",
            )
        try:
            mode = Mode(self.resize)
            networks = tuple(map(ip_network, self.allowed_networks))
        except ValueError as error:
            raise LaionError(
                f"the rules of `picture_rules` cannot be used: {error}",
                code="picture-rules-unusable",
            ) from error
        return FetchRules(
            contact=self.contact,
            sizes=SizeRules(mode, self.size, self.quality, self.max_pixels),
            connections=self.connections,
            connections_per_host=self.connections_per_host,
            requests_per_s=self.requests_per_s,
            time_s=self.time_s,
            attempts=self.attempts,
            max_bytes=self.max_bytes,
            denied_hosts=frozenset(host.lower() for host in self.denied_hosts),
            allowed_networks=networks,
            share_urls=self.share_urls if self.is_shared else None,
        )
