"""Reads the pictures of a WebDataset archive: `<shard>.tar`, whose members are named by `key`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from laion_assets.errors import ShardError, first_line

SUFFIXES = ("jpg", "jpeg", "png", "webp")


class Archive:
    """An open archive. Its members may stand in any order.

    Args:
        descriptor: of the open file.
        places: of each key, where its picture begins and how long it is.
    """

    def __init__(self, descriptor: int, places: dict[str, tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._places = places

    def read(self, key: str | None) -> bytes | None:
        """Returns the picture of a key; None if the archive has none."""
        if key not in self._places:
            return None
        start, size = self._places[key]
        return os.pread(self._descriptor, size, start)

    def measure(self, key: str | None) -> int:
        """Returns how long the picture of a key is; 0 if there is none."""
        return self._places.get(key, (0, 0))[1] if key else 0


@contextmanager
def open_archive(path: Path, name: str) -> Iterator[Archive]:
    """Opens an archive, and reads the names of its members.

    A member's key is its name up to the first dot, without folders; of two pictures with one key
    the first counts.

    Args:
        path: the file, uncompressed.
        name: what to call it in an error.

    Raises:
        ShardError: it is no archive, or it is cut off.
    """
    file_bytes = path.stat().st_size
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                key, _, suffix = PurePosixPath(member.name).name.partition(".")
                if member.isfile() and suffix.lower() in SUFFIXES:
                    places.setdefault(key, (member.offset_data, member.size))
                if member.offset_data + member.size > file_bytes:
                    raise ShardError(
                        f"{name}: is cut off in {member.name}; fetch it again",
                        code="archive-cut-off",
                    )
                # It would else remember a kilobyte for each member.
                archive.members = []  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise ShardError(
            f"{name}: is not an uncompressed tar archive ({first_line(error)}); fetch it again",
            code="archive-unreadable",
        ) from error
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Archive(descriptor, places)
    finally:
        os.close(descriptor)
