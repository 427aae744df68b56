"""A search by a picture that a visitor sends.

The picture is from a stranger. It stays in memory, is decoded in a process of its own, which may
die, and is gone with the answer. Other pages of the ranking are asked for with its vector, which
the visitor keeps.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from laion_assets.errors import LaionError
from laion_assets.pictures.fetching.decoders import Decoders
from laion_assets.pictures.fetching.rules import FetchError, SizeRules
from laion_assets.web.found import count_pages
from laion_assets.web.params import PAGE_SIZE, UploadQuery
from laion_assets.web.responses import Image, PictureSearchPage
from laion_assets.web.visit import Row, Visit

if TYPE_CHECKING:
    import numpy as np
    from starlette.requests import Request

    Numbers: TypeAlias = np.ndarray[Any, Any]

PATH = "/search/picture"
FIELD = "picture"
VECTOR = "vector"
# No model makes longer vectors.
MAX_NUMBERS = 2**14
# As they are written into a form: the same bytes on every machine.
NUMBERS = "<f4"
MAX_PICTURE_BYTES = 5 * 10**6
# What a form puts around it.
MAX_UPLOAD_BYTES = MAX_PICTURE_BYTES + 2**16
# Of a larger one so much is read and dropped: a browser that is still sending hears no refusal.
MAX_DROPPED_BYTES = 64 * 10**6
# No model takes larger ones, and few steps of quality are lost.
SIZES = SizeRules(size=512, quality=95, max_seconds=5, max_memory_bytes=2 << 30)


class _InMemoryParser(MultiPartParser):
    """Writes nothing to a disk."""

    spool_max_size = MAX_UPLOAD_BYTES


async def read_sent(request: Request) -> bytes | Numbers:
    """Returns the file that a form has, or its vector; or the body if it is a picture itself.

    Raises:
        LaionError: there is none, it is too large, or the vector cannot be read.
    """
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return check_size(await read_body(request, MAX_UPLOAD_BYTES))
    pieces = _read(request, MAX_UPLOAD_BYTES)
    parser = _InMemoryParser(request.headers, pieces, max_files=1, max_fields=4)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise LaionError(
            "picture: the form cannot be read; send one picture", code="upload-form-unreadable"
        ) from error
    try:
        file, vector = form.get(FIELD), form.get(VECTOR)
        if isinstance(vector, str) and not isinstance(file, UploadFile):
            return read_vector(vector)
        return check_size(await file.read() if isinstance(file, UploadFile) else b"")
    finally:
        await form.close()


async def read_body(request: Request, limit: int) -> bytes:
    """Returns the body of a request that may have a picture in it.

    Raises:
        LaionError: it has more bytes than the limit.
    """
    return b"".join([piece async for piece in _read(request, limit)])


async def _read(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yields a body as far as the limit; of a larger one the rest is read, but not kept."""
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received <= limit:
            yield piece
    if received > limit:
        raise _refuse_size()


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


def write_vector(vector: Numbers) -> str:
    """Returns a vector as a form has it."""
    return base64.b64encode(vector.astype(NUMBERS).tobytes()).decode()


def read_vector(text: str) -> Numbers:
    """Returns the vector that a form has; whether it fits the table is not looked at here.

    Raises:
        LaionError: it is not one that `write_vector` wrote.
    """
    import numpy as np

    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    size = np.dtype(NUMBERS).itemsize
    if not content or len(content) % size or len(content) > MAX_NUMBERS * size:
        raise LaionError(
            "vector: it is not base64 of 32-bit numbers; send the one of the first page, or the "
            "picture again",
            code="upload-vector-unreadable",
        )
    return np.frombuffer(content, NUMBERS)


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


def build_found(visit: Visit, sent: bytes | Numbers) -> PictureSearchPage:
    """Ranks images by how like a picture they look.

    Args:
        visit: what is asked for.
        sent: the picture, as `decode` returns it, or its vector.

    Raises:
        LaionError: there are no vectors, or it is not one of this table's model.
        NotFoundError: the ranking has no such page.
    """
    query, search = visit.ask(UploadQuery), visit.release.search
    vectors = search.vectors
    vector = vectors.embed_picture(sent) if isinstance(sent, bytes) else vectors.check(sent)
    offset = (query.page - 1) * PAGE_SIZE
    answer = search.find(
        vector=vector,
        aesthetic_weight=query.aesthetic_weight,
        only=query.only,
        limit=PAGE_SIZE,
        offset=offset,
        is_folded=query.fold,
    )
    assert answer.ranked is not None
    hits = (_link_repeats(hit, query) for hit in answer.hits)
    return PictureSearchPage(
        release=visit.tag,
        is_asked=True,
        total=answer.total,
        hidden=answer.hidden,
        shown=answer.shown,
        unscored=answer.unscored,
        took_ms=round(answer.took_ms, 1),
        page=query.page,
        page_count=count_pages(answer.ranked, PAGE_SIZE, query.page),
        vector=write_vector(vector),
        images=tuple(map(Image.of, hits)),
    )


def _link_repeats(hit: Row, query: UploadQuery) -> Row:
    """Returns a hit with the address of the search for those that it stands for, if there are."""
    if not hit.get("more"):
        return hit
    place = f"{hit['shard']}/{hit['row_index']}"
    return {**hit, "more_address": query.like(place).write("/search")}
