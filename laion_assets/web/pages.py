"""The pages: what each is asked for, what it answers, and how."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from starlette.convertors import Convertor, register_url_convertor

from laion_assets.errors import LaionError
from laion_assets.releases.manifest import Manifest
from laion_assets.search.row_values import HIT_COLUMNS
from laion_assets.search.safety import PUNSAFE_THRESHOLD, is_unsafe
from laion_assets.search.search import SearchAnswer
from laion_assets.search.sites import read_place
from laion_assets.web.citation import cite
from laion_assets.web.current_release import CountOrder, OpenRelease, Shelf, iterate
from laion_assets.web.params import (
    PAGE_SIZE,
    ROWS_PAGE_SIZE,
    DomainsQuery,
    ListQuery,
    LookupQuery,
    NoQuery,
    PictureQuery,
    Query,
    SearchQuery,
    write_path,
)
from laion_assets.web.responses import (
    About,
    Answer,
    Count,
    DomainPage,
    DomainsPage,
    Home,
    Image,
    ImagePage,
    LookupPage,
    NamePage,
    NamesPage,
    ReleaseLine,
    ReleasePage,
    ReleasesPage,
    SearchPage,
    SiteCount,
    SitePage,
    SitesPage,
)

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = (*HIT_COLUMNS, "score")
TOP_DOMAINS = 15
TOP_NAMES = 10
# Shards of more rows than this are no parquet files that anybody has.
ROW_INDEX = re.compile("[0-9]{1,15}")

Row: TypeAlias = Mapping[str, object]
AnyQuery = TypeVar("AnyQuery", bound=Query)


class TextConvertor(Convertor[str]):
    """The rest of a path with all that is in it; Starlette's `path` ends at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Returns the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Returns the text as it is."""
        return value


register_url_convertor("text", TextConvertor())


class NotFoundError(Exception):
    """There is nothing at this address; the message says what is missing."""


@dataclass(frozen=True)
class Visit:
    """What a page knows when it is asked.

    Attributes:
        shelf: all releases.
        release: the one that is shown.
        path: the parts of the path that name something.
        query: the checked parameters.
        public_url: what comes before the paths of pages in an address.
    """

    shelf: Shelf
    release: OpenRelease
    path: Mapping[str, str]
    query: Query
    public_url: str = ""

    def ask(self, model: type[AnyQuery]) -> AnyQuery:
        """Returns the parameters as the model that they were checked with."""
        assert isinstance(self.query, model)
        return self.query


@dataclass(frozen=True)
class Page:
    """A page in all its forms.

    Attributes:
        name: of its template.
        path: as Starlette writes routes, without a suffix; the page is there as HTML, with `.json`
            as JSON and, if there are rows, with `.csv`, `.ndjson` and `.parquet` as a file.
        summary: what it is, in a few words.
        query: its parameters.
        answer: what it says.
        build: makes the answer.
        rows: yields all rows of a list, of all pages.
        columns: of these rows.
    """

    name: str
    path: str
    summary: str
    query: type[Query]
    answer: type[Answer]
    build: Callable[[Visit], Answer]
    rows: Callable[[Visit], Iterable[Row]] | None = None
    columns: tuple[str, ...] = ()

    def list_words(self, visit: Visit) -> list[str]:
        """Returns what a file of its rows is named after."""
        asked = visit.query.model_dump(include={"q", "containing", "domain", "site", "shard"})
        words = [*visit.path.values(), *filter(None, asked.values())]
        return words if visit.path or self.name == "search" else [self.name, *words]

    def write_path(self, parts: Mapping[str, str]) -> str:
        """Returns the path of the page of something."""
        named = re.findall(r"{(\w+)", self.path)
        return write_path(self.path.split("/")[1], *(parts[name] for name in named))


def build_home(visit: Visit) -> Home:
    """Says what is in the release."""
    release, manifest = visit.release, visit.release.manifest
    top = release.domains.select().slice(0, TOP_DOMAINS)
    return Home(
        release=manifest.release,
        released_at=manifest.released_at,
        content_sha256=manifest.content_sha256,
        image_count=release.image_count,
        domain_count=len(release.domains),
        shard_count=len(manifest.shards),
        sample_shard_count=manifest.sample_count,
        name_counts={kind: len(names) for kind, names in release.names.items()},
        top_domains=tuple(map(_count_domain, top.to_pylist())),
        top_names={
            kind: tuple(Count(name=n, image_count=c) for n, c in names[:TOP_NAMES])
            for kind, names in release.names.items()
        },
    )


def build_search(visit: Visit) -> SearchPage:
    """Searches; without a word or a filter there is nothing to look for."""
    query = visit.ask(SearchQuery)
    if not query.is_asking:
        return SearchPage(release=visit.release.manifest.release)
    shown = _show(visit, query, "/search", query.page)
    return SearchPage(**shown, q=query.q, sort=query.sort)


def list_found(visit: Visit) -> Iterator[Row]:
    """Yields all images that a search finds and shows."""
    query = visit.ask(SearchQuery)
    return _export(visit.release, query) if query.is_asking else iter(())


def build_image(visit: Visit) -> ImagePage:
    """Shows one image with all its fields and the file that it came from."""
    shard, row_index = visit.path["shard"], visit.path["row_index"]
    sources = {s.shard: s for s in visit.release.manifest.shards}
    is_possible = shard in sources and ROW_INDEX.fullmatch(row_index)
    found = visit.release.search.read_image(shard, int(row_index)) if is_possible else None
    if found is None:
        raise NotFoundError(f"release {_tag(visit)} has no row {row_index} of shard {shard}")
    source = sources[shard]
    threshold = visit.ask(PictureQuery).max_punsafe
    is_hidden = is_unsafe(found["punsafe"], found["nsfw"], threshold)
    return ImagePage(
        release=_tag(visit),
        shard=shard,
        row_index=found["row_index"],
        punsafe=found["punsafe"],
        nsfw=found["nsfw"],
        is_hidden=is_hidden,
        image=None if is_hidden else Image.of(found),
        fields={} if is_hidden else {n: _keep_digits(n, v) for n, v in found.items()},
        source=_hide_folders(source.source),
        source_sha256=source.sha256,
        is_sample=source.is_sample,
    )


def build_domains(visit: Visit) -> DomainsPage:
    """Lists the domains, or those of a site."""
    query = visit.ask(DomainsQuery)
    table = _select_domains(visit, query.containing, query.sort)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    page_count = _count_pages(table.num_rows, ROWS_PAGE_SIZE, query.page)
    largest = _select_domains(visit).slice(0, 1).to_pylist()
    return DomainsPage(
        release=_tag(visit),
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
    shown = _show(visit, _search_domain(visit), write_path("domains", domain))
    return DomainPage(**shown, domain=domain, image_count=image_count, rank=rank)


def list_domain(visit: Visit) -> Iterator[Row]:
    """Yields the images of a domain."""
    _find_domain(visit)
    return _export(visit.release, _search_domain(visit))


def build_sites(visit: Visit) -> SitesPage:
    """Lists the registered domains."""
    query = visit.ask(ListQuery)
    table = visit.release.sites.select(query.containing, query.sort)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    largest = visit.release.sites.select().slice(0, 1).to_pylist()
    return SitesPage(
        release=_tag(visit),
        total=table.num_rows,
        page=query.page,
        page_count=_count_pages(table.num_rows, ROWS_PAGE_SIZE, query.page),
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
        **_show(visit, _search_site(visit, site), write_path("sites", site)),
        site=site,
        image_count=image_count,
        host_count=hosts.num_rows,
        rank=rank,
        hosts=tuple(map(_count_domain, hosts.slice(0, ROWS_PAGE_SIZE).to_pylist())),
    )


def list_site(visit: Visit) -> Iterator[Row]:
    """Yields the images of a site."""
    return _export(visit.release, _search_site(visit, _find_site(visit)[0]))


def build_lookup(visit: Visit) -> LookupPage:
    """Looks for the images with an address, then for others of its host and its site."""
    query, release = visit.ask(LookupQuery), visit.release
    place = read_place(query.url)
    if place is None:
        return LookupPage(release=_tag(visit), url=query.url)
    written = (place.host, f"{place.host}.")
    answer = release.search.find_url(query.url.strip(), written, query.only)
    counts = [found[0] for host in written if (found := release.domains.find(host)) is not None]
    site = release.sites.find(place.site)
    return LookupPage(
        release=_tag(visit),
        url=query.url,
        images=tuple(map(Image.of, answer.hits)),
        hidden=answer.hidden,
        unscored=answer.unscored,
        host=place.host,
        host_image_count=sum(counts),
        site=place.site,
        site_image_count=site[0] if site is not None else 0,
    )


def build_names(visit: Visit) -> NamesPage:
    """Lists the names of a kind."""
    kind, query = visit.path["kind"], visit.ask(ListQuery)
    names = _select_names(visit)
    start = (query.page - 1) * ROWS_PAGE_SIZE
    every = visit.release.names[kind]
    return NamesPage(
        release=_tag(visit),
        kind=kind,
        total=len(names),
        page=query.page,
        page_count=_count_pages(len(names), ROWS_PAGE_SIZE, query.page),
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
    shown = _show(visit, _search_name(visit), write_path("names", kind, name))
    return NamePage(**shown, kind=kind, name=name, image_count=count)


def list_name(visit: Visit) -> Iterator[Row]:
    """Yields the images that match a name."""
    _find_name(visit)
    return _export(visit.release, _search_name(visit))


def build_releases(visit: Visit) -> ReleasesPage:
    """Lists the releases, and says what changed with the newest."""
    releases = visit.shelf.releases
    return ReleasesPage(
        release=_tag(visit),
        releases=tuple(map(_sum_up, releases)),
        changes=visit.shelf.compare(releases[0].release),
    )


def list_releases(visit: Visit) -> Iterator[Row]:
    """Yields all releases."""
    return (_sum_up(manifest).model_dump() for manifest in visit.shelf.releases)


def build_release(visit: Visit) -> ReleasePage:
    """Shows one release, the one before included in what changed."""
    tag = visit.path["tag"]
    for manifest in visit.shelf.releases:
        if manifest.release == tag:
            shards = tuple(
                s.model_copy(update={"source": _hide_folders(s.source)}) for s in manifest.shards
            )
            sheets = tuple(
                s.model_copy(update={"location": _hide_folders(s.location)})
                for s in manifest.sheets
            )
            shown = manifest.model_copy(update={"shards": shards, "sheets": sheets})
            return ReleasePage(
                release=_tag(visit), manifest=shown, changes=visit.shelf.compare(tag)
            )
    raise NotFoundError(f"there is no release {tag!r}")


def build_about(visit: Visit) -> About:
    """Says what the pages are about."""
    return About(release=_tag(visit), punsafe_threshold=PUNSAFE_THRESHOLD)


def quote_name(name: str) -> str:
    """Returns the query for a name as a phrase; quotes in it are signs between its words."""
    return '"' + name.replace('"', " ") + '"'


def _say_no_image(visit: Visit, domain: str) -> str:
    """Returns that a host has no image, and where its site has some."""
    place = read_place(domain)
    found = visit.release.sites.find(place.site) if place else None
    if place is None or found is None:
        return f"release {_tag(visit)} has no image from {domain}"
    return (
        f"release {_tag(visit)} has no image from the host {domain}; its site has "
        f"{found[0]:,}: {write_path('sites', place.site)}"
    )


def _tag(visit: Visit) -> str:
    return visit.release.manifest.release


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
        raise LaionError(f"site: there is no host in {site!r}; write example.com or an address")
    return visit.release.sites.select_hosts(place.site, containing, order)


def _find_site(visit: Visit) -> tuple[str, int, int]:
    """Returns the site of the path, its images and its rank."""
    place = read_place(visit.path["site"])
    found = visit.release.sites.find(place.site) if place else None
    if place is None or found is None:
        raise NotFoundError(f"release {_tag(visit)} has no image from {visit.path['site']}")
    return place.site, *found


def _search_site(visit: Visit, site: str) -> SearchQuery:
    return SearchQuery(site=site, max_punsafe=visit.ask(PictureQuery).max_punsafe)


def _find_name(visit: Visit) -> tuple[str, str, int]:
    """Returns the kind and the name of the path, and its images."""
    kind, name = visit.path["kind"], visit.path["name"]
    count = visit.release.counts_by_name.get((kind, name))
    if count is None:
        raise NotFoundError(f"release {_tag(visit)} has no name {name!r} in {kind}")
    return kind, name, count


def _search_name(visit: Visit) -> SearchQuery:
    # A name may be longer than a query that somebody types.
    return SearchQuery.model_construct(
        q=quote_name(visit.path["name"]), max_punsafe=visit.ask(PictureQuery).max_punsafe
    )


def _find(release: OpenRelease, query: SearchQuery, offset: int, limit: int) -> SearchAnswer:
    if query.q.strip():
        return release.search.find(
            query.q,
            only=query.only,
            limit=limit,
            offset=offset,
            order=query.order,
        )
    return release.search.browse(query.only, limit=limit, offset=offset, order=query.order)


def _export(release: OpenRelease, query: SearchQuery) -> Iterator[Row]:
    words = query.q if query.q.strip() else None
    for hit in release.search.export(words, query.only, query.order):
        yield {**hit, "score": hit["_score"]}


def _show(visit: Visit, query: SearchQuery, path: str, page: int = 1) -> dict[str, Any]:
    """Searches; returns the fields of `Images`."""
    manifest = visit.release.manifest
    answer = _find(visit.release, query, (page - 1) * PAGE_SIZE, PAGE_SIZE)
    # How it is shown changes no number.
    address = visit.query.write(
        path, release=manifest.release, page=1, view="list", sort="relevance"
    )
    return {
        "release": manifest.release,
        "total": answer.total,
        "hidden": answer.hidden,
        "shown": answer.shown,
        "unscored": answer.unscored,
        "took_ms": round(answer.took_ms, 1),
        "page": page,
        "page_count": _count_pages(answer.shown, PAGE_SIZE, page),
        "images": tuple(map(Image.of, answer.hits)),
        "notes": answer.notes,
        "cite": cite(manifest, query, answer, visit.public_url + address),
    }


def _count_pages(total: int, size: int, page: int) -> int:
    page_count = math.ceil(total / size)
    if page > max(page_count, 1):
        raise NotFoundError(f"there are {page_count} pages, and no page {page}")
    return page_count


def _count_domain(row: Mapping[str, Any]) -> Count:
    return Count(name=row["domain"], image_count=row["image_count"])


def _select_names(visit: Visit) -> list[tuple[str, int]]:
    kind, query = visit.path["kind"], visit.ask(ListQuery)
    if kind not in visit.release.names:
        raise NotFoundError(f"release {_tag(visit)} has no kind of names {kind!r}")
    wanted = query.containing.casefold()
    names = [row for row in visit.release.names[kind] if wanted in row[0].casefold()]
    return sorted(names, key=lambda row: row[0].casefold()) if query.sort == "name" else names


def _sum_up(manifest: Manifest) -> ReleaseLine:
    return ReleaseLine(
        release=manifest.release,
        released_at=manifest.released_at,
        image_count=manifest.row_counts["images"],
        shard_count=len(manifest.shards),
        content_sha256=manifest.content_sha256,
    )


def _keep_digits(column: str, value: object) -> object:
    """Returns a number of 64 bits as a text: JavaScript would round it."""
    return str(value) if column in {"image_id", "hash"} and value is not None else value


def _hide_folders(place: str) -> str:
    """Returns where something came from, of a local path its name alone: folders are private."""
    return place if "://" in place else place.rsplit("/", 1)[-1]


PAGES = (
    Page("home", "/", "What is in the release", NoQuery, Home, build_home),
    Page(
        "search",
        "/search",
        "Search the captions",
        SearchQuery,
        SearchPage,
        build_search,
        list_found,
        IMAGE_COLUMNS,
    ),
    Page(
        "image",
        "/images/{shard}/{row_index}",
        "One image with all its fields",
        PictureQuery,
        ImagePage,
        build_image,
    ),
    Page(
        "domains",
        "/domains",
        "Domains, all or those of a site",
        DomainsQuery,
        DomainsPage,
        build_domains,
        list_domains,
        ("domain", "image_count"),
    ),
    Page(
        "domain",
        "/domains/{domain}",
        "One domain",
        PictureQuery,
        DomainPage,
        build_domain,
        list_domain,
        IMAGE_COLUMNS,
    ),
    Page(
        "sites",
        "/sites",
        "Registered domains",
        ListQuery,
        SitesPage,
        build_sites,
        list_sites,
        ("registered_domain", "image_count", "host_count"),
    ),
    Page(
        "site",
        "/sites/{site:text}",
        "One registered domain",
        PictureQuery,
        SitePage,
        build_site,
        list_site,
        IMAGE_COLUMNS,
    ),
    Page("lookup", "/lookup", "Look up an address", LookupQuery, LookupPage, build_lookup),
    Page(
        "names",
        "/names/{kind}",
        "Names of a kind",
        ListQuery,
        NamesPage,
        build_names,
        list_names,
        ("kind", "name", "image_count"),
    ),
    Page(
        "name",
        "/names/{kind}/{name:text}",
        "One name",
        PictureQuery,
        NamePage,
        build_name,
        list_name,
        IMAGE_COLUMNS,
    ),
    Page(
        "releases",
        "/releases",
        "All releases",
        NoQuery,
        ReleasesPage,
        build_releases,
        list_releases,
        tuple(ReleaseLine.model_fields),
    ),
    Page("release", "/releases/{tag}", "One release", NoQuery, ReleasePage, build_release),
    Page("about", "/about", "What this is", NoQuery, About, build_about),
)
