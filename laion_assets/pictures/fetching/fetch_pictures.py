"""Fetches many URLs at once, host by host.

Each host has a queue of its own and few workers, so that a slow one holds up nothing but itself.
Every request has a deadline, and so has every wait: a fetch always ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from laion_assets.errors import first_line
from laion_assets.pictures.fetching.addresses import PublicResolver, check_host
from laion_assets.pictures.fetching.consent import MAX_ROBOTS_BYTES, Robots, find_refusal
from laion_assets.pictures.fetching.decoders import Decoders
from laion_assets.pictures.fetching.rules import AFTER_DOWNLOAD, FetchError, FetchRules, Reason
from laion_assets.stores.http_client import HTTP_OK, parse_retry_after
from laion_assets.stores.picture_cache import FetchedPicture

# URLs that wait in memory; more keep more hosts busy.
WINDOW = 20_000
# What is told at once: a kill loses no more than this.
BATCH = 200
BATCH_S = 5
# Names are resolved in threads, of which asyncio has few by default.
RESOLVERS = 32
OPT_OUTS_OF_A_HOST = 2
CHUNK_BYTES = 65_536
LARGE_BYTES, LARGE_AT_ONCE = 2_000_000, 8
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SERVER_ERRORS = 500
# A host that goes on to answer so has no time for us, as one that does not answer at all.
BUSY = frozenset({429, 503})
SILENCE = frozenset({Reason.DNS, Reason.CONNECTION, Reason.TIMEOUT, Reason.ROBOTS_UNREACHABLE})

# Is told what became of some URLs.
Keep = Callable[[list[FetchedPicture]], None]


@dataclass
class _Job:
    url: str
    at: URL
    hops: int = 0
    attempts: int = 1
    began: float | None = None


@dataclass
class _Host:
    name: str
    queue: deque[_Job] = field(default_factory=deque)
    workers: int = 0
    not_before: float = 0
    failures: int = 0
    opt_outs: int = 0
    down: FetchError | None = None
    robots: dict[str, asyncio.Task[Robots]] = field(default_factory=dict)


def fetch_pictures(
    urls: Iterable[str], rules: FetchRules, keep: Keep, resolver: AbstractResolver | None = None
) -> None:
    """Fetches pictures and makes them smaller.

    Args:
        urls: distinct ones; those of one host need not stand together.
        rules: how.
        keep: is told the results, some at a time, in no order, from another thread.
        resolver: knows the addresses of hosts; the system's by default.
    """
    asyncio.run(_Fetch(rules, keep).run(urls, resolver))


class _Fetch:
    def __init__(self, rules: FetchRules, keep: Keep) -> None:
        self._rules = rules
        self._keep = keep
        self._hosts: dict[str, _Host] = {}
        self._results: list[FetchedPicture] = []
        self._open: set[str] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._next_slot = 0.0
        self._failure: BaseException | None = None

    async def run(self, urls: Iterable[str], resolver: AbstractResolver | None) -> None:
        rules = self._rules
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS))
        loop.set_exception_handler(self._hear)
        self._room = asyncio.Semaphore(WINDOW)
        self._connections = asyncio.Semaphore(rules.connections)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=PublicResolver(resolver or aiohttp.ThreadedResolver(), rules),
            ttl_dns_cache=300,
            keepalive_timeout=5,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers={
                "User-Agent": rules.user_agent,
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=rules.time_s),
            auto_decompress=False,
            trust_env=False,
        )
        async with session, Decoders(rules.decoders, rules.sizes) as decoders:
            self._session, self._decoders = session, decoders
            telling = asyncio.create_task(self._tell_regularly())
            telling.add_done_callback(self._forget)
            try:
                for url in urls:
                    if url not in self._open:
                        await self._room.acquire()
                        self._check_failure()
                        self._open.add(url)
                        self._begin(url)
                while self._open:
                    await asyncio.sleep(0.05)
                    self._check_failure()
            finally:
                telling.cancel()
                for worker in self._workers:
                    worker.cancel()
                await asyncio.gather(telling, *self._workers, return_exceptions=True)
                await self._tell()

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _hear(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Hears of what was raised in a callback: an interrupt is to end the fetch."""
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            self._failure = error

    def _begin(self, url: str) -> None:
        try:
            self._enqueue(_Job(url, _parse(url)))
        except FetchError as error:
            self._end(_Job(url, URL()), error)

    def _enqueue(self, job: _Job) -> None:
        host = job.at.host or ""
        check_host(host, self._rules)
        if self._rules.removed.match_url(str(job.at)) is not None:
            raise FetchError(Reason.DENIED_HOST, "it is on the list of removals")
        queue = self._hosts.setdefault(host, _Host(host))
        queue.queue.append(job)
        if queue.workers < self._rules.connections_per_host:
            queue.workers += 1
            worker = asyncio.create_task(self._serve(queue))
            self._workers.add(worker)
            worker.add_done_callback(self._forget)

    def _forget(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()):
            self._failure = error

    async def _serve(self, host: _Host) -> None:
        """Asks a host for all that waits for it."""
        try:
            while host.queue:
                job = host.queue.popleft()
                if not host.down and (pause := host.not_before - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                await self._attempt(host, job)
        finally:
            host.workers -= 1

    async def _attempt(self, host: _Host, job: _Job) -> None:
        if host.down:
            self._end(job, host.down)
            return
        async with self._connections:
            await self._wait_for_slot()
            job.began = job.began or time.monotonic()
            try:
                await self._ask(host, job)
            except FetchError as error:
                self._judge(host, job, error)

    async def _wait_for_slot(self) -> None:
        """Keeps the requests of all hosts together below the rate."""
        now = time.monotonic()
        slot = max(self._next_slot, now)
        self._next_slot = slot + 1 / self._rules.requests_per_s
        if slot > now:
            await asyncio.sleep(slot - now)

    def _judge(self, host: _Host, job: _Job, error: FetchError) -> None:
        """Tries again what may pass, and gives up a host that never answers."""
        rules = self._rules
        if error.reason is Reason.OPTED_OUT:
            host.opt_outs += 1
            if host.opt_outs >= OPT_OUTS_OF_A_HOST:
                text = f"{host.name} refused {host.opt_outs} pictures, and is not asked again"
                host.down = FetchError(Reason.HOST_OPTED_OUT, text)
        is_silent = error.reason in SILENCE or error.http_status in BUSY
        host.failures = host.failures + 1 if is_silent else 0
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        pause = rules.backoff_s * 2 ** (job.attempts - 1) * jitter
        if error.http_status in BUSY:
            pause = max(error.retry_after_s or 0, pause)
            host.not_before = time.monotonic() + pause
        is_too_long = pause > rules.max_pause_s
        if (host.failures >= rules.silent_after or is_too_long) and not host.down:
            times = f"{host.failures} times in a row"
            text = f"{host.name} is not asked again in this run, failed {times}: {error}"
            host.down = FetchError(Reason.HOST_DOWN, text)
        is_over = job.attempts >= rules.attempts
        # What the host could not do in all its time it would not do in as long again.
        is_tried = error.is_passing and error.reason is not Reason.TIMEOUT
        if is_over or not is_tried or host.down:
            self._end(job, error)
            return
        job.attempts += 1
        asyncio.get_running_loop().call_later(pause, self._again, job)

    def _again(self, job: _Job) -> None:
        try:
            self._enqueue(job)
        except FetchError as error:
            self._end(job, error)

    async def _ask(self, host: _Host, job: _Job) -> None:
        if not (await self._read_robots(host, job.at)).allows(str(job.at)):
            raise FetchError(Reason.ROBOTS_TXT, f"the robots.txt of {host.name} forbids it")
        data, status, location = await self._get(host, job.at)
        host.failures = 0
        if location is not None:
            self._redirect(job, location, status)
            return
        resized = await self._decoders.decode(data)
        result = FetchedPicture(
            job.url,
            "success",
            http_status=status,
            received_bytes=len(data),
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            **vars(resized),
        )
        self._finish(job, result)

    def _redirect(self, job: _Job, location: str, status: int) -> None:
        if job.hops >= self._rules.redirects:
            text = f"over {self._rules.redirects} redirects"
            raise FetchError(Reason.TOO_MANY_REDIRECTS, text, status)
        job.hops += 1
        job.at = _join(job.at, location)
        self._enqueue(job)

    async def _read_robots(self, host: _Host, url: URL) -> Robots:
        origin = str(url.origin())
        if origin not in host.robots:
            host.robots[origin] = asyncio.create_task(self._fetch_robots(host, url.origin()))
        asking = host.robots[origin]
        try:
            return await asyncio.shield(asking)
        except FetchError:
            # The next attempt asks anew.
            if host.robots.get(origin) is asking:
                del host.robots[origin]
            raise

    async def _fetch_robots(self, host: _Host, origin: URL) -> Robots:
        """Fetches robots.txt as RFC 9309 says: 4xx allows everything, 5xx nothing."""
        url = origin / "robots.txt"
        try:
            for _ in range(self._rules.redirects + 1):
                data, _, location = await self._get(host, url, MAX_ROBOTS_BYTES)
                if location is None:
                    return Robots(data.decode("utf-8", errors="replace"))
                url = _join(url, location)
                check_host(url.host or "", self._rules)
        except FetchError as error:
            if error.reason is Reason.HTTP and (error.http_status or 0) < SERVER_ERRORS:
                return Robots(None)
            if error.reason is Reason.HTTP:
                text = f"{origin}/robots.txt: {error}"
                raise FetchError(Reason.ROBOTS_UNREACHABLE, text) from error
            raise
        return Robots(None)

    async def _get(
        self, host: _Host, url: URL, cut_at: int | None = None
    ) -> tuple[bytes, int, str | None]:
        """Sends one request.

        Args:
            host: whose it is; a connection is kept while more waits for it.
            url: where.
            cut_at: bytes of a text of which the rest is not read; None for a picture.

        Returns:
            The body, the status, and where the server sends us instead.

        Raises:
            FetchError: there is none.
        """
        headers = {} if host.queue else {"Connection": "close"}
        try:
            async with (
                asyncio.timeout(self._rules.time_s),
                self._session.get(url, allow_redirects=False, headers=headers) as response,
            ):
                location = response.headers.get("Location")
                if response.status in REDIRECTS and location:
                    return b"", response.status, location
                if response.status != HTTP_OK:
                    raise _refuse(response)
                if cut_at is None:
                    _check_consent(response)
                return await self._read(response, cut_at), response.status, None
        except (TimeoutError, aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise _name_failure(error, url, self._rules) from error

    async def _read(self, response: aiohttp.ClientResponse, cut_at: int | None) -> bytes:
        limit = cut_at or self._rules.max_bytes
        if cut_at is None and (response.content_length or 0) > limit:
            raise _too_large(limit, response)
        chunks, total = [], 0
        async with AsyncExitStack() as held:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                if total <= LARGE_BYTES < total + len(chunk):
                    # Only so many large ones at a time, so that they fit into memory together.
                    await held.enter_async_context(self._large)
                chunks.append(chunk)
                total += len(chunk)
                if total > limit:
                    if cut_at is None:
                        # Else the error would keep what came, by the frame that it was raised in.
                        chunks.clear()
                        raise _too_large(limit, response)
                    break
        return b"".join(chunks)[:limit]

    def _end(self, job: _Job, error: FetchError) -> None:
        is_late = error.reason in AFTER_DOWNLOAD
        result = FetchedPicture(
            job.url,
            "failed_to_resize" if is_late else "failed_to_download",
            error.reason.value,
            str(error),
            error.is_passing,
            error.http_status or (HTTP_OK if is_late else None),
        )
        self._finish(job, result)

    def _finish(self, job: _Job, result: FetchedPicture) -> None:
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        seconds = round(time.monotonic() - job.began, 3) if job.began else 0
        final_url = str(job.at) if result.http_status else None
        self._results.append(replace(result, seconds=seconds, final_url=final_url, fetched_at=now))
        self._open.discard(job.url)
        self._room.release()

    async def _tell_regularly(self) -> None:
        told_at = time.monotonic()
        while True:
            await asyncio.sleep(0.1)
            if len(self._results) >= BATCH or time.monotonic() > told_at + BATCH_S:
                await self._tell()
                told_at = time.monotonic()

    async def _tell(self) -> None:
        results, self._results = self._results, []
        if results:
            await asyncio.to_thread(self._keep, results)


def _parse(url: str) -> URL:
    try:
        parsed = URL(url.strip())
    except ValueError as error:
        raise FetchError(Reason.BAD_URL, f"no URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise FetchError(Reason.BAD_URL, "only http:// and https:// are fetched")
    return parsed.with_user(None)


def _join(url: URL, location: str) -> URL:
    try:
        return _parse(str(url.join(URL(location))))
    except ValueError as error:
        raise FetchError(Reason.BAD_URL, f"redirects to no URL: {error}") from error


def _refuse(response: aiohttp.ClientResponse) -> FetchError:
    text = f"HTTP {response.status} {response.reason or ''}".strip()
    pause = parse_retry_after(response.headers.get("Retry-After"))
    return FetchError(Reason.HTTP, text, response.status, pause)


def _too_large(limit: int, response: aiohttp.ClientResponse) -> FetchError:
    return FetchError(Reason.TOO_LARGE, f"over {limit:,} bytes", response.status)


def _check_consent(response: aiohttp.ClientResponse) -> None:
    tags = response.headers.getall("X-Robots-Tag", ())
    if refusal := find_refusal(tags, response.headers.getall("tdm-reservation", ())):
        raise FetchError(Reason.OPTED_OUT, refusal, response.status)


def _name_failure(error: Exception, url: URL, rules: FetchRules) -> FetchError:
    """Returns what a library's error means."""
    said = first_line(error)
    match error:
        case TimeoutError():
            return FetchError(Reason.TIMEOUT, f"{url.host}: not done within {rules.time_s:g} s")
        case aiohttp.ClientConnectorDNSError():
            return FetchError(Reason.DNS, f"{url.host}: no address: {error.strerror}")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return FetchError(Reason.CERTIFICATE, f"{url.host}: {said}")
        case aiohttp.ClientConnectionError() | OSError():
            return FetchError(Reason.CONNECTION, f"{url.host}: {said}")
        case aiohttp.InvalidURL():
            return FetchError(Reason.BAD_URL, f"no URL: {said}")
    return FetchError(Reason.BAD_RESPONSE, f"{url.host}: {said}")
