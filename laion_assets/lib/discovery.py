"""Compares what the sources have with what is here: new shards, changed ones, and those gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from laion_assets.lib.errors import ShardError
from laion_assets.lib.raw_shard import RawShard, find_raw_shard, is_same_content
from laion_assets.lib.sources.listing import list_shards
from laion_assets.lib.sources.source import Source, SourceRules
from laion_assets.lib.sources.urls import SCHEMES, read_version

# A server that is asked for the versions of thousands of files sees so many requests at once.
REQUESTS_AT_ONCE = 16


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
    sources, problems = listing.sources, list[str]()
    if is_asking:
        sources, problems = _ask_versions(sources, rules)
    changed = [shard for shard, record in fetched.items() if _is_changed(record, sources[shard])]
    due = [shard for shard in sources if shard not in fetched or shard in changed]
    gone = sorted(set(partitions) - set(sources)) if not listing.problems else []
    return Discovery(
        new=[shard for shard in sources if shard not in partitions],
        changed=changed,
        gone=gone,
        due={shard: _name_change(sources[shard], fetched.get(shard)) for shard in due},
        problems=[*listing.problems, *problems],
        warnings=listing.warnings,
    )


def _ask_versions(
    sources: dict[str, Source], rules: SourceRules
) -> tuple[dict[str, Source], list[str]]:
    """Returns the sources with their versions, and why some are not known."""
    unknown = [
        source for source in sources.values() if source.version is None and source.scheme in SCHEMES
    ]

    def ask(source: Source) -> tuple[Source, str | None]:
        try:
            return replace(source, version=read_version(source, rules)), None
        except ShardError as error:
            return source, str(error)

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(ask, unknown))
    failures = [failure for _, failure in answers if failure]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    problems = [f"{failures[0]}{more}"] if failures else []
    return sources | {source.shard: source for source, _ in answers}, problems


def _is_changed(record: RawShard, source: Source) -> bool:
    # A source that has no word for its content cannot be told from an unchanged one.
    return (source.version or source.sha256) is not None and not is_same_content(record, source)


def _name_change(source: Source, record: RawShard | None) -> str:
    """Returns a text that only this change of this shard has, for as long as it is not done."""
    return "|".join((source.shard, source.version or "", record.fetched_at if record else ""))
