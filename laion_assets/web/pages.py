"""The pages: what each is asked for, what it answers, and how."""

from __future__ import annotations

from laion_assets.search.row_values import HIT_COLUMNS
from laion_assets.web import uploads
from laion_assets.web.compare import COMPARED_COLUMNS, build_compare, list_compared
from laion_assets.web.name_pages import build_name, build_names, list_name, list_names
from laion_assets.web.params import (
    CompareQuery,
    DomainsQuery,
    ListQuery,
    LookupQuery,
    NoQuery,
    PictureQuery,
    SearchQuery,
    UploadQuery,
)
from laion_assets.web.release_pages import (
    build_about,
    build_home,
    build_release,
    build_releases,
    list_releases,
)
from laion_assets.web.responses import (
    About,
    ComparePage,
    DomainPage,
    DomainsPage,
    Home,
    ImagePage,
    LookupPage,
    NamePage,
    NamesPage,
    PictureSearchPage,
    ReleaseLine,
    ReleasePage,
    ReleasesPage,
    SearchPage,
    SitePage,
    SitesPage,
)
from laion_assets.web.search_pages import build_image, build_search, list_found
from laion_assets.web.site_pages import (
    build_domain,
    build_domains,
    build_lookup,
    build_site,
    build_sites,
    list_domain,
    list_domains,
    list_site,
    list_sites,
)
from laion_assets.web.visit import Page

IMAGE_COLUMNS = (*HIT_COLUMNS, "score")

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
        "picture",
        uploads.PATH,
        "Search with a picture: POST it, as a form or as the body",
        UploadQuery,
        PictureSearchPage,
        uploads.build_form,
    ),
    Page(
        "compare",
        "/compare",
        "Compare searches",
        CompareQuery,
        ComparePage,
        build_compare,
        list_compared,
        COMPARED_COLUMNS,
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
