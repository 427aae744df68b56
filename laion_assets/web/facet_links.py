"""Counts the images that a search shows, and leads from each number to a search for these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.search.where import MAX_LENGTH
from laion_assets.web.responses import Facet, Facets, FacetValue

if TYPE_CHECKING:
    from laion_assets.search import facets
    from laion_assets.web.params import SearchQuery
    from laion_assets.web.visit import Visit


def link_facets(visit: Visit, query: SearchQuery) -> Facets | None:
    """Returns the images that a search shows by each filter; None where none is shown.

    Args:
        visit: what is asked for.
        query: what is searched for.
    """
    words = query.q if query.q.strip() else None
    counted = visit.release.search.count_facets(words, query.only)
    if counted is None or not counted.facets:
        return None
    linked = (_link(facet, query, visit.query.release) for facet in counted.facets)
    return Facets(counted=counted.counted, is_exact=counted.is_exact, facets=tuple(linked))


def _link(facet: facets.Facet, query: SearchQuery, release: str | None) -> Facet:
    # A blank text is no filter.
    values = [value for value in facet.values if value.value.strip()]
    blank_count = sum(v.image_count for v in facet.values) - sum(v.image_count for v in values)
    name, filters = facet.name, [value.value for value in values]
    if facet.is_own:
        name = "where"
        filters = [_combine(query.where, value.condition or "") for value in values]
    addresses = query.write_each("/search", name, filters, page=1, release=release)
    return Facet(
        name=facet.name,
        values=tuple(
            FacetValue(value=v.value, image_count=v.image_count, address=address)
            for v, filter_, address in zip(values, filters, addresses, strict=True)
            if not facet.is_own or len(filter_) <= MAX_LENGTH
        ),
        other_values=facet.other_values,
        other_count=facet.other_count,
        missing_count=facet.missing_count + blank_count,
        is_range=facet.is_range,
        is_own=facet.is_own,
    )


def _combine(where: str | None, condition: str) -> str:
    """Returns one condition of two."""
    return condition if where is None else f"({where}) AND {condition}"
