"""Compares what the sources have with what is here: new shards, changed ones, and those gone."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from laion_assets.errors import GoneError, ShardError
from laion_assets.raw_shards.fetch import is_same_content
from laion_assets.raw_shards.sources.listing import (
    Listing,
    join_listings,
    list_shards,
    recall_listing,
)
from laion_assets.raw_shards.sources.source import Source, SourceRules, hide_secrets, split_scheme
from laion_assets.raw_shards.sources.urls import SCHEMES, read_version
from laion_assets.stores.raw_store import RawShard, RawStore

# A server that is asked for the versions of thousands of files sees so many requests at once.
REQUESTS_AT_ONCE = 16
# For the lists of all sources together where somebody waits, and for the answers of all servers.
# Together they leave some of the 20 seconds that a tick may take.
LISTING_S = 6
ASKING_S = 6


@dataclass(frozen=True)
class Discovery:
    """How the sources differ from the partitions and the raw files.

    Attributes:
        new: shards that are no partition yet.
        changed: shards of which the source has another file than was fetched.
        gone: partitions that no source has any more.
        due: shards to ingest, new and changed ones and those never fetched, each with a word for
            this very change.
        problems: what could not be listed or asked, a line each.
        warnings: what is dangerous, a line each.
        sources: the file of each shard, with its version if it was asked for.
        raws: the verified files of these shards.
        unknown: shards of which this look does not say what their source has now.
        is_whole: whether all locations were looked at.
    """

    new: list[str]
    changed: list[str]
    gone: list[str]
    due: dict[str, str]
    problems: list[str]
    warnings: list[str]
    sources: dict[str, Source] = field(default_factory=dict, compare=False)
    raws: dict[str, RawShard] = field(default_factory=dict, compare=False)
    unknown: set[str] = field(default_factory=set, compare=False)
    is_whole: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class _Answers:
    """What servers said: sources with versions, and why others have none, by shard."""

    sources: dict[str, Source]
    gone: dict[str, str]
    failures: dict[str, str]


def discover(
    locations: Iterable[str],
    store: RawStore,
    rules: SourceRules,
    partitions: Collection[str],
    *,
    is_asking: bool = True,
    is_hurried: bool = False,
    is_whole: bool = True,
) -> Discovery:
    """Lists the sources; a shard is called gone only if every location could be listed.

    Args:
        locations: as `list_shards` takes them.
        store: the verified files.
        rules: how to talk to servers.
        partitions: the shards that are known.
        is_asking: whether to ask the server of each plain URL which file it has now.
        is_hurried: whether to give up a location that takes longer than `LISTING_S` to list.
        is_whole: whether these are all locations; if not, the others may have what these lack.
    """
    listing = _list_within(locations, rules) if is_hurried else recall_listing(locations, rules)
    fetched = store.find_all(listing.sources)
    asked = _ask_versions(listing.sources, rules) if is_asking else _Answers({}, {}, {})
    sources = listing.sources | asked.sources
    due = [s for s, source in sources.items() if is_fetch_due(source, fetched.get(s))]
    # A linked file that was written into changes here with its source, and is `fetched` no more.
    changed = [shard for shard in due if store.path(shard).exists()]
    partitions = set(partitions)
    unnamed = partitions - sources.keys() - listing.refused.keys()
    is_complete = is_whole and not listing.unlisted
    # A URL that was never there is a mistake; one whose file is here is gone.
    failures = {s: why for s, why in asked.gone.items() if s not in fetched} | asked.failures
    return Discovery(
        new=[shard for shard in sources if shard not in partitions],
        changed=changed,
        gone=sorted((unnamed if is_complete else set()) | (asked.gone.keys() & fetched.keys())),
        due={shard: name_fetch(sources[shard], fetched.get(shard)) for shard in due},
        problems=[*listing.problems, *_sum_up([failures[shard] for shard in sorted(failures)])],
        warnings=listing.warnings,
        sources=sources,
        raws=fetched,
        unknown={*listing.refused, *asked.failures, *(() if is_complete else unnamed)},
        is_whole=is_whole,
    )


def _list_within(locations: Iterable[str], rules: SourceRules) -> Listing:
    """Lists the locations side by side, and goes on without one that is slow."""
    locations = list(dict.fromkeys(locations))
    far = [location for location in locations if split_scheme(location)]
    pool = ThreadPoolExecutor(max(len(far), 1))
    asked = {location: pool.submit(list_shards, [location], rules) for location in far}
    near = list_shards([location for location in locations if location not in asked], rules)
    _, late = wait(asked.values(), LISTING_S)
    # A thread cannot be stopped; it ends by the time limits of its requests.
    pool.shutdown(wait=False, cancel_futures=True)
    listing = join_listings([near, *(job.result() for job in asked.values() if job not in late)])
    listing.unlisted += [
        f"{hide_secrets(location)}: not listed within {LISTING_S} s; try again later"
        for location, job in asked.items()
        if job in late
    ]
    return listing


def _ask_versions(sources: dict[str, Source], rules: SourceRules) -> _Answers:
    """Asks the servers of plain URLs; one that is silent is not waited for long."""
    deadline = time.monotonic() + ASKING_S
    answers = _Answers({}, {}, {})
    unknown = [s for s in sources.values() if s.version is None and s.scheme in SCHEMES]
    # In another order each time: where not all can be asked, others are left out the next time.
    random.shuffle(unknown)
    pool = ThreadPoolExecutor(REQUESTS_AT_ONCE)
    jobs = {source.shard: pool.submit(_ask, source, rules.hurried) for source in unknown}
    wait(jobs.values(), max(deadline - time.monotonic(), 0))
    pool.shutdown(wait=False, cancel_futures=True)
    for source in unknown:
        job = jobs[source.shard]
        answer = job.result() if job.done() and not job.cancelled() else None
        if isinstance(answer, Source):
            answers.sources[source.shard] = answer
        elif isinstance(answer, GoneError):
            answers.gone[source.shard] = str(answer)
        else:
            late = f"{source.name}: no answer within {ASKING_S} s for all; asked again later"
            answers.failures[source.shard] = str(answer or late)
    return answers


def _ask(source: Source, rules: SourceRules) -> Source | ShardError:
    try:
        return replace(source, version=read_version(source, rules))
    except ShardError as error:
        return error


def _sum_up(failures: list[str]) -> list[str]:
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f"{failures[0]}{more}"] if failures else []


def is_fetch_due(source: Source, raw: RawShard | None) -> bool:
    """Returns whether the source has something that the raw folder lacks."""
    if raw is None:
        return True
    # A source that has no word for its content cannot be told from an unchanged one.
    return (source.version or source.sha256) is not None and not is_same_content(raw, source)


def name_fetch(source: Source, raw: RawShard | None) -> str:
    """Returns a text that only this change of this shard has, for as long as it is not done."""
    return "|".join((source.shard, source.version or "", raw.fetched_at if raw else ""))
