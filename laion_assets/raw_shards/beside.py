"""Brings a file that lies beside a shard's parquet file at its source, such as its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from laion_assets.errors import ShardError
from laion_assets.raw_shards.sources.bucket import download_object, find_object
from laion_assets.raw_shards.sources.download import download_url
from laion_assets.raw_shards.sources.files import resolve_file
from laion_assets.raw_shards.sources.source import Report, Source, SourceRules
from laion_assets.raw_shards.sources.urls import SCHEMES
from laion_assets.stores.raw_store import RawStore, hash_file

# Raises a ShardError if what came from a place is another thing.
Check = Callable[[Source, Path], None]


def check_nothing(_place: Source, _path: Path) -> None:
    """A check for who takes whatever comes."""


@dataclass(frozen=True)
class Beside:
    """A file that was put in place.

    Attributes:
        sha256: of its content, in hexadecimal.
        version: what the source calls this content; None if it has no word for it.
    """

    sha256: str
    version: str | None


@dataclass(frozen=True)
class Target:
    """Where such a file is put.

    Attributes:
        folder: for links and downloads on their way.
        path: where it is then.
        version: that of the file before.
    """

    folder: RawStore
    path: Path
    version: str | None

    @property
    def known(self) -> str | None:
        """The version of the file that is there; None if there is none."""
        return self.version if self.path.exists() else None


def bring_beside(
    places: Iterable[Source],
    target: Target,
    rules: SourceRules,
    report: Report,
    check: Check = check_nothing,
) -> Beside | None:
    """Puts the file of the first place that has one in place.

    Args:
        places: paths and URLs.
        target: where it is put.
        rules: how to talk to servers.
        report: is told how far a download has come.
        check: looks at what a server sent.

    Returns:
        What was put in place; None if it is there already, or no place has one.

    Raises:
        ShardError: it cannot be had now; it may be possible later.
        OSError: it cannot be written.
    """
    for place in places:
        if place.scheme in SCHEMES:
            try:
                return _download(place, target, rules, report, check)
            except ShardError as error:
                # Most servers say that there is none; some say that nobody may know.
                if error.is_passing:
                    raise
        elif place.scheme == "s3":
            if (found := find_object(place, rules)) is not None:
                return _bring_object(found, target, rules, report, check)
        elif not place.scheme and Path(place.place).is_file():
            return _link(place, target)
    return None


def _link(place: Source, target: Target) -> Beside | None:
    status = Path(place.place).stat()
    version = f"{place.name}|{status.st_size}-{status.st_mtime_ns}"
    if version == target.known:
        return None
    target.path.parent.mkdir(exist_ok=True)
    with target.folder.link(place.shard, resolve_file(place)) as linked:
        return _install(linked, target, version)


def _download(
    place: Source, target: Target, rules: SourceRules, report: Report, check: Check
) -> Beside | None:
    target.path.parent.mkdir(exist_ok=True)
    part = target.folder.part(place.shard)
    answer = download_url(place, part, rules, target.known, report)
    if answer is None:
        return None
    try:
        check(place, part.path)
        return _install(part.path, target, answer.version)
    finally:
        part.remove()


def _bring_object(
    found: Source, target: Target, rules: SourceRules, report: Report, check: Check
) -> Beside | None:
    # Two places may hold objects of one size and time.
    version = f"{found.name}|{found.version}"
    if version == target.known:
        return None
    target.path.parent.mkdir(exist_ok=True)
    part = target.folder.part(found.shard)
    download_object(found, part, rules, report)
    try:
        check(found, part.path)
        return _install(part.path, target, version)
    finally:
        part.remove()


def _install(path: Path, target: Target, version: str | None) -> Beside:
    sha256 = hash_file(path)
    path.replace(target.path)
    return Beside(sha256, version)
