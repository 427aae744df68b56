"""Does the work of requests in threads: so many at once, so many waiting, each for so long.

It also says who asks too often.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from laion_assets.web.clients import ClientTable

Result = TypeVar("Result")
# A page asks for its pictures at once: a client may save up what it is allowed in so many seconds.
SAVED_S = 10
# Whoever is refused is told to ask again after it.
RETRY_AFTER_S = 5
# Whoever has one IPv6 address has as many as this leaves.
IPV6_PREFIX = 64


class OverloadError(Exception):
    """There is more to do than can be done; it will pass."""


class TooManyRequestsError(OverloadError):
    """One client asks for more at once than its share."""


@dataclass(frozen=True)
class Limits:
    """How much work is taken.

    Attributes:
        running: requests that are worked on at once; one more than there are cores, as Lance's
            threads do half of it.
        waiting: requests that are worked on or wait, of all clients.
        per_client: the same of one client, which is an address.
        timeout_s: how long a request may wait and work.
        per_second: requests a second of one client; None: as many as it likes.
    """

    running: int = (os.cpu_count() or 1) + 1
    waiting: int = 256
    per_client: int = 32
    timeout_s: float = 10
    per_second: float | None = None


class RequestRate:
    """Counts the requests of each client: so many a second, and ten seconds' worth at once."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        clients: ClientTable | None = None,
    ) -> None:
        """Counts from now on.

        Args:
            per_second: requests of each client.
            clock: in seconds, the same for all processes.
            clients: shared with other processes; None: this one counts alone.
        """
        self._interval_s = 1 / per_second
        self._saved_s = max(SAVED_S, self._interval_s)
        self._clock = clock
        self._clients = clients or ClientTable.own()

    def admit(self, client: str) -> bool:
        """Returns whether a client may ask once more now, and counts that if so.

        Args:
            client: its address; of IPv6, all addresses of one network are one client.
        """
        with self._clients.lock():
            now = self._clock()
            known = self._clients.look_up(f"rate of {_name_network(client)}")
            if known is None:
                return False
            used_until = max(known.used_until, now) + self._interval_s
            if used_until > now + self._saved_s:
                return False
            self._clients.use(known, used_until)
        return True


def _name_network(client: str) -> str:
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX), strict=False))
    return client


class Workers:
    """Threads that do the work of requests. To be used from one event loop."""

    def __init__(self, limits: Limits, clients: ClientTable | None = None) -> None:
        """Starts no thread yet.

        Args:
            limits: how much work is taken, by all processes that share the clients.
            clients: shared with other processes; None: there is none.
        """
        self.limits = limits
        self.clients = clients or ClientTable.own()
        self._pool = ThreadPoolExecutor(limits.running, thread_name_prefix="page")

    @property
    def waiting_count(self) -> int:
        """Requests that are worked on or wait, in all processes."""
        return self.clients.total

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Gives a client a place for several pieces of work, one after the other.

        Raises:
            TooManyRequestsError: the client has too many places already.
            OverloadError: all clients together have.
        """
        self._enter(client)
        try:
            yield
        finally:
            self._leave(client)

    async def run(self, client: str, work: Callable[[], Result]) -> Result:
        """Returns what the work does, for which the client gets a place.

        Work that takes too long cannot be stopped, and keeps its thread until it is done. The
        client keeps no place for it: whoever asks again at once, as told, has no more requests
        than connections, and must not be refused.

        Raises:
            TooManyRequestsError: the client has too many places already.
            OverloadError: all clients together have, or the work was not done in time.
        """
        with self.place(client):
            return await self.run_placed(work)

    async def run_placed(self, work: Callable[[], Result]) -> Result:
        """Returns what the work of a client does that has a place.

        Raises:
            OverloadError: it was not done in time.
        """
        return await self._wait(self._pool.submit(work))

    def close(self) -> None:
        """Takes no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _wait(self, future: Future[Result]) -> Result:
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            future.cancel()
            raise OverloadError(
                f"no answer within {self.limits.timeout_s:g} s; ask for less, or try again"
            ) from None

    def _enter(self, client: str) -> None:
        with self.clients.lock():
            known = self.clients.look_up(client)
            if known is not None and known.waiting >= self.limits.per_client:
                raise TooManyRequestsError(
                    f"more than {self.limits.per_client} requests of yours at once; ask one by one"
                )
            if known is None or self.clients.total >= self.limits.waiting:
                raise OverloadError("too many requests at once; try again in a few seconds")
            self.clients.add(known, 1)

    def _leave(self, client: str) -> None:
        with self.clients.lock():
            # It has a place as long as it has requests.
            if known := self.clients.look_up(client):
                self.clients.add(known, -1)
