"""Finds the domain that somebody registered, for a host: `pinimg.com` for `i.pinimg.com`.

Source: the public suffix list (publicsuffix.org), as the package `publicsuffixlist` brings it. Its
private suffixes count, too: everybody's blog at `blogspot.com` is a site of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def registered_domain(host: str) -> str:
    """Returns the registered domain of a host in lower case, without dots at its end.

    The host itself where there is none: an IP address, one label, a public suffix, or a suffix that
    the list does not have.
    """
    bare = host.rstrip(".") or host
    return _load_list().privatesuffix(bare) or bare


def map_hosts(hosts: Iterable[str | None]) -> list[str | None]:
    """Returns the registered domain of each host, None for none."""
    return [host and registered_domain(host) for host in hosts]


@cache
def _load_list() -> PublicSuffixList:
    """Reads the list once a process, when it is first needed, and never from the network."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)
