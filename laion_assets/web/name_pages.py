"""The pages of names."""

from __future__ import annotations

from collections.abc import Iterator

from laion_assets.web.found import count_pages, export_hits, show_hits
from laion_assets.web.params import (
    ROWS_PAGE_SIZE,
    ListQuery,
    PictureQuery,
    SearchQuery,
    write_path,
)
from laion_assets.web.responses import Count, NamePage, NamesPage
from laion_assets.web.visit import NotFoundError, Row, Visit


def build_names(visit: Visit) -> NamesPage:
    """Lists the names of a kind."""
    kind, query = visit.path["kind"], visit.ask(ListQuery)
    names = _select_names(visit)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    every = visit.release.names[kind]
    return NamesPage(
        release=visit.tag,
        kind=kind,
        total=len(names),
        page=query.page,
        page_count=count_pages(len(names), ROWS_PAGE_SIZE, query.page),
        largest=every[0][1] if every else 0,
        without_match=sum(not count for _, count in every),
        counts=tuple(
            Count(name=name, image_count=count)
            for name, count in names[start : start + ROWS_PAGE_SIZE]
        ),
    )


def list_names(visit: Visit) -> Iterator[Row]:
    """Yields all names of a kind that were asked for."""
    kind = visit.path["kind"]
    for name, count in _select_names(visit):
        yield {"kind": kind, "name": name, "image_count": count}


def build_name(visit: Visit) -> NamePage:
    """Shows a name and the images that match it best."""
    kind, name, count = _find_name(visit)
    shown = show_hits(visit, _search_name(visit), write_path("names", kind, name))
    return NamePage(**shown, kind=kind, name=name, image_count=count)


def list_name(visit: Visit) -> Iterator[Row]:
    """Yields the images that match a name."""
    _find_name(visit)
    return export_hits(visit.release, _search_name(visit))


def quote_name(name: str) -> str:
    """Returns the query for a name as a phrase; quotes in it are signs between its words."""
    return '"' + name.replace('"', " ") + '"'


def _select_names(visit: Visit) -> list[tuple[str, int]]:
    kind, query = visit.path["kind"], visit.ask(ListQuery)
    if kind not in visit.release.names:
        raise NotFoundError(f"release {visit.tag} has no kind of names {kind!r}")
    wanted = query.containing.casefold()
    names = [row for row in visit.release.names[kind] if wanted in row[0].casefold()]
    return sorted(names, key=lambda row: row[0].casefold()) if query.sort == "name" else names


def _find_name(visit: Visit) -> tuple[str, str, int]:
    """Returns the kind and the name of the path, and its images."""
    kind, name = visit.path["kind"], visit.path["name"]
    count = visit.release.counts_by_name.get((kind, name))
    if count is None:
        raise NotFoundError(f"release {visit.tag} has no name {name!r} in {kind}")
    return kind, name, count


def _search_name(visit: Visit) -> SearchQuery:
    # A name may be longer than a query that somebody types.
    return SearchQuery.model_construct(
        q=quote_name(visit.path["name"]), max_punsafe=visit.ask(PictureQuery).max_punsafe
    )
