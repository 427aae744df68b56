"""Reads HTTP requests with uvicorn's parser, and refuses those that are larger than any of ours.

uvicorn has no limit of its own: a header that never ends would fill the memory, and joining its
pieces would take all the time of the server. It does not close connections that never ask for
anything, either, and answers nobody once there are too many connections, without saying when to
ask again.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from laion_assets.web import clip_retrieval, uploads
from laion_assets.web.limits import RETRY_AFTER_S
from laion_assets.web.params import JSON

# Bytes are counted in pieces, so a request can exceed a limit by the two pieces at its ends.
PIECE_BYTES = 16 * 2**10
# Addresses of 64 KiB are beyond what the parser can hold; 2,000 emoji are 24 KB in an address.
MAX_HEAD_BYTES = 32 * 2**10
MAX_HEADERS = 100
# No other page reads a body.
MAX_BODY_BYTES = 64 * 2**10
MAX_BODIES = {
    ("POST", uploads.PATH): uploads.MAX_DROPPED_BYTES,
    ("POST", clip_retrieval.KNN): uploads.MAX_DROPPED_BYTES,
}


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request has too large a head or body, or that asks for nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Bytes in the pieces since the one in which the head or the body began.
        self._received_bytes = 0
        self._is_in_body = False
        self._max_body_bytes = MAX_BODY_BYTES
        # When it was last given something to do: it came, or its request did.
        self._busy_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for a request, but not for ever; another connection may have to go for this one."""
        super().connection_made(transport)
        self._busy_at = self.loop.time()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._close_idle()

    def _close_idle(self) -> None:
        """Closes the connection that asks for nothing for the longest time."""
        idle = [
            other
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other is not self and other._is_idle()
        ]
        if idle:
            longest = min(idle, key=lambda other: other._busy_at)
            longest.transport.close()
            # Not only when the loop has closed it: the new one may ask before.
            self.connections.discard(longest)

    def _is_idle(self) -> bool:
        # Whoever is slow to write a request is idle, too: that may be on purpose.
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return not is_answering and not self.transport.is_closing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        is_refused = app is service_unavailable
        super()._start_asgi_task(cycle, _refuse_connection if is_refused else app)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived, piece by piece."""
        for start in range(0, len(data), PIECE_BYTES):
            if self.transport.is_closing():
                return
            self._receive(data[start : start + PIECE_BYTES])

    def _receive(self, piece: bytes) -> None:
        self._received_bytes += len(piece)
        super().data_received(piece)
        if self._is_in_body and self._received_bytes > self._max_body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self._is_in_body and self._received_bytes > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Counts the bytes of a request from its first one."""
        super().on_message_begin()
        self._received_bytes = 0
        self._busy_at = self.loop.time()

    def on_headers_complete(self) -> None:
        """Counts the bytes of a body from its first one."""
        if len(self.headers) > MAX_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            raise ValueError(f"more than {MAX_HEADERS} headers")
        super().on_headers_complete()
        path = self.scope["path"].removesuffix(JSON)
        self._max_body_bytes = MAX_BODIES.get((self.scope["method"], path), MAX_BODY_BYTES)
        self._received_bytes = 0
        self._is_in_body = True

    def on_message_complete(self) -> None:
        """Counts what follows a request as the head of the next."""
        super().on_message_complete()
        self._received_bytes = 0
        self._is_in_body = False

    def send_400_response(self, msg: str) -> None:
        """Explains what the parser refused, unless the request has been answered."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answers where no other answer is due, and closes the connection."""
        if self.transport.is_closing():
            return
        if self._is_answer_due():
            self.transport.write(
                STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
        if self._is_in_body:
            # Its page, if it is still being built, has nobody to answer.
            self.cycle.disconnected = True
        self.transport.close()

    def _is_answer_due(self) -> bool:
        """Returns whether the next answer on this connection is that of the current request."""
        if self._is_in_body:
            return not self.pipeline and not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as uvicorn does when there are too many connections, and says when to ask again."""

    async def send_later(message: Message) -> None:
        if message["type"] == "http.response.start":
            later = (b"retry-after", str(RETRY_AFTER_S).encode())
            message = {**message, "headers": [*message["headers"], later]}
        await send(message)

    await service_unavailable(scope, receive, send_later)  # type: ignore[arg-type]
