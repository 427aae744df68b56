"""Computes vectors of pictures of the table, some at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.embeddings.encoder import Encoder
from laion_assets.embeddings.unit_vectors import find_good, normalise
from laion_assets.errors import LaionError, StaleTableError

if TYPE_CHECKING:
    import lance
    import numpy as np
    from numpy.typing import NDArray

# So many pictures are held at once, and their pixels: 40 MB for most models.
HELD_PICTURES = 64


@dataclass(frozen=True)
class Pictures:
    """Pictures of a shard.

    Attributes:
        dataset: has them.
        shard: partition key.
        addresses: where each is in it, by its SHA-256.
    """

    dataset: lance.LanceDataset
    shard: str
    addresses: Mapping[str, int]


def embed_chunks(
    encoder: Encoder, pictures: Pictures, chosen: Sequence[str], chunk_rows: int
) -> Iterator[dict[str, bytes | None]]:
    """Yields the vectors of chosen pictures, by their SHA-256, so many at a time.

    They are float16 numbers; None: a picture has none.

    Raises:
        StaleTableError: the pictures were replaced meanwhile.
    """
    for start in range(0, len(chosen), chunk_rows):
        chunk = chosen[start : start + chunk_rows]
        vectors: dict[str, bytes | None] = {}
        for first in range(0, len(chunk), HELD_PICTURES):
            part = chunk[first : first + HELD_PICTURES]
            addresses = [pictures.addresses[picture] for picture in part]
            images = _take(pictures.dataset, pictures.shard, addresses)
            vectors |= zip(part, _embed(encoder, images), strict=True)
        yield vectors


def _take(dataset: lance.LanceDataset, shard: str, addresses: Sequence[int]) -> Sequence[bytes]:
    """Returns the pictures at these addresses, in their order."""
    import numpy as np
    import pyarrow as pa

    order = np.argsort(addresses)
    ascending = pa.array(np.array(addresses, np.uint64)[order])
    taken = dataset._take_rows(ascending, columns=["image"])
    images: list[bytes | None] = taken["image"].to_pylist()
    if len(images) != len(addresses) or None in images:
        raise StaleTableError(
            f"shard {shard!r}: its pictures were replaced while they were read; run it again",
            code="vectors-pictures-replaced",
            is_passing=True,
        )
    places = np.argsort(order)
    return [image for place in places if (image := images[place]) is not None]


def _embed(encoder: Encoder, images: Sequence[bytes]) -> list[bytes | None]:
    """Returns for each picture its vector as float16; None if it has none."""

    def prepare(image: bytes) -> NDArray[np.float32] | None:
        try:
            return encoder.prepare(image)
        except LaionError:
            return None

    # Pillow warns of what it reads anyway.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared = list(pool.map(prepare, images))
    found = encoder.embed_prepared([pixels for pixels in prepared if pixels is not None])
    units = normalise(found)
    vectors = iter(zip(units.values, find_good(units), strict=True))
    result: list[bytes | None] = []
    for pixels in prepared:
        if pixels is None:
            result.append(None)
            continue
        vector, is_good = next(vectors)
        result.append(vector.tobytes() if is_good else None)
    return result
