"""Names the card of a page to programs, as oEmbed 1.0 wants it (https://oembed.com)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, Field
from starlette.routing import compile_path

from laion_assets.web.chrome import CARD_HEIGHT, CARD_PREFIX, CARD_WIDTH
from laion_assets.web.pages import PAGES
from laion_assets.web.params import HTML, Query
from laion_assets.web.visit import NotFoundError, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from laion_assets.web.chrome import Chrome
    from laion_assets.web.responses import Citation


class CardQuery(BaseModel):
    """What oEmbed asks; other parameters are other programs' own."""

    url: str = Field(max_length=10_000)
    format: str = "json"
    maxwidth: int = Field(default=CARD_WIDTH, ge=1)
    maxheight: int = Field(default=CARD_HEIGHT, ge=1)


def find_page(address: str, public_url: str) -> tuple[Page, Mapping[str, str], Query]:
    """Returns the page at an address of ours, the named parts of its path, and its parameters.

    Raises:
        NotFoundError: it is none of ours, or has no number to show.
        LaionError: it has a parameter that the page does not know.
        ValidationError: a parameter has a value that it cannot have.
    """
    if address.startswith(f"{public_url}/"):
        parts = urlsplit(address.removeprefix(public_url))
        path = unquote(parts.path.removeprefix(CARD_PREFIX)).removesuffix(HTML)
        for page in PAGES:
            found = compile_path(page.path)[0].match(path) if page.has_card else None
            if found:
                given = parse_qsl(parts.query, keep_blank_values=True)
                return page, found.groupdict(), page.query.read(given)
    raise NotFoundError(f"there is no card of {address[:200]!r}; name a search, a site or a name")


def describe_card(query: CardQuery, chrome: Chrome, citation: Citation) -> bytes:
    """Returns the answer: a frame, and what is in it."""
    width, height = min(query.maxwidth, CARD_WIDTH), min(query.maxheight, CARD_HEIGHT)
    card = {
        "version": "1.0",
        "type": "rich",
        "title": citation.title,
        "provider_name": "LAION captions",
        "provider_url": f"{chrome.public_url}/",
        "html": chrome.frame(citation.release, width, height),
        "width": width,
        "height": height,
    }
    return json.dumps(card).encode()
