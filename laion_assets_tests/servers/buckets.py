"""Buckets at moto's server in this process; and at one that overwrites what should be kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
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
    def log(self, type: str, message: str, *args: Any) -> None:
        """Keeps quiet."""


class Buckets:
    """A service with buckets."""

    def __init__(self, endpoint: str, faults: list[int]) -> None:
        self.endpoint = endpoint
        self._faults = faults
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

    def fail(self, count: int) -> None:
        """Answers the next requests with 503, as a store does that has too much to do."""
        self._faults.extend([503] * count)

    @property
    def failures_left(self) -> int:
        """How many of them are to come."""
        return len(self._faults)

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


def _fail_at_first(application: Answer, faults: list[int]) -> Answer:
    """Answers so many requests with these statuses."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not faults:
            return application(environ, start_response)
        # What was sent is read, else the client sees a connection that was cut.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{faults.pop()} Slow Down", [("Content-Length", "0")])
        return []

    return answer


@contextmanager
def run_buckets(*, is_safe: bool = True) -> Iterator[Buckets]:
    """Runs a service until the block is left.

    Args:
        is_safe: whether it keeps an object that a PUT with `If-None-Match: *` meets.
    """
    application: Any = DomainDispatcherApplication(create_backend_app)
    if not is_safe:
        application = _overwrite(application)
    faults: list[int] = []
    application = _fail_at_first(application, faults)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Buckets(f"http://127.0.0.1:{server.server_port}", faults)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
