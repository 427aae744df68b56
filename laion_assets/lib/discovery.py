"""Compares what the sources have with what is here: new shards, changed ones, and those gone."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from laion_assets.lib.errors import GoneError, ShardError
from laion_assets.lib.raw_shard import RawShard, find_raw_shard, is_same_content, raw_path
from laion_assets.lib.sources.listing import list_shards
from laion_assets.lib.sources.source import Source, SourceRules
from laion_assets.lib.sources.urls import SCHEMES, read_version

# A server that is asked for the versions of thousands of files sees so many requests at once.
REQUESTS_AT_ONCE = 16
# For the answers of all servers together; a tick of a sensor may take a minute.
ASKING_S = 25


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
    """

    new: list[str]
    changed: list[str]
    gone: list[str]
    due: dict[str, str]
    problems: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class _Answers:
    """What servers said: sources with versions, and why others have none, by shard."""

    sources: dict[str, Source]
    gone: dict[str, str]
    failures: dict[str, str]


def discover(
    locations: Iterable[str],
    raw_dir: Path,
    rules: SourceRules,
    partitions: Collection[str],
    *,
    is_asking: bool = True,
) -> Discovery:
    """Lists the sources; a shard is called gone only if every location could be listed.

    Args:
        locations: as `list_shards` takes them.
        raw_dir: folder of the verified files.
        rules: how to talk to servers.
        partitions: the shards that are known.
        is_asking: whether to ask the server of each plain URL which file it has now.
    """
    listing = list_shards(locations, rules)
    known = {shard: find_raw_shard(shard, raw_dir) for shard in listing.sources}
    fetched = {shard: record for shard, record in known.items() if record}
    asked = _ask_versions(listing.sources, rules) if is_asking else _Answers({}, {}, {})
    sources = listing.sources | asked.sources
    due = [
        shard
        for shard, source in sources.items()
        if shard not in fetched or _is_changed(fetched[shard], source)
    ]
    # A linked file that was written into changes here with its source, and is `fetched` no more.
    changed = [shard for shard in due if raw_path(raw_dir, shard).exists()]
    unnamed = [] if listing.unlisted else set(partitions) - sources.keys() - listing.refused.keys()
    # A URL that was never there is a mistake; one whose file is here is gone.
    failures = {s: why for s, why in asked.gone.items() if s not in fetched} | asked.failures
    return Discovery(
        new=[shard for shard in sources if shard not in partitions],
        changed=changed,
        gone=sorted({*unnamed, *(asked.gone.keys() & fetched.keys())}),
        due={shard: _name_change(sources[shard], fetched.get(shard)) for shard in due},
        problems=[*listing.problems, *_sum_up([failures[shard] for shard in sorted(failures)])],
        warnings=listing.warnings,
    )


def _ask_versions(sources: dict[str, Source], rules: SourceRules) -> _Answers:
    """Asks the servers of plain URLs; one that is silent is not waited for long."""
    deadline = time.monotonic() + ASKING_S
    answers = _Answers({}, {}, {})

    def ask(source: Source) -> None:
        try:
            if time.monotonic() > deadline:
                raise ShardError(f"{source.name}: not asked, the others took too long")
            version = read_version(source, rules.hurried)
            answers.sources[source.shard] = replace(source, version=version)
        except GoneError as error:
            answers.gone[source.shard] = str(error)
        except ShardError as error:
            answers.failures[source.shard] = str(error)

    unknown = [s for s in sources.values() if s.version is None and s.scheme in SCHEMES]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        list(pool.map(ask, unknown))
    return answers


def _sum_up(failures: list[str]) -> list[str]:
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return [f"{failures[0]}{more}"] if failures else []


def _is_changed(record: RawShard, source: Source) -> bool:
    # A source that has no word for its content cannot be told from an unchanged one.
    return (source.version or source.sha256) is not None and not is_same_content(record, source)


def _name_change(source: Source, record: RawShard | None) -> str:
    """Returns a text that only this change of this shard has, for as long as it is not done."""
    return "|".join((source.shard, source.version or "", record.fetched_at if record else ""))
