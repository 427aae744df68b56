"""A server of pictures on loopback that answers byte for byte as a test wants, however badly."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import AddressFamily

from aiohttp.abc import AbstractResolver, ResolveResult

# Of this machine, but not the address that is refused as its own.
ADDRESS = "127.0.0.2"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class PictureServer:
    """The server of a test.

    Attributes:
        answers: what to send, by path, or by host and path; a missing path gets 404.
        asked: the requests, as `<host><path>`, in the order they came.
        heads: the whole head of each request.
        at_once: the largest number of requests at the same time, by host.
    """

    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    port: int = 0
    _now: Counter[str] = field(default_factory=Counter)

    def url(self, path: str, host: str = "a.test") -> str:
        """Returns the address of a path."""
        return f"http://{host}:{self.port}{path}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        try:
            await self._answer_all(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            path = lines[0].split(" ")[1]
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            host = fields["host"].rpartition(":")[0]
            self.asked.append(f"{host}{path}")
            self.heads.append(head)
            self._now[host] += 1
            self.at_once[host] = max(self.at_once[host], self._now[host])
            try:
                await self._find(host, path)(writer)
                await writer.drain()
            finally:
                self._now[host] -= 1
            if fields.get("connection") == "close":
                writer.close()
                await writer.wait_closed()
                return

    def _find(self, host: str, path: str) -> Answer:
        answer = self.answers.get(f"{host}{path}", self.answers.get(path, status(404)))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


class Names(AbstractResolver):
    """Stands for DNS: knows the addresses of some hosts, and has the others at the server's."""

    def __init__(self, known: Mapping[str, str | OSError] | None = None) -> None:
        self._known = dict(known or {})

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """Returns the address of a host."""
        address = self._known.get(host, ADDRESS)
        if isinstance(address, OSError):
            raise address
        family = AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Has nothing to close."""


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    """Returns an answer with a status, headers as `Name: value`, and a body."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} Word", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + body)

    return answer


def picture(data: bytes, *headers: str) -> Answer:
    """Returns an answer with a picture."""
    return status(200, "Content-Type: image/jpeg", *headers, body=data)


def send(*pieces: bytes, pause_s: float = 0, then_wait: bool = False) -> Answer:
    """Returns an answer of raw bytes, with a pause after each piece."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if then_wait:
            await asyncio.sleep(3600)
        writer.close()

    return answer


@contextmanager
def serve_pictures(address: str = ADDRESS) -> Iterator[PictureServer]:
    """Runs a server until the block is left."""
    server = PictureServer()
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        listening = await asyncio.start_server(server.handle, address, 0)
        server.port = listening.sockets[0].getsockname()[1]
        started.set()
        await ended.wait()
        listening.close()
        open_ones = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
