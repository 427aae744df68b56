"""What is known of a shard before its file is here, and what its name may be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit

from laion_assets.errors import ShardError

SUFFIX = ".parquet"
# Of a file system's 255, some are for the names of temporary files and records.
MAX_NAME_BYTES = 220

Thing = TypeVar("Thing")
# How long to wait for a server at most, where others wait too.
HURRY_S = 10
HUB_ENDPOINT = "https://huggingface.co"

# Says how many bytes of a file have come, and how many there are if that is known.
Report = Callable[[int, int | None], None]


def tell_nobody(_done_bytes: int, _total_bytes: int | None) -> None:
    """A report for who does not want one."""


@dataclass(frozen=True)
class Source:
    """One parquet file, or one shard in a Lance dataset, somewhere.

    Attributes:
        shard: partition key.
        place: absolute path, or URL to open.
        name: the place without what is nobody's business, to be shown and recorded.
        version: another one means another content; None if it has to be asked for, or cannot be.
        sha256: of the content, where somebody promised it.
        fragment: the number of the fragment, where the place is a Lance dataset.
        is_released: whether the place is a release that was published, which has the shard under
            its own name.
    """

    shard: str
    place: str
    name: str
    version: str | None = None
    sha256: str | None = None
    fragment: int | None = None
    is_released: bool = False

    @property
    def is_file_here(self) -> bool:
        """Whether it is a parquet file on this machine, which can be linked."""
        return not self.scheme and not self.is_in_dataset

    @property
    def is_in_dataset(self) -> bool:
        """Whether the place is a Lance dataset."""
        return self.is_released or self.fragment is not None

    @property
    def scheme(self) -> str:
        """The scheme of the URL in lower case, '' for a path."""
        return split_scheme(self.place)


@dataclass(frozen=True)
class SourceRules:
    """How to talk to servers.

    Attributes:
        hub_endpoint: where the Hugging Face Hub is.
        hub_token: proves who asks, to the Hub alone.
        bucket_endpoint: where buckets are; None: Amazon's.
        is_anonymous: whether buckets are asked without credentials.
        timeout_s: silence of a server at most.
        attempts: how often in a row to try without getting further.
        backoff_s: pause before the second attempt; it doubles with each.
        is_bringing_archives: whether the archives of pictures beside the files are wanted.
        is_bringing_vectors: whether the files of vectors beside the files are wanted.
    """

    hub_endpoint: str = HUB_ENDPOINT
    hub_token: str | None = field(default=None, repr=False)
    bucket_endpoint: str | None = None
    is_anonymous: bool = False
    timeout_s: float = 30
    attempts: int = 5
    backoff_s: float = 1
    is_bringing_archives: bool = True
    is_bringing_vectors: bool = True

    @property
    def hurried(self) -> SourceRules:
        """The same for who cannot wait, as a tick of a sensor, which may take a minute."""
        return replace(self, attempts=1, timeout_s=min(self.timeout_s, HURRY_S))


def split_scheme(location: str) -> str:
    """Returns the scheme of a URL in lower case, '' for a path."""
    scheme, separator, _ = location.partition("://")
    return scheme.lower() if separator and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme) else ""


def hide_secrets(url: str) -> str:
    """Returns a URL without user, query and fragment, which may hold passwords and signatures.

    A path is returned as it is.
    """
    if not split_scheme(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def shard_of(file_name: str, place: str) -> str:
    """Returns the partition key of a file: its name without the suffix.

    Raises:
        ShardError: the name cannot be one of a partition and of a file of ours.
    """
    shard = file_name[: -len(SUFFIX)]
    if not shard or not file_name.lower().endswith(SUFFIX):
        raise ShardError(
            f"{place}: a shard's file name ends in {SUFFIX}; correct LAION_SHARDS",
            code="shard-name-without-suffix",
        )
    if "..." in shard or not shard.isprintable():
        raise ShardError(
            f"{place!r}: a shard's name has no ... or control characters; rename the file",
            code="shard-name-control-character",
        )
    if shard in {".", ".."}:
        raise ShardError(
            f"{place}: a shard cannot be named {shard}; rename the file", code="shard-name-reserved"
        )
    if "/" in shard:
        raise ShardError(
            f"{place}: a shard's name has no slash; rename the file", code="shard-name-with-slash"
        )
    if len(os.fsencode(file_name)) > MAX_NAME_BYTES:
        raise ShardError(
            f"{place}: the name is longer than {MAX_NAME_BYTES} bytes; shorten it",
            code="shard-name-too-long",
        )
    return shard


def describe_each(
    things: Iterable[Thing], describe: Callable[[Thing], Source]
) -> Iterator[Source | ShardError]:
    """Yields the source of each thing that was listed, or why it cannot be a shard."""
    for thing in things:
        try:
            yield describe(thing)
        except ShardError as error:
            yield error


def is_a_folder(place: str) -> ShardError:
    """Returns the error about a folder, which Spark also writes with the suffix of a file."""
    return ShardError(
        f"{place}: is a folder; write {place}/*{SUFFIX} in LAION_SHARDS",
        code="location-is-a-folder",
    )


def name_folders(place: str, folders: Iterable[str], files: Iterable[str]) -> list[ShardError]:
    """Returns the errors about folders that are named as a file and have none of the files.

    Args:
        place: what goes before the paths.
        folders: paths that a pattern matches.
        files: paths that it matches too.
    """
    named = [folder for folder in folders if folder.lower().endswith(SUFFIX)]
    entered = list_ancestors(files) if named else set()
    return [is_a_folder(f"{place}{folder}") for folder in named if folder not in entered]


def list_ancestors(files: Iterable[str]) -> set[str]:
    """Returns the folders that the files lie in, and those around them."""
    folders = map(PurePosixPath, {file.rpartition("/")[0] for file in files})
    return {str(one) for folder in folders for one in (folder, *folder.parents)}


def has_glob(path: str) -> bool:
    """Returns whether a path on a server is a pattern."""
    return any(sign in path for sign in "*?[")


def is_deep(pattern: str) -> bool:
    """Returns whether what matches may lie in folders below the fixed one."""
    *folders, last = pattern.split("/")
    return last == "**" or has_glob("/".join(folders))


def fixed_folder(pattern: str) -> str:
    """Returns the folder that everything that the pattern matches lies in; '' is the root."""
    folders = pattern.split("/")[:-1]
    fixed = next((i for i, folder in enumerate(folders) if has_glob(folder)), len(folders))
    return "/".join(folders[:fixed])


def is_match(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Returns whether the parts of a path fit those of a pattern; `**` fits any folders.

    The suffix of a parquet file fits in any case.
    """
    if not pattern:
        return not path
    if pattern[0] == "**":
        return is_match(path, pattern[1:]) or (bool(path) and is_match(path[1:], pattern))
    if not path or not fnmatchcase(_lower_suffix(path[0]), _lower_suffix(pattern[0])):
        return False
    return is_match(path[1:], pattern[1:])


def _lower_suffix(name: str) -> str:
    is_parquet = name.lower().endswith(SUFFIX)
    return name[: -len(SUFFIX)] + SUFFIX if is_parquet else name
