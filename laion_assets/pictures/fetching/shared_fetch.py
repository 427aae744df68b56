"""Cuts a fetch into shares for several nodes, and fetches one of them on another node.

All URLs of a host are in one share, so the limits for a host hold. Those for all hosts together are
those of a machine, and hold on each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from laion_assets.errors import LaionError
from laion_assets.pictures.fetching.rules import FetchRules
from laion_assets.settings import Settings
from laion_assets.stores.picture_cache import PictureCache
from laion_assets.stores.shard_chunks import ShardChunks


def name_host(url: str) -> str:
    """Returns the host of a URL; `none` if it has none."""
    try:
        return urlsplit(url.strip()).hostname or "none"
    except ValueError:
        return "none"


def split_by_host(least: int, urls: Sequence[str], count: int) -> list[Sequence[str]]:
    """Cuts URLs into shares, in each of which they keep their order.

    Args:
        least: URLs for which a share is worth it.
        urls: what to cut.
        count: of the shares, at most.
    """
    hosts = Counter(map(name_host, urls))
    sizes = [0] * max(1, min(count, len(urls) // least, len(hosts)))
    places = {}
    for host, size in hosts.most_common():
        places[host] = min(range(len(sizes)), key=sizes.__getitem__)
        sizes[places[host]] += size
    shares: list[list[str]] = [[] for _ in sizes]
    for url in urls:
        shares[places[name_host(url)]].append(url)
    return list(shares)


def fetch_there(rules: FetchRules, chunks: ShardChunks, urls: Sequence[str]) -> None:
    """Fetches a share on another node than that of the run, into the bucket.

    Raises:
        LaionError: this node fetches for another run, and the limits hold for both together.
    """
    from filelock import Timeout

    from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures

    folder = Settings.from_environment().picture_cache_dir
    cache = PictureCache(folder, chunks.variant, chunks)
    try:
        with cache.lock_fetch().acquire(blocking=False):
            fetch_pictures(urls, rules, cache.share)
    except Timeout as error:
        raise LaionError(
            "this node fetches for another run; nothing is to be done",
            code="fetch-node-busy",
            is_passing=True,
        ) from error
