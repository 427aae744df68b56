"""What servers say about who may use their pictures, and for what.

robots.txt as RFC 9309 has it; `X-Robots-Tag` as search engines read it, with the words that the
opt-out of machine learning has brought; the TDM Reservation Protocol of the W3C's community group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from protego import Protego

from laion_assets.stores.http_client import AGENT

# RFC 9309 asks for at least as much to be read.
MAX_ROBOTS_BYTES = 512_000
_REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "noml", "none"})
# They have a colon too, and are no name of a crawler.
_RULES_WITH_VALUES = frozenset(
    {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}
)
_AGENT = re.compile(r"\s*([\w.*-]+)\s*:\s*(.*)", re.DOTALL)


class Robots:
    """What a robots.txt allows."""

    def __init__(self, text: str | None) -> None:
        self._rules = Protego.parse(text) if text else None

    def allows(self, url: str) -> bool:
        """Returns whether we may ask for a URL; without a robots.txt everybody may."""
        return self._rules is None or self._rules.can_fetch(url, AGENT)


def find_refusal(robots_tags: Iterable[str], reservations: Iterable[str]) -> str | None:
    """Returns the header by which a server refuses its picture to us; None if it does not.

    Args:
        robots_tags: the values of all headers `X-Robots-Tag`.
        reservations: those of `tdm-reservation`.
    """
    if any(value.strip() == "1" for value in reservations):
        return "tdm-reservation: 1"
    for value in robots_tags:
        is_for_us = True
        for word in value.split(","):
            rule = word
            match = _AGENT.fullmatch(word)
            if match and match[1].lower() not in _RULES_WITH_VALUES:
                is_for_us = match[1].lower() in {AGENT, "*"}
                rule = match[2]
            if is_for_us and rule.strip().lower() in _REFUSALS:
                return f"X-Robots-Tag: {value.strip()[:100]}"
    return None
