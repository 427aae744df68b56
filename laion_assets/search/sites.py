"""Reads what people write for a site: a pasted address, a host, `*.host`, with a port or a dot."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from laion_assets.images.registered_domain import registered_domain


@dataclass(frozen=True)
class Place:
    """A host that somebody asked for, or all hosts below it.

    Attributes:
        host: in lower case, without scheme, user, port, path and dots at its end.
        is_wild: whether `*.` stood before it.
    """

    host: str
    is_wild: bool = False

    @property
    def site(self) -> str:
        """The registered domain of the host."""
        return registered_domain(self.host)

    @property
    def is_suffix(self) -> bool:
        """Whether the hosts below it are sites of their own, as below `co.uk`."""
        return registered_domain(f"a.{self.host}") == f"a.{self.host}"


def read_place(text: str) -> Place | None:
    """Returns the place that a text names; None if there is no host in it."""
    written = text.strip().lower()
    if _is_ipv6(written):
        return Place(written)
    try:
        host = urlsplit(written if "//" in written else f"//{written}").hostname or ""
    except ValueError:
        return None
    bare = host.removeprefix("*.")
    # Some rows have hosts of dots alone.
    bare = bare.rstrip(".") or bare
    return Place(bare, bare != host and host.startswith("*.")) if bare else None


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False
