"""A file on its way: what has come so far, and what it is a part of.

Both survive a killed process, so that the next one goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from laion_assets.raw_shards.sources.source import Source


@dataclass(frozen=True)
class Origin:
    """The content that a part belongs to.

    Attributes:
        name: where it comes from.
        version: as `Source` has it.
        sha256: promised by the server, or by who named the URL.
        validator: the server's word for these very bytes; None: it gives none.
    """

    name: str
    version: str | None
    sha256: str | None
    validator: str | None

    @property
    def is_resumable(self) -> bool:
        """Whether what comes later can be told to be of the same content."""
        return self.validator is not None or self.sha256 is not None


class Part:
    """The file `.<shard>.part` in the folder of raw shards, with its origin beside it."""

    def __init__(self, raw_dir: Path, shard: str) -> None:
        self.path = raw_dir / f".{shard}.part"
        self._origin_path = raw_dir / f".{shard}.part-origin"

    def count_bytes(self) -> int:
        """Returns how much is there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def find_origin(self, source: Source) -> Origin | None:
        """Returns what there is a part of, if it can be resumed and is of what is asked for."""
        try:
            origin = Origin(**json.loads(self._origin_path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        # A promise that was not made when the part began could not be kept.
        is_asked_for = origin.name == source.name and source.sha256 in (None, origin.sha256)
        is_usable = is_asked_for and origin.is_resumable and self.count_bytes() > 0
        return origin if is_usable else None

    def start(self, origin: Origin) -> None:
        """Begins anew with nothing."""
        self.remove()
        self._origin_path.write_text(json.dumps(asdict(origin)), encoding="utf-8")
        self.path.touch()

    def open(self) -> BinaryIO:
        """Opens the file to write behind what is there; nothing stays in a buffer of ours."""
        return self.path.open("ab", buffering=0)

    def remove(self) -> None:
        """Removes the file and its origin, where they are."""
        # The file first: without its origin it is never resumed, with another's it would be.
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)
