"""Refuses addresses that are nobody's business: of this machine, its network, its cloud.

The address is judged that the connection then goes to, so a name that resolves to another address
the second time gains nothing (DNS rebinding).
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult

from laion_assets.pictures.fetching.rules import FetchError, FetchRules, Reason

_REFUSED = (
    # Azure answers its machines there, at an address that looks public.
    ip_network("168.63.129.16/32"),
    # Python before 3.11.10 takes these special ones (RFC 6890, RFC 8215) for public.
    ip_network("192.0.0.0/24"),
    ip_network("64:ff9b:1::/48"),
)
# IPv6 addresses that stand for an IPv4 address (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


def check_address(host: str, address: str, rules: FetchRules) -> None:
    """Refuses an address that no stranger's picture is at.

    Args:
        host: whose address it is.
        address: an IP address.
        rules: may allow networks of one's own.

    Raises:
        FetchError: it is loopback, private, link-local, multicast, reserved, or a cloud's own.
    """
    ip = ip_address(address.partition("%")[0])
    if any(ip in network for network in rules.allowed_networks):
        return
    inner = _unwrap(ip)
    is_public = inner.is_global and not inner.is_multicast and not inner.is_reserved
    if not is_public or any(inner in network for network in _REFUSED):
        raise FetchError(Reason.PRIVATE_ADDRESS, f"{host} is at {address}, which is not public")


def check_host(host: str, rules: FetchRules) -> None:
    """Refuses a host that is never to be asked, before its name is resolved.

    Raises:
        FetchError: it is on the list of denied hosts, or is an address that is not public.
    """
    labels = host.rstrip(".").lower().split(".")
    if any(".".join(labels[i:]) in rules.denied_hosts for i in range(len(labels))):
        raise FetchError(Reason.DENIED_HOST, f"{host} is never to be asked")
    # aiohttp asks no resolver for what has a colon or only digits and dots. The system reads some
    # of these as addresses that the standard library does not: 2130706433 and 0177.1 are 127.0.0.1.
    if ":" in host or host.replace(".", "").isdigit():
        try:
            check_address(host, host, rules)
        except ValueError:
            raise FetchError(Reason.BAD_URL, f"{host} is neither a name nor an address") from None


class PublicResolver(AbstractResolver):
    """A resolver that only tells public addresses."""

    def __init__(self, resolver: AbstractResolver, rules: FetchRules) -> None:
        self._resolver = resolver
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the addresses of a host; one that has any other address is refused.

        Raises:
            FetchError: an address is not public.
            OSError: there is none.
        """
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            check_address(host, each["host"], self._rules)
        return found

    async def close(self) -> None:
        """Closes the resolver that is asked."""
        await self._resolver.close()


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.ipv4_mapped or ip.sixtofour or teredo or ip
