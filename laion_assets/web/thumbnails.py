"""Serves the pictures that the table has, small enough for a page.

They came from strangers. What is small and of a kind that every browser shows is sent as it is, for
the browser to decode, never as a page (`nosniff`); the rest is decoded and made smaller in a
process of its own, which may die.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from laion_assets.pictures.fetching.decoders import Decoders
from laion_assets.pictures.fetching.rules import FetchError, SizeRules
from laion_assets.search.safety import is_unsafe
from laion_assets.web.params import PictureQuery
from laion_assets.web.visit import ROW_INDEX, NotFoundError

if TYPE_CHECKING:
    from laion_assets.web.current_release import OpenRelease

PATH = "/pictures/{shard:text}/{row_index}.jpg"
# A page of twenty such pictures is six megabytes at most.
MAX_PLAIN_BYTES = 300_000
SIZES = SizeRules(size=512, max_seconds=5, max_memory_bytes=2 << 30)
# How files of these kinds begin.
_KINDS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda data: data.startswith(b"\xff\xd8\xff"), "image/jpeg"),
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), "image/png"),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", "image/webp"),
)


def read_thumbnail(release: OpenRelease, path: dict[str, str], query: PictureQuery) -> bytes:
    """Returns the bytes of a picture.

    Args:
        release: what is shown.
        path: `shard` and `row_index`.
        query: above which probability of being unsafe it is hidden.

    Raises:
        NotFoundError: there is no such row, it has no picture, or it is hidden.
    """
    shard, row_index = path["shard"], path["row_index"]
    is_possible = ROW_INDEX.fullmatch(row_index)
    found = release.search.read_picture(shard, int(row_index)) if is_possible else None
    if found is None:
        raise NotFoundError(f"there is no picture of row {row_index} of shard {shard}")
    if is_unsafe(found["punsafe"], found["nsfw"], query.max_punsafe):
        raise NotFoundError("this picture is hidden as unsafe; max_punsafe=1 shows it")
    picture: bytes = found["image"]
    return picture


async def shrink(data: bytes, decoders: Decoders) -> bytes:
    """Returns a picture that a page may show.

    Raises:
        NotFoundError: it cannot be decoded.
    """
    if name_kind(data) and len(data) <= MAX_PLAIN_BYTES:
        return data
    try:
        resized = await decoders.decode(data)
    except FetchError as error:
        raise NotFoundError(f"this picture cannot be shown: {error}") from error
    return resized.picture


def name_kind(data: bytes) -> str | None:
    """Returns the media type of a picture that every browser shows; None for other bytes."""
    return next((name for begins, name in _KINDS if begins(data)), None)
