"""Says in words what was searched for, and how it is sorted."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from laion_assets.search.filter import SCORES, SIZES, Bounds
from laion_assets.search.query import read_query
from laion_assets.search.safety import PUNSAFE_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laion_assets.web.params import FilterQuery

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

# The filters by which images are counted, as people read them.
FACETS = {
    "site": "site",
    "domain": "host",
    "shard": "shard",
    "license": "license",
    "nsfw": "label of the source",
    "language": "language",
    "size": "size",
    "aesthetic": "aesthetic score",
    "similarity": "similarity to the caption",
    "punsafe": "unsafe probability",
    "pwatermark": "watermark probability",
}
# What a filter asks for, as it follows the word `images`.
CONDITIONS = {
    "domain": "from {}",
    "site": "from the site {}",
    "shard": "in shard {}",
    "min_aesthetic": "with an aesthetic score of at least {:g}",
    "min_width": "at least {:,} pixels wide",
    "min_height": "at least {:,} pixels high",
    "license": "with the license {}",
    "nsfw": "labelled {}",
    "language": "in the language {}",
    "size": "of the size {}",
    **{score: f"with {FACETS[score]} {{}}" for score in SCORES},
    "where": "where {}",
    "alike": "with the caption or URL of {}",
}


def introduce_query(text: str) -> str:
    """Returns what leads from the word `images` to a query."""
    query = read_query(text)
    is_plain = not (query.groups or query.excluded or query.sites or query.excluded_sites)
    return "whose caption has" if is_plain else "matching"


def describe_filters(query: FilterQuery) -> Iterator[str]:
    """Yields what an image has to be besides its caption, as it follows the word `images`."""
    for field, wording in CONDITIONS.items():
        value = getattr(query, field)
        if value is not None:
            yield wording.format(name_value(field, value) if field in FACETS else value)


def describe_hidden(query: FilterQuery) -> str:
    """Returns why images are hidden, as it follows their number."""
    usual = query.max_punsafe == PUNSAFE_THRESHOLD
    return "hidden as unsafe" + (
        "" if usual else f", with a probability above {query.max_punsafe:g}"
    )


@lru_cache(1024)
def name_value(facet: str, value: str) -> str:
    """Returns a value of a facet as people read it."""
    if facet == "size":
        return f"{value} ({_name_range(*SIZES[value])} pixels)"
    if facet in SCORES:
        bounds = Bounds.read(value)
        return _name_range(bounds.at_least, bounds.below)
    return value


def name_bounds(text: str) -> str:
    """Returns a range of a declared column as people read it."""
    first, dots, last = text.partition("..")
    if not dots:
        return text
    if not first:
        return f"below {last}"
    return f"{first} to {last}" if last else f"from {first}"


def _name_range(at_least: float | None, below: float | None) -> str:
    if at_least is None:
        return f"below {below:g}"
    return f"from {at_least:g}" if below is None else f"{at_least:g} to {below:g}"


def hide_folders(place: str) -> str:
    """Returns where something came from, of a local path its name alone: folders are private."""
    return place if "://" in place else place.rsplit("/", 1)[-1]
