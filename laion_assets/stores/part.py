"""A file on its way: what has come so far, and what it is a part of.

Both survive a killed process, so that the next one goes on where it stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Origin:
    """The content that a part belongs to.

    Attributes:
        name: where it comes from.
        version: what the source calls it; None if it has no word for it.
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
    """The file `.<shard>.part` in a folder, with its origin beside it."""

    def __init__(self, folder: Path, shard: str) -> None:
        self.path = folder / f".{shard}.part"
        self._origin_path = folder / f".{shard}.part-origin"

    def count_bytes(self) -> int:
        """Returns how much is there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def find_origin(self, name: str, sha256: str | None) -> Origin | None:
        """Returns what there is a part of, if it can be resumed and is of what is asked for.

        Args:
            name: where it has to come from.
            sha256: the promised one; None if none was promised.
        """
        try:
            origin = Origin(**json.loads(self._origin_path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        # A promise that was not made when the part began could not be kept.
        is_asked_for = origin.name == name and sha256 in (None, origin.sha256)
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
