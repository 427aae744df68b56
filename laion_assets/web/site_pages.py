"""The pages of domains, of sites, and of an address that is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from laion_assets.errors import LaionError
from laion_assets.search.sites import read_place
from laion_assets.web.current_release import CountOrder, iterate
from laion_assets.web.found import count_pages, export_hits, show_hits
from laion_assets.web.params import (
    ROWS_PAGE_SIZE,
    DomainsQuery,
    ListQuery,
    LookupQuery,
    PictureQuery,
    SearchQuery,
    write_path,
)
from laion_assets.web.responses import (
    Count,
    DomainPage,
    DomainsPage,
    Image,
    LookupPage,
    SiteCount,
    SitePage,
    SitesPage,
)
from laion_assets.web.visit import NotFoundError, Row, Visit

if TYPE_CHECKING:
    import pyarrow as pa


def build_domains(visit: Visit) -> DomainsPage:
    """Lists the domains, or those of a site."""
    query = visit.ask(DomainsQuery)
    table = _select_domains(visit, query.containing, query.sort)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    page_count = count_pages(table.num_rows, ROWS_PAGE_SIZE, query.page)
    largest = _select_domains(visit).slice(0, 1).to_pylist()
    return DomainsPage(
        release=visit.tag,
        total=table.num_rows,
        page=query.page,
        page_count=page_count,
        largest=largest[0]["image_count"] if largest else 0,
        counts=tuple(map(_count_domain, table.slice(start, ROWS_PAGE_SIZE).to_pylist())),
    )


def list_domains(visit: Visit) -> Iterator[Row]:
    """Yields all domains that were asked for."""
    query = visit.ask(DomainsQuery)
    return iterate(_select_domains(visit, query.containing, query.sort))


def build_domain(visit: Visit) -> DomainPage:
    """Shows a domain and its first images."""
    domain, image_count, rank = _find_domain(visit)
    shown = show_hits(visit, _search_domain(visit), write_path("domains", domain))
    return DomainPage(**shown, domain=domain, image_count=image_count, rank=rank)


def list_domain(visit: Visit) -> Iterator[Row]:
    """Yields the images of a domain."""
    _find_domain(visit)
    return export_hits(visit.release, _search_domain(visit))


def build_sites(visit: Visit) -> SitesPage:
    """Lists the registered domains."""
    query = visit.ask(ListQuery)
    table = visit.release.sites.select(query.containing, query.sort)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    largest = visit.release.sites.select().slice(0, 1).to_pylist()
    return SitesPage(
        release=visit.tag,
        total=table.num_rows,
        page=query.page,
        page_count=count_pages(table.num_rows, ROWS_PAGE_SIZE, query.page),
        largest=largest[0]["image_count"] if largest else 0,
        counts=tuple(
            SiteCount(name=row.pop("registered_domain"), **row)
            for row in table.slice(start, ROWS_PAGE_SIZE).to_pylist()
        ),
    )


def list_sites(visit: Visit) -> Iterator[Row]:
    """Yields all registered domains that were asked for."""
    query = visit.ask(ListQuery)
    return iterate(visit.release.sites.select(query.containing, query.sort))


def build_site(visit: Visit) -> SitePage:
    """Shows a registered domain with its hosts, also for one of its hosts or an address of it."""
    site, image_count, rank = _find_site(visit)
    hosts = visit.release.sites.select_hosts(site)
    return SitePage(
        **show_hits(visit, _search_site(visit, site), write_path("sites", site)),
        site=site,
        image_count=image_count,
        host_count=hosts.num_rows,
        rank=rank,
        hosts=tuple(map(_count_domain, hosts.slice(0, ROWS_PAGE_SIZE).to_pylist())),
    )


def list_site(visit: Visit) -> Iterator[Row]:
    """Yields the images of a site."""
    return export_hits(visit.release, _search_site(visit, _find_site(visit)[0]))


def build_lookup(visit: Visit) -> LookupPage:
    """Looks for the images with an address, then for others of its host and its site."""
    query, release = visit.ask(LookupQuery), visit.release
    place = read_place(query.url)
    if place is None:
        return LookupPage(release=visit.tag, url=query.url)
    written = (place.host, f"{place.host}.")
    answer = release.search.find_url(query.url.strip(), written, query.only)
    counts = [found[0] for host in written if (found := release.domains.find(host)) is not None]
    site = release.sites.find(place.site)
    return LookupPage(
        release=visit.tag,
        url=query.url,
        images=tuple(map(Image.of, answer.hits)),
        hidden=answer.hidden,
        unscored=answer.unscored,
        host=place.host,
        host_image_count=sum(counts),
        site=place.site,
        site_image_count=site[0] if site is not None else 0,
    )


def _say_no_image(visit: Visit, domain: str) -> str:
    """Returns that a host has no image, and where its site has some."""
    place = read_place(domain)
    found = visit.release.sites.find(place.site) if place else None
    if place is None or found is None:
        return f"release {visit.tag} has no image from {domain}"
    return (
        f"release {visit.tag} has no image from the host {domain}; its site has "
        f"{found[0]:,}: {write_path('sites', place.site)}"
    )


def _find_domain(visit: Visit) -> tuple[str, int, int]:
    """Returns the domain of the path, its images and its rank."""
    domain = visit.path["domain"].lower()
    found = visit.release.domains.find(domain)
    if found is None:
        raise NotFoundError(_say_no_image(visit, domain))
    return domain, *found


def _search_domain(visit: Visit) -> SearchQuery:
    domain = visit.path["domain"].lower()
    return SearchQuery(domain=domain, max_punsafe=visit.ask(PictureQuery).max_punsafe)


def _select_domains(visit: Visit, containing: str = "", order: CountOrder = "count") -> pa.Table:
    """Returns the domains of the site that was asked for, of all without one."""
    site = visit.ask(DomainsQuery).site
    if site is None:
        return visit.release.domains.select(containing, order)
    place = read_place(site)
    if place is None:
        raise LaionError(
            f"site: there is no host in {site!r}; write example.com or an address",
            code="page-site-invalid",
        )
    return visit.release.sites.select_hosts(place.site, containing, order)


def _find_site(visit: Visit) -> tuple[str, int, int]:
    """Returns the site of the path, its images and its rank."""
    place = read_place(visit.path["site"])
    found = visit.release.sites.find(place.site) if place else None
    if place is None or found is None:
        where = ""
        if place and visit.release.domains.has_below(place.host):
            asked = SearchQuery(site=f"*.{place.host}")
            if below := visit.release.search.browse(asked.only, limit=0).total:
                where = f"; hosts below it have {below:,}: {asked.write('/search')}"
        raise NotFoundError(f"release {visit.tag} has no image from {visit.path['site']}{where}")
    return place.site, *found


def _search_site(visit: Visit, site: str) -> SearchQuery:
    return SearchQuery(site=site, max_punsafe=visit.ask(PictureQuery).max_punsafe)


def _count_domain(row: Mapping[str, Any]) -> Count:
    return Count(name=row["domain"], image_count=row["image_count"])
