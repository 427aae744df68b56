"""The web application: routes, formats, limits and headers of the search page.

Each page is built in a thread from the release that is open when it is asked for. What it says
depends on that, its address, the visitor's choice of pictures and the program alone, so it is kept
until there is another release, and its `ETag` names the release and a digest of the program.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from laion_assets.errors import LaionError
from laion_assets.pictures.fetching.decoders import Decoders
from laion_assets.project import digest_program
from laion_assets.web import clip_retrieval, thumbnails, uploads
from laion_assets.web.cache import PageCache
from laion_assets.web.chrome import CARD_PREFIX, INDEX, Chrome
from laion_assets.web.clients import ClientTable
from laion_assets.web.current_release import NoReleaseError, Shelf
from laion_assets.web.export import WRITERS, name_file
from laion_assets.web.figures import (
    HEALTH,
    MEDIA_TYPE,
    METRICS,
    Figures,
    LogVisit,
    Watch,
    check_health,
)
from laion_assets.web.limits import (
    RETRY_AFTER_S,
    Limits,
    OverloadError,
    RequestRate,
    TooManyRequestsError,
    Workers,
)
from laion_assets.web.notices import write_feed, write_opensearch, write_robots, write_sitemap
from laion_assets.web.oembed import CardQuery, describe_card, find_page
from laion_assets.web.openapi import describe_api
from laion_assets.web.pages import PAGES
from laion_assets.web.params import (
    CSV,
    HTML,
    JSON,
    LISTS,
    NDJSON,
    PARQUET,
    SUFFIXES,
    PictureQuery,
    UploadQuery,
)
from laion_assets.web.render import pin_links, render_html, render_json
from laion_assets.web.responses import Answer, Citation, Images, Problem
from laion_assets.web.visit import NotFoundError, Page, Visit

logger = logging.getLogger(__name__)

CACHE_BYTES = 64 * 2**20
REFRESH_INTERVAL_S = 2
# There a look takes a request for each tag.
BUCKET_INTERVAL_S = 30
ROWS_AT_ONCE = 10_000
PICTURES_COOKIE = "pictures"
YEAR_S = 31_536_000
# As a suffix would: a page as a card.
CARD = "card"
MEDIA_TYPES = {
    HTML: "text/html; charset=utf-8",
    JSON: "application/json",
    CSV: "text/csv; charset=utf-8",
    NDJSON: "application/x-ndjson",
    PARQUET: "application/vnd.apache.parquet",
    CARD: "text/html; charset=utf-8",
}
STATIC = Path(__file__).with_name("static")
OPENSEARCH_TYPE = "application/opensearchdescription+xml"
# Holds the program that the pages are made by, templates too.
OPENAPI = "/openapi.json"
OEMBED = "/oembed"
# No script, no style and no font but ours, no frame; pictures of others only for who wants them.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{pictures}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {frames}"
)
OWN_POLICY = POLICY.format(pictures="", frames="'none'")
# A card has nothing to press that changes anything, so that any page may show it.
CARD_POLICY = POLICY.format(pictures="", frames="*")
# What went wrong, as HTTP has it; the message says the rest.
STATUSES = {
    ValidationError: HTTPStatus.BAD_REQUEST,
    LaionError: HTTPStatus.BAD_REQUEST,
    NoReleaseError: HTTPStatus.NOT_FOUND,
    NotFoundError: HTTPStatus.NOT_FOUND,
    TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    OverloadError: HTTPStatus.SERVICE_UNAVAILABLE,
    # Nobody hears it, but it is no fault of the program.
    ClientDisconnect: HTTPStatus.BAD_REQUEST,
}
NOT_KEPT = {"cache-control": "no-store"}
ASK_LATER = {"retry-after": str(RETRY_AFTER_S)}
HEADERS = {
    "content-security-policy": OWN_POLICY,
    "x-content-type-options": "nosniff",
    # Forms of ours say where they are from, to us alone.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def build_app(
    shelf: Shelf,
    limits: Limits | None = None,
    refresh_interval_s: float | None = None,
    public_url: str = "",
    log_visit: LogVisit | None = None,
    clients: ClientTable | None = None,
) -> ASGIApp:
    """Returns the application.

    Args:
        shelf: the releases.
        limits: how much work it takes.
        refresh_interval_s: how often it looks for a newer release; by default more rarely where
            the tables are in a bucket.
        public_url: where visitors find it, without a slash at the end; citations have it. The Host
            header is not trusted for this, as anybody may write it.
        log_visit: writes each visit into a log; None: nobody keeps one.
        clients: shared with the other processes of the page; None: there are none.
    """
    if refresh_interval_s is None:
        refresh_interval_s = BUCKET_INTERVAL_S if shelf.store.bucket else REFRESH_INTERVAL_S
    limits = limits or Limits()
    workers, cache = Workers(limits, clients), PageCache(CACHE_BYTES)
    # Where several processes answer, all of them are asked for less than one gathers.
    shelf.is_busy = lambda: workers.waiting_count > 0
    figures = Figures(shelf, workers)
    site = Site(shelf, workers, cache, figures, digest_program(), public_url)

    @asynccontextmanager
    async def watch(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_fresh(site, refresh_interval_s))
        async with (
            Decoders(1, thumbnails.SIZES) as decoders,
            Decoders(1, uploads.SIZES) as upload_decoders,
        ):
            app.state.decoders, app.state.upload_decoders = decoders, upload_decoders
            yield
        task.cancel()
        site.workers.close()

    app = Starlette(
        routes=[
            *(Route(page.path, _serve(site, page), name=page.name) for page in PAGES),
            Route(uploads.PATH, _search_picture(site), methods=["POST"]),
            Route(thumbnails.PATH, _show_picture(site)),
            *clip_retrieval.build_routes(shelf, workers),
            Route("/preferences", set_preferences, methods=["POST"]),
            Route(OPENAPI, _say(describe_api(PAGES), "application/json")),
            Route("/robots.txt", _say(write_robots(public_url), "text/plain")),
            Route("/opensearch.xml", _say(write_opensearch(public_url), OPENSEARCH_TYPE)),
            Route("/sitemap.xml", _tell(site, write_sitemap, "application/xml")),
            Route("/releases.atom", _tell(site, write_feed, "application/atom+xml")),
            Route("/favicon.ico", _say((STATIC / "favicon.ico").read_bytes(), "image/x-icon")),
            Route(OEMBED, _name_card(site)),
            Route(METRICS, _show_figures(figures), name="metrics"),
            Route(HEALTH, _show_health(shelf), name="health"),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={
            **{kind: _explain_as(status) for kind, status in STATUSES.items()},
            HTTPException: _explain_http,
            Exception: _explain_bug,
        },
        # What is here is for everybody to read, from programs of other pages too.
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_headers=["If-None-Match"],
                expose_headers=["ETag", "Retry-After"],
            ),
            *(
                [Middleware(_Throttle, limits.per_second, workers.clients)]
                if limits.per_second
                else []
            ),
        ],
        lifespan=watch,
    )
    # The pages that say what went wrong have the navigation of the others.
    app.state.shelf = shelf
    # Starlette's redirects repeat the Host header, which may be anybody's.
    app.router.redirect_slashes = False
    return _Envelope(app, figures, log_visit)


@dataclass(frozen=True)
class Site:
    """What all requests share.

    Attributes:
        shelf: the releases.
        workers: the threads that build pages.
        cache: pages that were built.
        figures: what programs that watch the page are told.
        program: digest of the program.
        public_url: what comes before the paths of pages in an address.
    """

    shelf: Shelf
    workers: Workers
    cache: PageCache
    figures: Figures
    program: str
    public_url: str


async def _keep_fresh(site: Site, interval_s: float) -> None:
    while True:
        try:
            if await asyncio.to_thread(site.shelf.refresh):
                site.cache.clear()
        except LaionError as error:
            logger.warning("%s", error)
        except Exception:
            # The release that is open goes on; the next look may go well.
            logger.exception("cannot open the newest release")
        await asyncio.sleep(interval_s)


def _serve(site: Site, page: Page) -> Callable[[Request], object]:
    async def serve(request: Request) -> Response:
        suffix = request.scope["suffix"]
        if suffix in LISTS and page.rows is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, f"this page is not a list; it has no {suffix}"
            )
        if suffix == CARD and not page.has_card:
            raise HTTPException(HTTPStatus.NOT_FOUND, "this page has no number to show")
        return await _answer(site, page, request, suffix)

    return serve


async def _answer(site: Site, page: Page, request: Request, suffix: str) -> Response:
    has_pictures = request.cookies.get(PICTURES_COOKIE) == "on"
    try:
        headers = _describe(site, suffix, has_pictures=has_pictures)
    except LaionError as error:
        raise OverloadError(str(error)) from None
    query = page.query.read(request.query_params.multi_items())
    path = page.write_path(request.path_params)
    if suffix == HTML and len(request.query_params.multi_items()) > query.count_given():
        # A form sends every field; the address that people pass on has none that says nothing.
        return RedirectResponse(query.write(path), HTTPStatus.FOUND, headers)
    client = request.client.host if request.client else ""

    def open_visit() -> Visit:
        release = site.shelf.open(query.release)
        return Visit(site.shelf, release, request.path_params, query, site.public_url)

    if suffix in LISTS:
        visit = await site.workers.run(client, open_visit)
        return await _stream(site.workers, client, page, visit, suffix, headers)
    key = (headers["etag"], page.name, query.write(path), suffix)
    body = site.cache.get(key)
    if body is None:
        chrome = Chrome(path, query, has_pictures, site.public_url)
        body = await site.workers.run(client, lambda: _render(page, open_visit(), suffix, chrome))
        site.cache.put(key, body)
    else:
        site.figures.count_kept()
    # Only now, as there may be no such page.
    if _has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, media_type=MEDIA_TYPES[suffix], headers=headers)


def _has(tags: str, tag: str) -> bool:
    """Returns whether a header names the tag, weakly or not (RFC 9110, section 13.1.2)."""
    named = {named.strip().removeprefix("W/") for named in tags.split(",")}
    return bool(named & {"*", tag.removeprefix("W/")})


def _render(page: Page, visit: Visit, suffix: str, chrome: Chrome) -> bytes:
    return _write(page, page.build(visit), visit, suffix, chrome)


def _write(page: Page, answer: Answer, visit: Visit, suffix: str, chrome: Chrome) -> bytes:
    if suffix == JSON:
        return render_json(answer)
    if suffix == CARD:
        _find_citation(answer)
    html = render_html(
        "embed" if suffix == CARD else page.name,
        page=page,
        answer=answer,
        query=visit.query,
        release=visit.release,
        chrome=chrome,
    )
    return pin_links(html, visit.query.release) if visit.query.release else html


def _find_citation(answer: Answer) -> Citation:
    """Returns the number that a page is about.

    Raises:
        NotFoundError: nothing was asked for, so there is none.
    """
    if not isinstance(answer, Images) or answer.cite is None:
        raise NotFoundError("this page has no number to show; search for something")
    return answer.cite


def _show_picture(site: Site) -> Callable[[Request], object]:
    async def show_picture(request: Request) -> Response:
        query = PictureQuery.read(request.query_params.multi_items())
        etag = _describe(site, HTML, has_pictures=False)["etag"]
        key = (etag, thumbnails.PATH, query.write(request.scope["path"]), HTML)
        body = site.cache.get(key)
        if body is None:

            def read() -> bytes:
                release = site.shelf.open(query.release)
                return thumbnails.read_thumbnail(release, request.path_params, query)

            client = request.client.host if request.client else ""
            data = await site.workers.run(client, read)
            body = await thumbnails.shrink(data, request.app.state.decoders)
            site.cache.put(key, body)
        # Also of a release, which never changes: the picture may have to be hidden.
        headers = {"etag": etag, "cache-control": "public, no-cache"}
        if _has(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(body, media_type=thumbnails.name_kind(body), headers=headers)

    return show_picture


def _search_picture(site: Site) -> Callable[[Request], object]:
    (page,) = (page for page in PAGES if page.path == uploads.PATH)

    async def search_picture(request: Request) -> Response:
        suffix = request.scope["suffix"]
        if suffix not in {HTML, JSON}:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"this page has no {suffix}")
        if not _is_own(request):
            return _explain(request, HTTPStatus.FORBIDDEN, "another site cannot send a picture")
        query = UploadQuery.read(request.query_params.multi_items())
        sent = await uploads.read_sent(request)
        if isinstance(sent, bytes):
            sent = await uploads.decode(sent, request.app.state.upload_decoders)
        has_pictures = request.cookies.get(PICTURES_COOKIE) == "on"
        chrome = Chrome(uploads.PATH, query, has_pictures, site.public_url)

        def build() -> bytes:
            visit = Visit(site.shelf, site.shelf.open(query.release), {}, query, site.public_url)
            answer = uploads.build_found(visit, sent)
            return _write(page, answer, visit, suffix, chrome)

        client = request.client.host if request.client else ""
        body = await site.workers.run(client, build)
        headers = {
            **_describe(site, suffix, has_pictures=has_pictures),
            "cache-control": "no-store",
        }
        del headers["etag"]
        return Response(body, media_type=MEDIA_TYPES[suffix], headers=headers)

    return search_picture


def _name_card(site: Site) -> Callable[[Request], object]:
    async def name_card(request: Request) -> Response:
        asked = CardQuery.model_validate(dict(request.query_params))
        if asked.format != "json":
            raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, "there is no other format than json")
        page, path, query = find_page(asked.url, site.public_url)

        def describe() -> bytes:
            release = site.shelf.open(query.release)
            visit = Visit(site.shelf, release, path, query, site.public_url)
            chrome = Chrome(page.write_path(path), query, False, site.public_url)
            return describe_card(asked, chrome, _find_citation(page.build(visit)))

        client = request.client.host if request.client else ""
        body = await site.workers.run(client, describe)
        return Response(body, media_type=MEDIA_TYPES[JSON])

    return name_card


async def _stream(
    workers: Workers, client: str, page: Page, visit: Visit, suffix: str, headers: Mapping[str, str]
) -> Response:
    """Returns the rows as a file, some at a time; the client keeps its place until the last."""
    assert page.rows
    rows = iter(page.rows(visit))
    writer = WRITERS[suffix](page.columns)

    def write() -> bytes | None:
        """Returns some rows, None after the last."""
        some = list(itertools.islice(rows, ROWS_AT_ONCE))
        return writer.write(some) if some else None

    place = ExitStack()
    place.enter_context(workers.place(client))
    try:
        # Before the answer begins, so that what goes wrong can still be said.
        chunk = await workers.run_placed(write)
    except BaseException:
        place.close()
        raise

    async def write_all(chunk: bytes | None) -> AsyncIterator[bytes]:
        with place:
            yield writer.begin()
            while chunk is not None:
                yield chunk
                chunk = await workers.run_placed(write)
            yield writer.end()

    name = name_file(page.list_words(visit), visit.release.manifest.release, suffix)
    named = {**headers, "content-disposition": name}
    response = StreamingResponse(write_all(chunk), media_type=MEDIA_TYPES[suffix], headers=named)
    # A visitor who is gone by now leaves rows that nobody asks for.
    weakref.finalize(response, place.close)
    return response


def _describe(site: Site, suffix: str, *, has_pictures: bool) -> dict[str, str]:
    state = f"{site.shelf.current.manifest.release}-{site.shelf.state}-{site.program}"
    pictures = " https: http:" if has_pictures else ""
    return {
        "etag": f'W/"{state}{"-pictures" if has_pictures else ""}"',
        # To be kept, and asked about each time: the next release may be there.
        "cache-control": "public, no-cache",
        "vary": "cookie",
        "content-security-policy": CARD_POLICY
        if suffix == CARD
        else POLICY.format(pictures=pictures, frames="'none'"),
    }


def _is_own(request: Request) -> bool:
    """Returns whether a form of ours was sent, as far as the browser tells."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def set_preferences(request: Request) -> Response:
    """Turns pictures on or off for this visitor, and goes back to where the button was."""
    if not _is_own(request):
        return _explain(request, HTTPStatus.FORBIDDEN, "another site cannot turn pictures on")
    back = request.query_params.get("next", "/")
    if not back.startswith("/") or back.startswith("//") or "\\" in back:
        back = "/"
    # What was sent to search with a picture is sent there once more.
    is_sent = urlsplit(back).path == uploads.PATH
    status = HTTPStatus.TEMPORARY_REDIRECT if is_sent else HTTPStatus.SEE_OTHER
    response = RedirectResponse(back, status)
    if request.query_params.get(PICTURES_COOKIE) == "on":
        response.set_cookie(PICTURES_COOKIE, "on", YEAR_S, httponly=True, samesite="lax")
    else:
        response.delete_cookie(PICTURES_COOKIE)
    return response


def _say(body: bytes, media_type: str) -> Callable[[Request], object]:
    async def say(_: Request) -> Response:
        return Response(body, media_type=media_type, headers={"cache-control": "public, no-cache"})

    return say


def _show_figures(figures: Figures) -> Callable[[Request], object]:
    async def show_figures(_: Request) -> Response:
        return Response(figures.write(), media_type=MEDIA_TYPE, headers=NOT_KEPT)

    return show_figures


def _show_health(shelf: Shelf) -> Callable[[Request], object]:
    async def show_health(_: Request) -> Response:
        try:
            return JSONResponse(check_health(shelf), headers=NOT_KEPT)
        except LaionError as error:
            problem = {"status": "no release", "reason": str(error)}
            headers = NOT_KEPT | ASK_LATER
            return JSONResponse(problem, HTTPStatus.SERVICE_UNAVAILABLE, headers)

    return show_health


def _tell(
    site: Site, write: Callable[[Shelf, str], bytes], media_type: str
) -> Callable[[Request], object]:
    """Serves what is written of the releases that there are."""

    async def tell(_: Request) -> Response:
        try:
            body = write(site.shelf, site.public_url)
        except LaionError as error:
            raise OverloadError(str(error)) from None
        return Response(body, media_type=media_type, headers={"cache-control": "public, no-cache"})

    return tell


def _explain(request: Request, status: int, reason: str) -> Response:
    """Returns the page that says why there is no answer."""
    problem = Problem(status=status, reason=reason)
    headers = dict(NOT_KEPT)
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers |= ASK_LATER
    suffix = request.scope["suffix"]
    if suffix not in {HTML, CARD}:
        return Response(render_json(problem), status, headers, MEDIA_TYPES[JSON])
    title = HTTPStatus(status).phrase
    context = {"problem": problem, "title": title}
    if suffix == CARD:
        headers["content-security-policy"] = CARD_POLICY
        return Response(render_html("embed", **context), status, headers, MEDIA_TYPES[HTML])
    with suppress(LaionError):
        context["release"] = request.app.state.shelf.current
    return Response(render_html("problem", **context), status, headers, MEDIA_TYPES[HTML])


def _explain_as(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def explain(request: Request, error: Exception) -> Response:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"parameter {'.'.join(map(str, first['loc']))}: {first['msg']}"
        return _explain(request, status, reason)

    return explain


async def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reasons = {
        HTTPStatus.NOT_FOUND: "there is no page at this address",
        HTTPStatus.METHOD_NOT_ALLOWED: "this address takes a POST, and nothing else"
        if request.method in {"GET", "HEAD"}
        else "this page can be read, and nothing else",
    }
    is_plain = error.detail == HTTPStatus(error.status_code).phrase
    reason = reasons.get(HTTPStatus(error.status_code), error.detail) if is_plain else error.detail
    return _explain(request, error.status_code, reason)


async def _explain_bug(request: Request, _: Exception) -> Response:
    return _explain(request, HTTPStatus.INTERNAL_SERVER_ERROR, "this is a bug; the log has more")


class _Throttle:
    """Refuses clients that ask too often; the style of pages and what operators ask are free."""

    def __init__(self, app: ASGIApp, per_second: float, clients: ClientTable) -> None:
        self._app = app
        self._per_second = per_second
        self._rate = RequestRate(per_second, clients=clients)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_counted = (
            scope["type"] == "http"
            and scope["path"] not in {METRICS, HEALTH}
            and not scope["path"].startswith("/static/")
        )
        client = (scope.get("client") or ("",))[0]
        if not is_counted or self._rate.admit(client):
            await self._app(scope, receive, send)
            return
        reason = f"more than {self._per_second:g} requests of yours a second; ask more slowly"
        response = _explain(Request(scope), HTTPStatus.TOO_MANY_REQUESTS, reason)
        await response(scope, receive, send)


class _Envelope:
    """Takes the suffix off a path before the routes see it, and puts our headers on each answer.

    It also times the answers, those that no route makes among them.
    """

    def __init__(
        self,
        app: ASGIApp,
        figures: Figures,
        log_visit: LogVisit | None,
    ) -> None:
        self._app = app
        self._figures = figures
        self._log_visit = log_visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        routed = _take_suffix(scope)
        watch = Watch(routed)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/static/"):
                    # Pages of an upgrade need its style at once.
                    headers.setdefault("cache-control", "public, no-cache")
            watch.note(message)
            await send(message)

        try:
            await self._app(routed, receive, send_with_headers)
        finally:
            watch.count(self._figures, self._log_visit)


def _take_suffix(scope: Scope) -> Scope:
    path: str = scope["path"]
    if path == OEMBED or path in clip_retrieval.PATHS:
        return {**scope, "suffix": JSON}
    if path.startswith(f"{CARD_PREFIX}/"):
        page = path.removeprefix(CARD_PREFIX).removesuffix(HTML)
        return {**scope, "path": page, "suffix": CARD}
    if path in {OPENAPI, METRICS, HEALTH} or path.startswith("/static/"):
        return {**scope, "suffix": HTML}
    suffix = next((suffix for suffix in SUFFIXES if path.endswith(suffix)), None)
    stem = path.removesuffix(suffix) if suffix else path
    return {**scope, "path": "/" if stem == INDEX else stem, "suffix": suffix or HTML}
