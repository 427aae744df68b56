"""The pages of a search and of one image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from laion_assets.search.near_misses import find_near_misses
from laion_assets.search.safety import is_unsafe
from laion_assets.search.sites import read_place
from laion_assets.web.found import export_hits, show_hits
from laion_assets.web.params import LookupQuery, PictureQuery, SearchQuery
from laion_assets.web.responses import Hint, Image, ImagePage, SearchPage
from laion_assets.web.visit import ROW_INDEX, NotFoundError, Row, Visit
from laion_assets.web.wording import hide_folders

# A pasted address of an image.
ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
FIRST_FIELDS = ("url", "domain", "registered_domain", "caption", "width", "height")


def build_search(visit: Visit) -> SearchPage:
    """Searches; without a word or a filter there is nothing to look for."""
    query = visit.ask(SearchQuery)
    if not query.is_asking:
        return SearchPage(release=visit.release.manifest.release)
    shown = show_hits(visit, query, "/search", query.page)
    # Few images repeat one, whatever the words are.
    misses = (
        find_near_misses(visit.release.search, query.q, query.only, shown["total"])
        if query.alike is None and not query.is_ranking
        else ()
    )
    hints = [
        Hint(
            query=miss.query,
            image_count=miss.image_count,
            address=query.write("/search", q=miss.query, page=1),
        )
        for miss in misses
    ]
    if not shown["total"]:
        hints += _find_elsewhere(visit, query)
    return SearchPage(**shown, q=query.q, sort=query.sort, hints=tuple(hints))


def _find_elsewhere(visit: Visit, query: SearchQuery) -> Iterator[Hint]:
    """Yields where an address is found that was searched for as words, and what is below a site."""
    url, place = query.q.strip(), read_place(query.site or "")
    if ADDRESS.fullmatch(url) and (named := read_place(url)):
        hosts = (named.host, f"{named.host}.")
        if count := visit.release.search.find_url(url, hosts, query.only).total:
            address = LookupQuery(url=url, release=query.release).write("/lookup")
            yield Hint(query=url, image_count=count, address=address)
    # All images are read for what is below a suffix, so not where there is nothing.
    if place and not place.is_wild and visit.release.domains.has_below(place.host):
        site = f"*.{place.host}"
        only, search = replace(query.only, site=site), visit.release.search
        if count := search.count(query.q, only) if query.q.strip() else search.browse(only).total:
            address = query.write("/search", site=site, page=1)
            yield Hint(query=site, image_count=count, address=address)


def list_found(visit: Visit) -> Iterator[Row]:
    """Yields all images that a search finds and shows."""
    query = visit.ask(SearchQuery)
    return export_hits(visit.release, query) if query.is_asking else iter(())


def build_image(visit: Visit) -> ImagePage:
    """Shows one image with all its fields and the file that it came from."""
    shard, row_index = visit.path["shard"], visit.path["row_index"]
    sources = {s.shard: s for s in visit.release.manifest.shards}
    is_possible = shard in sources and ROW_INDEX.fullmatch(row_index)
    found = visit.release.search.read_image(shard, int(row_index)) if is_possible else None
    if found is None:
        raise NotFoundError(f"release {visit.tag} has no row {row_index} of shard {shard}")
    source = sources[shard]
    threshold = visit.ask(PictureQuery).max_punsafe
    is_hidden = is_unsafe(found["punsafe"], found["nsfw"], threshold)
    alike = (
        None if is_hidden else visit.release.search.find_alike(found, visit.ask(PictureQuery).only)
    )
    return ImagePage(
        release=visit.tag,
        shard=shard,
        row_index=found["row_index"],
        punsafe=found["punsafe"],
        nsfw=found["nsfw"],
        is_hidden=is_hidden,
        has_vector=visit.release.search.has_vector(shard, int(row_index)),
        image=None if is_hidden else Image.of(found),
        fields={} if is_hidden else _order_fields(found),
        source=hide_folders(source.source),
        source_sha256=source.sha256,
        is_sample=source.is_sample,
        alike=tuple(map(Image.of, alike.hits)) if alike else (),
        alike_count=alike.shown if alike else 0,
    )


def _order_fields(found: Mapping[str, object]) -> dict[str, object]:
    """Returns the columns: where the image is from first, what is not known last."""
    names = [*FIRST_FIELDS, *(name for name in found if name not in FIRST_FIELDS)]
    # Releases of earlier versions lack some.
    names = [name for name in names if name in found and name != "has_picture"]
    names.sort(key=lambda name: found[name] is None)
    return {name: keep_digits(name, found[name]) for name in names}


def keep_digits(column: str, value: object) -> object:
    """Returns a number of 64 bits as a text: JavaScript would round it."""
    return str(value) if column in {"image_id", "hash", "phash"} and value is not None else value
