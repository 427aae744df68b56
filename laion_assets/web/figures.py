"""What the search page tells of itself to programs that watch it: figures, health, a log of visits.

`/metrics` is in the form of Prometheus, `/healthz` answers 200 while a release can be shown, and
the log of visits, off unless somebody wants it, is a JSON object a line. Where several processes
answer, each tells the figures of all: counts are summed, memory and time of a process have its
number as a label.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Message, Scope

from laion_assets.errors import LaionError
from laion_assets.web.clients import ClientTable
from laion_assets.web.current_release import Shelf
from laion_assets.web.limits import Workers

METRICS = "/metrics"
HEALTH = "/healthz"
# Of the environment, which has to name it before this is imported.
FIGURES_DIR = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = CONTENT_TYPE_LATEST
# Where an answer has no page: an address that is nowhere, or a request that is none.
NO_PAGE = "none"
LogVisit: TypeAlias = Callable[[Mapping[str, object]], None]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Figures:
    """Counts requests, and says which release is shown. To be used from one event loop."""

    def __init__(self, shelf: Shelf, workers: Workers) -> None:
        # Processes that share counts keep them in files of the folder `FIGURES_DIR`.
        counting = CollectorRegistry()
        is_shared = workers.clients.is_shared
        self._registry = CollectorRegistry() if is_shared else counting
        self._requests = Counter(
            "laion_requests",
            "Requests that were answered.",
            ("page", "status"),
            registry=counting,
        )
        self._seconds = Histogram(
            "laion_request_seconds",
            "From a request to the end of its answer.",
            ("page",),
            buckets=SECONDS,
            registry=counting,
        )
        self._kept = Counter("laion_kept_pages", "Pages that were still there.", registry=counting)
        self._registry.register(_Release(shelf))
        self._registry.register(_Load(workers))
        if is_shared:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
            self._registry.register(_Processes(workers.clients))
        else:
            ProcessCollector(registry=self._registry)

    def count(self, page: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(page, status).inc()
        self._seconds.labels(page).observe(seconds)

    def count_kept(self) -> None:
        """Counts a page that was not built again."""
        self._kept.inc()

    def write(self) -> bytes:
        """Returns all figures as Prometheus reads them."""
        return generate_latest(self._registry)


class _Release(Collector):
    """The release that is shown; nothing before there is one."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def collect(self) -> Iterator[Metric]:
        try:
            release = self._shelf.current
        except LaionError:
            return
        manifest = release.manifest
        named = GaugeMetricFamily(
            "laion_release", "The release that is shown.", labels=("release", "content_sha256")
        )
        named.add_metric((manifest.release, manifest.content_sha256), 1)
        yield named
        yield GaugeMetricFamily("laion_release_images", "Its images.", release.image_count)
        yield GaugeMetricFamily("laion_release_shards", "Its shards.", len(manifest.shards))


class _Load(Collector):
    """How much work there is."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "laion_requests_waiting",
            "Requests that are worked on or wait.",
            self._workers.waiting_count,
        )


class _Processes(Collector):
    """What each process takes of the machine."""

    def __init__(self, clients: ClientTable) -> None:
        self._clients = clients

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, process_id in enumerate(self._clients.process_ids):
            if not process_id:
                continue
            for metric in ProcessCollector(pid=partial(int, process_id), registry=None).collect():
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    family.add_sample(sample.name, {"worker": str(number)}, sample.value)
        yield from families.values()


def check_health(shelf: Shelf) -> dict[str, str | int]:
    """Returns which release is shown.

    Raises:
        LaionError: none can be.
    """
    release = shelf.current
    return {
        "status": "ok",
        "release": release.manifest.release,
        "images": release.image_count,
    }


class Watch:
    """Times one answer, as its messages go out."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._started = time.perf_counter()
        self._status = 0
        self._sent_bytes = 0

    def note(self, message: Message) -> None:
        """Looks at a message of the answer."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        self._sent_bytes += len(message.get("body", b""))

    def count(self, figures: Figures, log: LogVisit | None) -> None:
        """Counts the answer, and writes it into the log."""
        seconds = time.perf_counter() - self._started
        route = self._scope.get("route")
        page = getattr(route, "name", None) or NO_PAGE
        figures.count(page, self._status, seconds)
        if log is None:
            return
        client = self._scope.get("client")
        headers = dict(self._scope["headers"])
        log(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "client": client[0] if client else "",
                "method": self._scope["method"],
                "path": self._scope["raw_path"].decode("latin-1"),
                "query": self._scope["query_string"].decode("latin-1"),
                "status": self._status,
                "ms": round(seconds * 1000, 1),
                "bytes": self._sent_bytes,
                "page": page,
                "agent": headers.get(b"user-agent", b"").decode("latin-1"),
            }
        )


def write_visit(visit: Mapping[str, object]) -> None:
    """Prints a line of the log of visits."""
    print(json.dumps(visit), flush=True)
