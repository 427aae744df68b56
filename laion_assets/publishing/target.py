"""Where a release is published to, and what is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from laion_assets.errors import LaionError
from laion_assets.releases.manifest import Manifest
from laion_assets.stores.version_files import parse_version

RECORD, CARD = "release.json", "README.md"
# The tables of a release under the names that they are published by; `train` last, as in a
# release: its tag says that the others are there.
TABLES = {"domain_counts": "domain_counts", "entity_counts": "entity_counts", "images": "train"}
DATA = "data"


def name_folder(table: str) -> str:
    """Returns the folder of a published table, with `/`."""
    return f"{DATA}/{table}.lance"


@dataclass(frozen=True)
class StagedFile:
    """A file that is to be published.

    Attributes:
        path: in the dataset, with `/`.
        source: where its content is.
    """

    path: str
    source: Path

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.source.stat().st_size


@dataclass(frozen=True)
class There:
    """What a destination has.

    Attributes:
        sizes: the size of each file, by its path in the dataset.
        record: of the newest release that was published there; None if none was.
        texts: the text of card and record, by name; None for one that is not there.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    record: Manifest | None = None
    texts: Mapping[str, str | None] = field(default_factory=lambda: {CARD: None, RECORD: None})

    def newest_version(self, table: str) -> int:
        """Returns the newest version of a published table; 0 if there is none."""
        inside = f"{name_folder(table)}/"
        versions = [parse_version(path) or 0 for path in self.sizes if path.startswith(inside)]
        return max(versions, default=0)

    def has(self, file: StagedFile) -> bool:
        """Returns whether a file of this name and size is there; Lance names no two alike."""
        return self.sizes.get(file.path) == file.size


class Target(Protocol):
    """A place for a dataset."""

    @property
    def name(self) -> str:
        """The place, for people."""

    @property
    def address(self) -> str:
        """What `datasets.load_dataset` is given."""

    @property
    def data_uri(self) -> str:
        """What `lancedb.connect` is given."""

    @property
    def is_public(self) -> bool:
        """Whether others can read it, so that the card has to be complete."""

    def look(self) -> There:
        """Returns what is there.

        Raises:
            LaionError: something else is there, or it cannot be read.
        """

    def send(self, files: Sequence[StagedFile]) -> None:
        """Brings files that nobody reads before a version names them."""

    def finish(self, files: Sequence[StagedFile], release: str) -> None:
        """Brings the files that make a release visible, in their order or all at once."""


def parse_record(text: str, place: str) -> Manifest:
    """Reads the record of the newest release at a place.

    Raises:
        LaionError: it is no such record.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValueError as error:
        raise LaionError(
            f"{place}: its {RECORD} is no record of a release; choose another place",
            code="publish-record-unreadable",
        ) from error


def refuse_other(place: str) -> LaionError:
    """Returns the error about a place that has other data."""
    return LaionError(
        f"{place}: has files, and is no published release ({RECORD} is missing); choose another "
        "place, or an empty one",
        code="publish-place-taken",
    )
