"""Says whether a row is on the list of removals, by digests alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from laion_assets.removals.entries import (
    digest,
    digest_host,
    normalize_host,
    split_url,
    write_url,
)
from laion_assets.stores.removal_file import Removals


class MatchedHosts(NamedTuple):
    """Hosts that are on the list.

    Attributes:
        removed: each host that is on it as a whole, with the value of the entry.
        suspected: hosts of which a URL is on it.
    """

    removed: dict[str, str]
    suspected: list[str]


@dataclass(frozen=True)
class Matcher:
    """The entries of a list, to be asked for rows.

    Attributes:
        hosts: digests of hosts, those with all below them included.
        urls: digests of URLs.
        url_hosts: digests of the hosts of these.
        image_ids: ids of images, and the value of the entry by which each is on the list.
        pictures: MD5 and SHA-256 of pictures.
    """

    hosts: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    url_hosts: frozenset[str] = frozenset()
    image_ids: Mapping[int, str] = field(default_factory=dict)
    pictures: frozenset[str] = frozenset()

    @classmethod
    def of(cls, removals: Removals) -> Matcher:
        """Returns the entries of a list."""
        by_kind: dict[str, set[str]] = {}
        for entry in removals.entries:
            by_kind.setdefault(entry.kind, set()).add(entry.value)
        pictures = by_kind.get("picture", set())
        found = {id_: value for value, ids in removals.found.items() for id_ in ids}
        named = {int(value): value for value in by_kind.get("image_id", ())}
        return cls(
            hosts=frozenset(by_kind.get("host", set()) | by_kind.get("below", set())),
            urls=frozenset(by_kind.get("url", ())),
            url_hosts=frozenset(e.host for e in removals.entries if e.host is not None),
            image_ids={i: v for i, v in found.items() if v in pictures} | named,
            pictures=frozenset(pictures),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on the list."""
        return not (self.hosts or self.urls or self.image_ids or self.pictures)

    def match_host(self, host: str) -> str | None:
        """Returns the value of the entry that has a host; None if none has it."""
        if not self.hosts:
            return None
        normal = normalize_host(host)
        if (value := digest_host(normal)) in self.hosts:
            return value
        labels = normal.split(".")
        above = (digest_host(".".join(labels[n:]), is_below=True) for n in range(len(labels)))
        return next((value for value in above if value in self.hosts), None)

    def match_hosts(self, hosts: Iterable[str]) -> MatchedHosts:
        """Returns which of some hosts are on the list."""
        removed: dict[str, str] = {}
        suspected: list[str] = []
        if self.hosts or self.urls:
            for host in hosts:
                if (value := self.match_host(host)) is not None:
                    removed[host] = value
                elif self.urls and digest_host(normalize_host(host)) in self.url_hosts:
                    suspected.append(host)
        return MatchedHosts(removed, suspected)

    def match_url(self, url: str) -> str | None:
        """Returns the value of the entry that has a URL or its host; None if none has it."""
        parts = split_url(url)
        if parts is None:
            return None
        if self.urls and (value := digest(write_url(parts))) in self.urls:
            return value
        return self.match_host(parts.hostname or "")
