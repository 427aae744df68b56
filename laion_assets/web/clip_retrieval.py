"""clip-retrieval's service over the releases, so that programs with its `ClipClient` go on working.

The requests and answers are those of `clip_back.py` in clip-retrieval 2.45. An id is the position
of a row in its release: it means the same row as long as the release exists, is no 64-bit number
that JSON would round, and may mean another row in another release.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from laion_assets.errors import LaionError
from laion_assets.search.filter import SearchFilter
from laion_assets.search.fusion import MIDDLE, SPAN
from laion_assets.search.query import MAX_QUERY_LENGTH
from laion_assets.search.safety import PUNSAFE_THRESHOLD
from laion_assets.search.sites import read_place
from laion_assets.search.vectors import MAX_JOINED, MAX_RANKED
from laion_assets.web import uploads
from laion_assets.web.current_release import NoReleaseError, OpenRelease, Shelf
from laion_assets.web.limits import OverloadError, Workers
from laion_assets.web.params import MAX_NAME_LENGTH, none_if_blank
from laion_assets.web.search_pages import keep_digits

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

KNN, METADATA, INDICES = "/knn-service", "/metadata", "/indices-list"
PATHS = frozenset({KNN, METADATA, INDICES})
NEWEST = "newest"
# A picture as base64, and what else a request has, a vector among it.
MAX_KNN_BYTES = uploads.MAX_PICTURE_BYTES * 4 // 3 + 2**17
# JSON's numbers are exact up to here.
MAX_ID = 2**53
# How clip-retrieval names a column that is named otherwise here.
COLUMNS = {"nsfw": "NSFW"}

Row: TypeAlias = Mapping[str, object]
Wanted: TypeAlias = Annotated[float, Field(ge=0, le=SPAN)]
Weight: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Asked(BaseModel):
    """What every request may have; fields that are not known are none of ours."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    indice_name: str | None = Field(default=None, max_length=MAX_NAME_LENGTH)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Returns what a request has.

        Raises:
            LaionError: it is no JSON object.
            ValidationError: one of its fields has a value that it cannot have.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            if error.errors(include_input=False)[0]["loc"]:
                raise
            raise LaionError(
                "the request is no JSON object; send one as clip-retrieval's ClipClient does",
                code="clip-request-no-json",
            ) from None


class AskedNear(Asked):
    """What is looked for: the first of text, image, image_url and embedding_input that is there."""

    text: str | None = Field(default=None, max_length=MAX_QUERY_LENGTH)
    image: str | None = None
    image_url: str | None = Field(default=None, max_length=MAX_QUERY_LENGTH)
    embedding_input: list[float] | None = Field(
        default=None, max_length=uploads.MAX_NUMBERS, fail_fast=True
    )
    # There are vectors of pictures alone.
    modality: Literal["image"] = "image"
    num_images: int = Field(default=40, ge=0)
    num_result_ids: int | None = Field(default=None, ge=0)
    # A multilingual text model beside the other; there is one encoder here.
    use_mclip: Literal[False] = False
    deduplicate: bool = False
    # As on the page, nobody gets unsafe images who did not ask for them.
    use_safety_model: bool = True
    aesthetic_score: Annotated[Wanted | None, BeforeValidator(none_if_blank)] = None
    aesthetic_weight: Annotated[Weight | None, BeforeValidator(none_if_blank)] = None

    @property
    def count(self) -> int:
        """How many results are wanted, with metadata or without; a ranking has no more."""
        count = self.num_images if self.num_result_ids is None else self.num_result_ids
        return min(count, MAX_RANKED)

    @property
    def only(self) -> SearchFilter:
        """What an image has to be."""
        return SearchFilter(hide_punsafe_above=PUNSAFE_THRESHOLD if self.use_safety_model else None)


class AskedRows(Asked):
    """The rows whose metadata are wanted."""

    ids: list[Annotated[int, Field(ge=0, le=MAX_ID)]] = Field(max_length=MAX_RANKED, fail_fast=True)


@dataclass(frozen=True)
class Service:
    """What a part of the service does, for the OpenAPI document.

    Attributes:
        name: of its route.
        summary: what it does.
        item: JSON schema of each member of the list that it answers.
    """

    name: str
    summary: str
    item: Mapping[str, Any]


_ID = {"type": "integer", "description": "Position of the row in its release."}
FIND = Service(
    "knn_service",
    "The images nearest to a text, a picture or a vector, as clip-retrieval's service",
    {
        "type": "object",
        "description": "What the table knows of the image; of those beyond `num_images` the id.",
        "properties": {"id": _ID, "similarity": {"type": "number"}},
        "required": ["id", "similarity"],
        "additionalProperties": True,
    },
)
DESCRIBE = Service(
    "metadata",
    "What the table knows of images, by their ids, as clip-retrieval's service",
    {
        "type": "object",
        "properties": {"id": _ID, "metadata": {"type": "object"}},
        "required": ["id", "metadata"],
    },
)
LIST = Service(
    "indices_list",
    "The releases that have vectors, as clip-retrieval's service names its indices",
    {"type": "string"},
)


def build_routes(shelf: Shelf, workers: Workers) -> tuple[Route, ...]:
    """Returns the routes of the service.

    Args:
        shelf: the releases.
        workers: the threads that do the work.
    """

    async def answer(request: Request, work: Callable[[], object]) -> Response:
        client = request.client.host if request.client else ""
        body = await workers.run(client, lambda: to_json(work(), inf_nan_mode="null"))
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    async def find(request: Request) -> Response:
        asked = AskedNear.read(await uploads.read_body(request, MAX_KNN_BYTES))
        picture = None
        if not asked.text and asked.image is not None:
            picture = uploads.check_size(_decode_base64(asked.image))
            picture = await uploads.decode(picture, request.app.state.upload_decoders)
        return await answer(request, lambda: find_near(_open(shelf, asked), asked, picture))

    async def describe(request: Request) -> Response:
        asked = AskedRows.read(await request.body())
        return await answer(request, lambda: describe_rows(_open(shelf, asked), asked.ids))

    async def list_names(request: Request) -> Response:
        return await answer(request, lambda: list_indices(shelf))

    return (
        Route(KNN, find, methods=["POST"], name=FIND.name),
        Route(METADATA, describe, methods=["POST"], name=DESCRIBE.name),
        Route(INDICES, list_names, name=LIST.name),
    )


def list_indices(shelf: Shelf) -> list[str]:
    """Returns what `indice_name` may be: the releases that have vectors, the newest first."""
    tags = [manifest.release for manifest in shelf.releases if manifest.vectors is not None]
    is_current = _current(shelf).manifest.vectors is not None
    return [NEWEST, *tags] if is_current else tags


def find_near(release: OpenRelease, asked: AskedNear, picture: bytes | None) -> list[Row]:
    """Returns the rows that are nearest, the first `num_images` of them with their metadata.

    Args:
        release: what is searched.
        asked: the request.
        picture: that of the request, as `uploads.decode` returns it.

    Raises:
        LaionError: there is nothing to look for, or no vectors or encoder for it.
    """
    vector = _read_vector(release, asked, picture)
    if vector is None:
        # The encoder knows nothing of the text.
        return []
    weight = asked.aesthetic_weight or 0
    is_weighed = asked.aesthetic_score is not None and weight > 0
    depth = max(asked.count, MAX_JOINED) if is_weighed else asked.count
    near = release.search.rank(vector, asked.only, depth, is_folded=asked.deduplicate)
    found = list(zip(near.positions, near.similarities, near.aesthetics, strict=True))
    if asked.aesthetic_score is not None and is_weighed:
        wanted = asked.aesthetic_score

        def measure(one: tuple[int, float, float | None]) -> float:
            # A picture without a score counts as one in the middle, as in rankings of the page.
            _, similarity, score = one
            return similarity - weight * abs((MIDDLE if score is None else score) - wanted) / SPAN

        found.sort(key=measure, reverse=True)
    found = found[: asked.count]
    rows = release.search.read_rows([position for position, _, _ in found[: asked.num_images]])
    described = [{} if row is None else _describe(row) for row in rows]
    described += [{}] * (len(found) - len(rows))
    return [
        {**row, "id": position, "similarity": similarity}
        for row, (position, similarity, _) in zip(described, found, strict=True)
    ]


def describe_rows(release: OpenRelease, ids: Sequence[int]) -> list[Row]:
    """Returns the metadata of rows, in the order of the ids.

    Raises:
        LaionError: one of the ids is that of no row.
    """
    answer: list[Row] = []
    for position, row in zip(ids, release.search.read_rows(ids), strict=True):
        if row is None:
            raise LaionError(
                f"ids: release {release.manifest.release} has no row {position}; send ids that "
                f"{KNN} returned for this release",
                code="clip-id-unknown",
            )
        answer.append({"id": position, "metadata": _describe(row)})
    return answer


def _current(shelf: Shelf) -> OpenRelease:
    try:
        return shelf.current
    except LaionError as error:
        raise OverloadError(str(error)) from None


def _open(shelf: Shelf, asked: Asked) -> OpenRelease:
    current = _current(shelf)
    if asked.indice_name in {None, NEWEST}:
        return current
    try:
        return shelf.open(asked.indice_name)
    except NoReleaseError as error:
        raise LaionError(
            f"indice_name: {error}; write one of them, or {NEWEST}", code="clip-indice-unknown"
        ) from None


def _read_vector(release: OpenRelease, asked: AskedNear, picture: bytes | None) -> Numbers | None:
    """Returns the vector that is looked for; None of a text that means nothing to the encoder."""
    import numpy as np

    search = release.search
    if asked.text:
        return search.vectors.embed_text(asked.text)
    if picture is not None:
        return search.vectors.embed_picture(picture)
    if asked.image_url is not None:
        return _look_up(release, asked.image_url)
    if asked.embedding_input is not None:
        return np.array(asked.embedding_input, np.float64)
    raise LaionError(
        "nothing to look for; send one of text, image, image_url and embedding_input",
        code="clip-request-empty",
    )


def _look_up(release: OpenRelease, url: str) -> Numbers:
    """Returns the vector of the image of the release with this address; nothing is fetched."""
    place = read_place(url)
    hosts = (place.host, f"{place.host}.") if place else ()
    hits = release.search.find_url(url.strip(), hosts).hits if hosts else ()
    for hit in hits:
        vector = release.search.read_vector(hit["shard"], hit["row_index"])
        if vector is not None:
            return vector
    raise LaionError(
        f"image_url: release {release.manifest.release} has no image with this address and a "
        "vector, and nothing is fetched; send the picture itself as image",
        code="clip-url-unknown",
    )


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        raise LaionError(
            "image: it is not base64; send the file of a picture so encoded",
            code="clip-image-no-base64",
        ) from None


def _describe(row: Row) -> dict[str, object]:
    """Returns what a row has, as clip-retrieval names it; what is not known is left out."""
    return {
        COLUMNS.get(name, name): keep_digits(name, value)
        for name, value in row.items()
        if value is not None
    }
