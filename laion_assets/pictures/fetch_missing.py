"""Fetches the pictures that a shard does not bring, into the cache."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from laion_assets.pictures.fetching.rules import FetchRules, Mode, SizeRules
from laion_assets.pictures.fetching.shared_fetch import fetch_there, name_host, split_by_host
from laion_assets.schemas import UNSAFE_LABELS
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.sql import load_sql

REPORT_INTERVAL_S = 15
SUCCESS = "success"
# Reasons and hosts that a sentence names.
NAMED = 3
# A JPEG of quality 90 with 256 pixels a side takes 11 to 20 kB.
BYTES_A_PIXEL = 0.35
# Such a side does a picture of the web have that is not made smaller.
ORIGINAL_PIXELS = 800

# Is told how far it is, in a sentence.
Report = Callable[[str], None]


@dataclass
class Fetching:
    """How far a fetch is.

    Attributes:
        total: URLs to ask for.
        reasons: how many were answered, by reason, `success` for a picture.
        failed_hosts: how many gave no picture, by host.
        seconds: since it began.
    """

    total: int
    reasons: Counter[str] = field(default_factory=Counter)
    failed_hosts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    started: float = field(default_factory=time.monotonic)
    told_at: float = field(default_factory=time.monotonic)

    def note(self, results: Sequence[FetchedPicture]) -> None:
        """Takes note of what came."""
        self.reasons.update(result.reason or SUCCESS for result in results)
        self.failed_hosts.update(name_host(result.url) for result in results if result.reason)
        self.seconds = time.monotonic() - self.started

    @property
    def pictures_per_second(self) -> float:
        """The pictures that came, by the seconds."""
        return self.reasons[SUCCESS] / max(self.seconds, 0.001)

    def describe(self) -> str:
        """Says it in a sentence."""
        done, seconds = self.reasons.total(), max(self.seconds, 0.001)
        share = f" ({100 * self.reasons[SUCCESS] / done:.0f} %)" if done else ""
        failures = Counter({r: n for r, n in self.reasons.items() if r != SUCCESS})
        parts = [
            f"{done:,} of {self.total:,} URLs, {self.reasons[SUCCESS]:,} pictures{share}, "
            f"{done / seconds:,.0f} a second"
        ]
        if failures:
            parts += [_name_most(failures), f"worst hosts {_name_most(self.failed_hosts)}"]
        return "; ".join(parts)


def fetch_missing(
    database: Database,
    cache: PictureCache,
    shard: str,
    rules: FetchRules,
    report: Report,
    *,
    max_punsafe: float,
    is_retry: bool = False,
) -> Fetching:
    """Asks for the pictures of the rows that have none, of which the cache knows nothing.

    Args:
        database: has the rows, and the table `pictures`.
        cache: gets the results as they come.
        shard: partition key.
        rules: how to talk to servers.
        report: is told now and then how far it is.
        max_punsafe: what is more probably unsafe is not asked for.
        is_retry: whether to ask again for what may have passed.

    Returns:
        What came of it.

    Raises:
        DiskSpaceError: the disk has no room for them; no server was asked.
    """
    # Nothing is kept of a URL that is not asked for.
    urls = [
        url
        for url in _list_urls(database, shard, max_punsafe)
        if rules.removed.match_url(url) is None
    ]
    # One process at a time: the limits for a host hold for all runs together, and what another
    # run has brought meanwhile is not asked for again.
    with cache.lock_fetch():
        missing = list(cache.find_missing(urls, is_retry=is_retry))
        # In another order each time. A host is given up after some failures in a row, and would
        # else be given up for ever where these come first.
        random.shuffle(missing)
        fetch = _Fetch(cache, rules, missing, report)
        needed = estimate_fetch(len(missing), rules.sizes)
        check_space(cache.folder, needed, f"fetching {len(missing):,} pictures of shard {shard!r}")
        fetch.run(missing)
    return fetch.fetching


class _Fetch:
    """Fetches into the cache, here and on other nodes, and says how far it is."""

    def __init__(
        self, cache: PictureCache, rules: FetchRules, urls: Sequence[str], report: Report
    ) -> None:
        self.fetching = Fetching(len(urls))
        self._cache = cache
        self._rules = rules
        self._left = set(urls)
        self._report = report

    def run(self, urls: Sequence[str]) -> None:
        """Fetches all of them."""
        least, chunks = self._rules.share_urls, self._cache.chunks
        if least is None or chunks is None or len(urls) < 2 * least:
            self._fetch_here(urls)
            return
        from laion_assets.orchestration.other_nodes import SharedWork, share_work

        work = SharedWork(
            here=self._fetch_here,
            there=partial(fetch_there, self._rules, chunks),
            split=partial(split_by_host, least),
            take=self._take,
            find_left=lambda share: [url for url in share if url in self._left],
        )
        share_work(work, urls)

    def _fetch_here(self, urls: Sequence[str]) -> None:
        from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures

        if urls:
            fetch_pictures(urls, self._rules, self._keep)

    def _keep(self, results: list[FetchedPicture]) -> None:
        self._cache.put(results)
        self._note(results)
        if time.monotonic() > self.fetching.told_at + REPORT_INTERVAL_S:
            self._take()
            self._tell()

    def _take(self) -> int:
        """Takes what other nodes have fetched; returns how much it was."""
        count = 0
        for results in self._cache.take_chunks():
            self._note(results)
            count += len(results)
        return count

    def _note(self, results: Sequence[FetchedPicture]) -> None:
        """Takes note of what came, of each URL once."""
        news = [result for result in results if result.url in self._left]
        self._left.difference_update(result.url for result in news)
        self.fetching.note(news)

    def _tell(self) -> None:
        self.fetching.told_at = time.monotonic()
        self._report(self.fetching.describe())


def _name_most(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(NAMED))


def estimate_fetch(url_count: int, sizes: SizeRules) -> int:
    """Returns what the pictures of so many URLs take in the cache; half of it is usual.

    No server says before how large a picture is, so this is no bound for pictures that are kept as
    they come.
    """
    pixels = ORIGINAL_PIXELS if sizes.mode is Mode.ORIGINAL else sizes.size
    return LEAST_BYTES + int(url_count * BYTES_A_PIXEL * pixels * pixels)


def find_passing(database: Database) -> dict[str, int]:
    """Returns the shards with pictures that may be had another time, and how many."""
    if not database.exists():
        return {}
    with database.read() as connection:
        rows = connection.execute(load_sql("pictures/select_passing_shards")).fetchall()
    return dict(rows)


def _list_urls(database: Database, shard: str, max_punsafe: float) -> Sequence[str]:
    parameters = {
        "shard": shard,
        "max_punsafe": max_punsafe,
        "unsafe_labels": list(UNSAFE_LABELS),
    }
    with database.read() as connection:
        rows = connection.execute(load_sql("pictures/select_missing_urls"), parameters).fetchall()
    return [url for (url,) in rows]
