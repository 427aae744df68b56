"""Fetches the pictures that a shard does not bring, into the cache."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from laion_assets.pictures.fetching.rules import FetchRules, Mode, SizeRules
from laion_assets.schemas import UNSAFE_LABELS
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.sql import load_sql

REPORT_INTERVAL_S = 15
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
    """

    total: int
    reasons: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    told_at: float = field(default_factory=time.monotonic)

    def describe(self) -> str:
        """Says it in a sentence."""
        done, seconds = self.reasons.total(), time.monotonic() - self.started
        failures = Counter({r: n for r, n in self.reasons.items() if r != "success"})
        worst = ", ".join(f"{reason} {count:,}" for reason, count in failures.most_common(3))
        return (
            f"{done:,} of {self.total:,} URLs, {self.reasons['success']:,} pictures, "
            f"{done / max(seconds, 0.001):,.0f} a second{f'; {worst}' if worst else ''}"
        )


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
    from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures

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
        fetching = Fetching(len(missing))
        needed = estimate_fetch(len(missing), rules.sizes)
        check_space(cache.folder, needed, f"fetching {len(missing):,} pictures of shard {shard!r}")

        def keep(results: list[FetchedPicture]) -> None:
            cache.put(results)
            fetching.reasons.update(result.reason or "success" for result in results)
            if time.monotonic() > fetching.told_at + REPORT_INTERVAL_S:
                fetching.told_at = time.monotonic()
                report(fetching.describe())

        if missing:
            fetch_pictures(missing, rules, keep)
    return fetching


def estimate_fetch(url_count: int, sizes: SizeRules) -> int:
    """Returns what the pictures of so many URLs take in the cache; half of it is usual.

    No server says before how large a picture is, so this is no bound for pictures that are kept as
    they come.
    """
    pixels = ORIGINAL_PIXELS if sizes.mode is Mode.ORIGINAL else sizes.size
    return LEAST_BYTES + int(url_count * BYTES_A_PIXEL * pixels * pixels)


def find_passing(database: Database) -> dict[str, int]:
    """Returns the shards with pictures that may be had another time, and how many."""
    if not database.path.exists():
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
