"""Says in words what was searched for, and how it is sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.search.query import read_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laion_assets.web.params import SearchQuery

SORT_CHOICES = {
    "relevance": "relevance",
    "relevance_asc": "least relevant first",
    "aesthetic": "aesthetic score, highest first",
    "aesthetic_asc": "aesthetic score, lowest first",
    "similarity": "similarity to the caption, highest first",
    "similarity_asc": "similarity to the caption, lowest first",
    "watermark": "watermark probability, highest first",
    "watermark_asc": "watermark probability, lowest first",
    "unsafe": "unsafe probability, highest first",
    "unsafe_asc": "unsafe probability, lowest first",
    "width": "width, widest first",
    "width_asc": "width, narrowest first",
    "height": "height, highest first",
    "height_asc": "height, lowest first",
    "area": "area, largest first",
    "area_asc": "area, smallest first",
}


def introduce_query(text: str) -> str:
    """Returns what leads from the word `images` to a query."""
    query = read_query(text)
    is_plain = not (query.groups or query.excluded or query.sites or query.excluded_sites)
    return "whose caption has" if is_plain else "matching"


def describe_filters(query: SearchQuery) -> Iterator[str]:
    """Yields what an image has to be besides its caption, as it follows the word `images`."""
    if query.domain:
        yield f"from {query.domain}"
    if query.site:
        yield f"from the site {query.site}"
    if query.shard:
        yield f"in shard {query.shard}"
    if query.min_aesthetic is not None:
        yield f"with an aesthetic score of at least {query.min_aesthetic:g}"
    if query.min_width is not None:
        yield f"at least {query.min_width:,} pixels wide"
    if query.min_height is not None:
        yield f"at least {query.min_height:,} pixels high"


def hide_folders(place: str) -> str:
    """Returns where something came from, of a local path its name alone: folders are private."""
    return place if "://" in place else place.rsplit("/", 1)[-1]
