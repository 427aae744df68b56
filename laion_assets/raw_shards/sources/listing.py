"""Finds the parquet files and Lance fragments that `LAION_SHARDS` names, wherever they are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from urllib.parse import unquote

from laion_assets.errors import GoneError, LaionError, ShardError
from laion_assets.raw_shards.sources.bucket import list_bucket
from laion_assets.raw_shards.sources.files import describe_file, list_files
from laion_assets.raw_shards.sources.hub import list_hub
from laion_assets.raw_shards.sources.lance_dataset import check_place, is_dataset, list_fragments
from laion_assets.raw_shards.sources.source import (
    Source,
    SourceRules,
    describe_each,
    hide_secrets,
    split_scheme,
)
from laion_assets.raw_shards.sources.urls import SCHEMES, describe_url, warn_of_plain_http

MAX_EXPANDED = 100_000
# For how long the runs of one command believe a list.
HELD_S = 60
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE)


@dataclass
class Listing:
    """What the locations name.

    Attributes:
        sources: the file of each shard, by shard, in the order of their names.
        refused: why a shard cannot be told, by shard: two files would make it.
        unlisted: why a location cannot be listed, a line each.
        unlisted_code: the code of the first of these errors.
        misnamed: why a file cannot be a shard, a line each.
        warnings: what is dangerous, a line each.
        are_all_gone: whether every location that cannot be listed is a file that is not there.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    unlisted_code: str = ""
    misnamed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    are_all_gone: bool = True

    @property
    def problems(self) -> list[str]:
        """All that somebody has to see to, a line each."""
        return [*self.unlisted, *self.misnamed, *self.refused.values()]


def list_shards(
    locations: Iterable[str], rules: SourceRules | None = None, only: str | None = None
) -> Listing:
    """Lists all locations; one that cannot be listed does not hide the others.

    A location is a path or a glob, on this machine, in a bucket or on the Hub, or a URL, in which
    `{00000..00006}` stands for the numbers of a range. No server is asked for a plain URL.

    Args:
        locations: as `LAION_SHARDS` has them.
        rules: how to talk to servers.
        only: the one shard that is wanted; then other files may be left out.
    """
    rules = rules or SourceRules()
    listing = Listing()
    for location in locations:
        if warning := warn_of_plain_http(location):
            listing.warnings.append(warning)
        try:
            found = list(_list_location(location, rules, only))
            for source in found:
                _add(listing, source)
            if not found and only is None:
                name = hide_secrets(location)
                listing.warnings.append(
                    f"{name}: matches no file; put one there or set LAION_SHARDS"
                )
        except LaionError as error:
            listing.unlisted.append(str(error))
            listing.unlisted_code = listing.unlisted_code or error.code
            listing.are_all_gone &= isinstance(error, GoneError)
    for shard in listing.refused:
        del listing.sources[shard]
    listing.sources = dict(sorted(listing.sources.items()))
    return listing


def join_listings(listings: Iterable[Listing]) -> Listing:
    """Returns what several lists name together, as if their locations were listed at once."""
    joined = Listing()
    for listing in listings:
        joined.refused |= listing.refused
        joined.unlisted += listing.unlisted
        joined.unlisted_code = joined.unlisted_code or listing.unlisted_code
        joined.misnamed += listing.misnamed
        joined.warnings += listing.warnings
        joined.are_all_gone &= listing.are_all_gone
        for source in listing.sources.values():
            _add(joined, source)
    for shard in joined.refused:
        joined.sources.pop(shard, None)
    joined.sources = dict(sorted(joined.sources.items()))
    return joined


@dataclass
class _Held:
    """A list that the runs of one command share."""

    key: tuple[tuple[str, ...], SourceRules]
    listing: Listing
    listed_at: float


_holds: list[_Held | None] = []


@contextmanager
def hold_listing() -> Iterator[None]:
    """Lists the sources once for all that is done in the block, and again after `HELD_S`.

    Without it each of 8,000 runs of a command lists 8,000 files.
    """
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()


def recall_listing(locations: Iterable[str], rules: SourceRules | None = None) -> Listing:
    """Returns what the locations name, as it was listed before within `hold_listing`."""
    key = (tuple(locations), rules or SourceRules())
    if not _holds:
        return list_shards(*key)
    held = _holds[-1]
    if held is None or held.key != key or time.monotonic() > held.listed_at + HELD_S:
        held = _Held(key, list_shards(*key), time.monotonic())
        _holds[-1] = held
    return held.listing


def find_shard(
    locations: Iterable[str], shard: str, rules: SourceRules | None = None
) -> Source | None:
    """Returns the file of one shard; None if all locations were listed, and none has it.

    Raises:
        ShardError: two files would make the shard, or a location that may have it is not listed.
    """
    locations = tuple(locations)
    # A run of its own looks for the files of its shard alone.
    listing = recall_listing(locations, rules) if _holds else list_shards(locations, rules, shard)
    datasets = [] if _holds else [location for location in locations if is_dataset(location)]
    if datasets and shard not in {*listing.sources, *listing.refused}:
        # Only whoever opens a dataset knows whether it is a release, which has shards of any name.
        opened = list_shards(datasets, rules)
        listing.unlisted = [line for line in listing.unlisted if line not in opened.unlisted]
        listing = join_listings([listing, opened])
    held = listing.sources.get(shard)
    if _holds and held and held.is_file_here:
        # What the list says of a file on this machine is checked for the price of one look.
        if Path(held.place).exists():
            return replace(describe_file(Path(held.place)), shard=shard)
        listing = list_shards(locations, rules, shard)
    if shard in listing.refused:
        raise ShardError(listing.refused[shard], code="shard-refused")
    if shard not in listing.sources and listing.unlisted:
        error_type = GoneError if listing.are_all_gone else ShardError
        raise error_type(listing.unlisted[0], code=listing.unlisted_code)
    return listing.sources.get(shard)


def expand_ranges(url: str) -> Iterator[str]:
    """Yields the URL with every number of its ranges, each as long as the first of its range.

    Raises:
        ShardError: a range ends before it begins, or there are too many numbers.
    """
    ranges = [(match[1], match[2]) for match in _RANGE.finditer(url)]
    name = hide_secrets(url)
    if any(int(last) < int(first) for first, last in ranges):
        raise ShardError(
            f"{name}: a range ends before it begins; correct LAION_SHARDS", code="range-reversed"
        )
    if prod(int(last) - int(first) + 1 for first, last in ranges) > MAX_EXPANDED:
        raise ShardError(
            f"{name}: over {MAX_EXPANDED:,} files; make the range shorter", code="range-too-long"
        )
    numbers = [
        [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        for first, last in ranges
    ]
    pieces = _RANGE.split(url)[::3]
    for chosen in product(*numbers):
        yield "".join(a + b for a, b in zip(pieces, [*chosen, ""], strict=True))


def check_scheme(location: str) -> None:
    """Checks that a location is a path or a URL of a kind that is read here.

    Raises:
        ShardError: nothing reads URLs of this kind.
    """
    if is_dataset(location):
        check_place(location)
    elif split_scheme(location) not in ("", *SCHEMES, "hf", "s3"):
        raise ShardError(
            f"{hide_secrets(location)}: unknown scheme; use a path, https://, hf:// or s3://",
            code="scheme-unknown",
        )


def _list_location(
    location: str, rules: SourceRules, only: str | None
) -> Iterator[Source | ShardError]:
    if is_dataset(location):
        yield from list_fragments(location, rules, only)
        return
    check_scheme(location)
    scheme = split_scheme(location)
    if not scheme:
        yield from list_files(location, only)
        return
    url, sha256 = _split_checksum(location)
    urls = list(expand_ranges(url))
    if only is not None and scheme in SCHEMES and len(urls) > 1:
        urls = [one for one in urls if only in unquote(one)]
    if scheme in SCHEMES:
        found = list(describe_each(urls, partial(describe_url, sha256=sha256)))
    elif scheme == "hf":
        found = [source for one in urls for source in list_hub(one, rules)]
    else:
        found = [source for one in urls for source in list_bucket(one, rules)]
    yield from _promise(found, sha256)


def _split_checksum(location: str) -> tuple[str, str | None]:
    """Splits `#sha256=…` off; for a web server any other fragment has no meaning, and goes."""
    url, _, fragment = location.partition("#")
    if split_scheme(location) not in SCHEMES and not fragment.lower().startswith("sha256="):
        return location, None
    checksum = _CHECKSUM.fullmatch(fragment)
    if fragment.lower().startswith("sha256=") and not checksum:
        raise ShardError(
            f"{hide_secrets(url)}: {fragment} is not a SHA-256 of 64 hexadecimal digits; "
            "correct it",
            code="checksum-invalid",
        )
    return url, checksum[1].lower() if checksum else None


def _promise(found: list[Source | ShardError], sha256: str | None) -> Iterator[Source | ShardError]:
    if sha256 and len(found) > 1:
        raise ShardError(
            f"#sha256={sha256}: matches {len(found)} files; give each its own",
            code="checksum-of-several-files",
        )
    for source in found:
        if sha256 and isinstance(source, Source):
            source = replace(source, sha256=sha256)  # noqa: PLW2901 - the same file, promised
        yield source


def _add(listing: Listing, source: Source | ShardError) -> None:
    if isinstance(source, ShardError):
        listing.misnamed.append(str(source))
        return
    other = listing.sources.setdefault(source.shard, source)
    if other.place != source.place and other.name == source.name:
        listing.refused[source.shard] = (
            f"shard {source.shard!r} comes from two URLs of {source.name}; "
            "leave one out of LAION_SHARDS"
        )
    elif other.place != source.place:
        listing.refused[source.shard] = (
            f"shard {source.shard!r} comes from both {other.name} and {source.name}; "
            "rename one of the files or leave it out of LAION_SHARDS"
        )
