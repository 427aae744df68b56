"""A search by a picture that a visitor sends.

The picture is from a stranger. It stays in memory, is decoded in a process of its own, which may
die, and is gone with the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from laion_assets.errors import LaionError
from laion_assets.pictures.fetching.decoders import Decoders
from laion_assets.pictures.fetching.rules import FetchError, SizeRules
from laion_assets.web.params import PAGE_SIZE, PictureQuery
from laion_assets.web.responses import Image, PictureSearchPage
from laion_assets.web.visit import Visit

if TYPE_CHECKING:
    from starlette.requests import Request

PATH = "/search/picture"
FIELD = "picture"
MAX_PICTURE_BYTES = 5 * 10**6
# What a form puts around it.
MAX_UPLOAD_BYTES = MAX_PICTURE_BYTES + 2**16
# No model takes larger ones, and few steps of quality are lost.
SIZES = SizeRules(size=512, quality=95, max_seconds=5, max_memory_bytes=2 << 30)


class _InMemoryParser(MultiPartParser):
    """Writes nothing to a disk."""

    spool_max_size = MAX_UPLOAD_BYTES


async def read_picture(request: Request) -> bytes:
    """Returns the file that a form has, or the body if it is a picture itself.

    Raises:
        LaionError: there is none, or it is too large.
    """
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return check_size(b"".join([piece async for piece in _read(request)]))
    parser = _InMemoryParser(request.headers, _read(request), max_files=1, max_fields=4)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise LaionError(
            "picture: the form cannot be read; send one picture", code="upload-form-unreadable"
        ) from error
    try:
        file = form.get(FIELD)
        return check_size(await file.read() if isinstance(file, UploadFile) else b"")
    finally:
        await form.close()


async def _read(request: Request) -> AsyncGenerator[bytes, None]:
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > MAX_UPLOAD_BYTES:
            raise _refuse_size()
        yield piece


def check_size(picture: bytes) -> bytes:
    """Returns the picture that was sent.

    Raises:
        LaionError: it is empty or too large.
    """
    if not picture:
        raise LaionError(
            "picture: none was sent; choose a file first", code="upload-picture-missing"
        )
    if len(picture) > MAX_PICTURE_BYTES:
        raise _refuse_size()
    return picture


def _refuse_size() -> LaionError:
    return LaionError(
        f"picture: it is larger than {MAX_PICTURE_BYTES // 10**6} MB; make it smaller",
        code="upload-picture-too-large",
    )


async def decode(picture: bytes, decoders: Decoders) -> bytes:
    """Returns a picture as a small JPEG that is safe to decode again.

    Raises:
        LaionError: it cannot be decoded.
    """
    try:
        resized = await decoders.decode(picture)
    except FetchError as error:
        raise LaionError(
            f"picture: {error}; send a JPEG, PNG or WebP file", code="upload-picture-undecodable"
        ) from error
    return resized.picture


def build_form(visit: Visit) -> PictureSearchPage:
    """Shows where a picture can be sent."""
    return PictureSearchPage(release=visit.tag)


def build_found(visit: Visit, picture: bytes) -> PictureSearchPage:
    """Ranks images by how like a picture they look.

    Args:
        visit: what is asked for.
        picture: as `decode` returns it.
    """
    only = visit.ask(PictureQuery).only
    answer = visit.release.search.find(picture=picture, only=only, limit=PAGE_SIZE)
    return PictureSearchPage(
        release=visit.tag,
        is_asked=True,
        total=answer.total,
        hidden=answer.hidden,
        shown=answer.shown,
        unscored=answer.unscored,
        took_ms=round(answer.took_ms, 1),
        images=tuple(map(Image.of, answer.hits)),
    )
