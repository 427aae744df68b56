"""Finds the images that pages show, and pages through them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from laion_assets.search.search import SearchAnswer
from laion_assets.search.vectors import MAX_RANKED
from laion_assets.search.wanted import read_like
from laion_assets.web.citation import cite
from laion_assets.web.current_release import OpenRelease
from laion_assets.web.facet_links import link_facets
from laion_assets.web.params import PAGE_SIZE, SearchQuery
from laion_assets.web.responses import Image
from laion_assets.web.visit import NotFoundError, Row, Visit


def find_hits(release: OpenRelease, query: SearchQuery, offset: int, limit: int) -> SearchAnswer:
    """Searches, or browses where there are no words."""
    if query.is_ranking:
        # The order is that of the ranking, whatever the address says.
        return release.search.find(
            None if query.like else query.q,
            by=query.by,
            like=None if query.like is None else read_like(query.like),
            aesthetic_weight=query.aesthetic_weight,
            only=query.only,
            limit=limit,
            offset=offset,
            is_folded=query.fold,
        )
    if query.q.strip():
        return release.search.find(
            query.q,
            only=query.only,
            limit=limit,
            offset=offset,
            order=query.order,
            is_folded=query.fold,
        )
    return release.search.browse(
        query.only, limit=limit, offset=offset, order=query.order, is_folded=query.fold
    )


def export_hits(release: OpenRelease, query: SearchQuery) -> Iterator[Row]:
    """Yields all images that a search finds and shows."""
    words = query.q if query.q.strip() else None
    if query.is_ranking:
        hits: Iterable[Row] = find_hits(release, query, 0, MAX_RANKED).hits
    else:
        hits = release.search.export(words, query.only, query.order)
    for hit in hits:
        yield {**hit, "score": hit["_score"]}


def show_hits(visit: Visit, query: SearchQuery, path: str, page: int = 1) -> dict[str, Any]:
    """Searches; returns the fields of `Images`."""
    manifest = visit.release.manifest
    answer = find_hits(visit.release, query, (page - 1) * PAGE_SIZE, PAGE_SIZE)
    # How it is shown changes no number.
    address = visit.query.write(
        path, release=manifest.release, page=1, view="list", sort="relevance", fold=False
    )
    return {
        "release": manifest.release,
        "total": answer.total,
        "hidden": answer.hidden,
        "shown": answer.shown,
        "unscored": answer.unscored,
        "took_ms": round(answer.took_ms, 1),
        "page": page,
        "page_count": count_pages(_count_paged(answer), PAGE_SIZE, page),
        "by": query.by,
        "ranked": answer.ranked,
        "fold": query.fold,
        "different": answer.different,
        "images": tuple(Image.of(_link_repeats(hit, query)) for hit in answer.hits),
        "notes": answer.notes,
        # A ranking has no number that one could quote or divide.
        "facets": link_facets(visit, query) if answer.shown and answer.ranked is None else None,
        "cite": None
        if answer.ranked is not None
        else cite(manifest, query, answer, visit.public_url + address),
    }


def _count_paged(answer: SearchAnswer) -> int:
    """Returns how many images can be paged through, of a ranking as far as it was followed."""
    if answer.ranked is not None:
        return answer.ranked
    return answer.shown if answer.different is None else answer.different


def _link_repeats(hit: Row, query: SearchQuery) -> Row:
    """Returns a hit with the address of the search for those that it stands for, if there are."""
    if not hit.get("more"):
        return hit
    place = f"{hit['shard']}/{hit['row_index']}"
    if query.is_ranking:
        address = query.write("/search", q=None, by=None, like=place, fold=False, page=1)
        return {**hit, "more_address": address}
    return {**hit, "more_address": query.write("/search", alike=place, fold=False, page=1)}


def count_pages(total: int, size: int, page: int) -> int:
    """Returns how many pages of a size there are.

    Raises:
        NotFoundError: the page that is asked for is not among them.
    """
    page_count = math.ceil(total / size)
    if page > max(page_count, 1):
        raise NotFoundError(f"there are {page_count} pages, and no page {page}")
    return page_count
