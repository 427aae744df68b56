"""Buckets at moto's server in this process; and at one that overwrites what should be kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "dummy-id",
    "AWS_SECRET_ACCESS_KEY": "dummy-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nobody asks Amazon who we are.
    "AWS_EC2_METADATA_DISABLED": "true",
}
Answer = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _QuietHandler(WSGIRequestHandler):
    # Head and body are sent apart, and the second would wait 40 ms for an answer to the first.
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Keeps quiet."""


class Gate:
    """Keeps one request waiting, so that its sender can be killed before it is answered."""

    def __init__(self, part: str, sender: str) -> None:
        self._part, self._sender = part, sender
        self.reached = threading.Event()
        self._opened = threading.Event()

    def stops(self, environ: dict[str, Any]) -> bool:
        """Keeps a PUT of an object with this part in its name; returns whether it was one."""
        if environ["REQUEST_METHOD"] != "PUT" or self._part not in environ["PATH_INFO"]:
            return False
        if self._sender not in environ.get("HTTP_AUTHORIZATION", ""):
            return False
        self.reached.set()
        self._opened.wait()
        return True

    def open(self) -> None:
        """Refuses the request that waits."""
        self._opened.set()


@dataclass(frozen=True)
class Traffic:
    """What a service was asked.

    Attributes:
        requests: how often.
        sent_bytes: of the bodies that came with the requests.
        received_bytes: of the bodies of the answers.
    """

    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.sent_bytes - before.sent_bytes,
            self.received_bytes - before.received_bytes,
        )

    def describe(self) -> str:
        """Returns the requests, and the kilobytes both ways."""
        sent_kb, received_kb = self.sent_bytes / 1000, self.received_bytes / 1000
        return f"{self.requests:,} ({sent_kb:,.0f} kB sent, {received_kb:,.0f} kB received)"


class _Meter:
    """Counts what passes."""

    def __init__(self, application: Answer) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.traffic = Traffic()
        self.requests: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sent = int(environ.get("CONTENT_LENGTH") or 0)
        answer = list(self._application(environ, start_response))
        received = sum(map(len, answer)) if environ["REQUEST_METHOD"] != "HEAD" else 0
        with self._lock:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            before = self.traffic
            self.traffic = Traffic(
                before.requests + 1, before.sent_bytes + sent, before.received_bytes + received
            )
        return answer


class Buckets:
    """A service with buckets."""

    def __init__(
        self,
        endpoint: str,
        faults: list[int],
        gates: list[Gate],
        outage: threading.Event,
        meter: _Meter,
    ) -> None:
        self.endpoint = endpoint
        self._meter = meter
        self._faults = faults
        self._gates = gates
        self._outage = outage
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use them."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def create(self) -> str:
        """Makes an empty bucket; returns a place in it."""
        name = f"laion-{uuid4().hex[:12]}"
        self._client.create_bucket(Bucket=name)
        return f"s3://{name}/some/place"

    def upload(self, folder: Path, place: str) -> None:
        """Writes the files of a folder as objects below a place."""
        _, _, bucket, prefix = place.split("/", 3)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            self._client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def download(self, place: str, folder: Path) -> None:
        """Writes all objects in the bucket of a place as files, below a folder."""
        for name in self.list_names(place):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(place.split("/")[2], name, str(path))

    def read_traffic(self) -> Traffic:
        """Returns what was asked so far."""
        return self._meter.traffic

    def fail(self, count: int) -> None:
        """Answers the next requests with 503, as a store does that has too much to do."""
        self._faults.extend([503] * count)

    @contextmanager
    def fail_all(self) -> Iterator[None]:
        """Answers every request with 503, until the block is left."""
        self._outage.set()
        try:
            yield
        finally:
            self._outage.clear()

    @property
    def failures_left(self) -> int:
        """How many of them are to come."""
        return len(self._faults)

    @contextmanager
    def stop(self, part: str, sender: str = "") -> Iterator[Gate]:
        """Lets no PUT of an object with this part in its name pass, until the block is left.

        Args:
            part: of the name.
            sender: part of the id of its access key; by default it is stopped whoever sends it.
        """
        gate = Gate(part, sender)
        self._gates.append(gate)
        try:
            yield gate
        finally:
            self._gates.remove(gate)
            gate.open()

    def list_names(self, place: str) -> list[str]:
        """Returns the names of all objects in the bucket of a place."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=place.split("/")[2])
        return [found["Key"] for page in pages for found in page.get("Contents", ())]


def _overwrite(application: Answer) -> Answer:
    """Answers as a store does that knows nothing of conditions."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return application(environ, start_response)

    return answer


def _fail_at_first(
    application: Answer, faults: list[int], gates: list[Gate], outage: threading.Event
) -> Answer:
    """Answers so many requests with these statuses, and those at a gate not before it opens.

    In an outage it answers none.
    """

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_stopped = any(gate.stops(environ) for gate in list(gates))
        is_out = outage.is_set()
        if not faults and not is_stopped and not is_out:
            return application(environ, start_response)
        # What was sent is read, else the client sees a connection that was cut.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = 503 if is_stopped or is_out else faults.pop()
        start_response(f"{status} Slow Down", [("Content-Length", "0")])
        return []

    return answer


@contextmanager
def run_buckets(*, is_safe: bool = True) -> Iterator[Buckets]:
    """Runs a service until the block is left.

    Args:
        is_safe: whether it keeps an object that a PUT with `If-None-Match: *` meets.
    """
    # All of moto's services together would look for each request which one it is for.
    application: Any = create_backend_app("s3")
    if not is_safe:
        application = _overwrite(application)
    faults: list[int] = []
    gates: list[Gate] = []
    outage = threading.Event()
    meter = _Meter(_fail_at_first(application, faults, gates, outage))
    server = make_server("127.0.0.1", 0, meter, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Buckets(f"http://127.0.0.1:{server.server_port}", faults, gates, outage, meter)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
