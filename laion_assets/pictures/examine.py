"""Decodes a picture, to see that it is whole, and says what it is."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.errors import first_line
from laion_assets.pictures.perceptual_hash import hash_picture

if TYPE_CHECKING:
    from PIL import Image

# What the column `image` may hold; a decoder that is not asked for cannot be attacked.
FORMATS = ("JPEG", "PNG", "WEBP")
# A few kilobytes can claim to be more pixels than any memory holds. Pillow warns from here on.
MAX_PIXELS = 89_478_485
TOO_LARGE = f"over {MAX_PIXELS // 10**6} megapixels"
# A JPEG can be decoded at an eighth of its size; no less than this is needed for the hash.
LEAST_SIDE = 256


@dataclass(frozen=True)
class Examination:
    """What a picture turned out to be.

    Attributes:
        error: why it cannot be decoded; None if it can.
        format: JPEG, PNG or WEBP.
        width: pixels.
        height: pixels.
        sha256: of the bytes, in hexadecimal.
        phash: its perceptual hash, turned as it is to be seen.
    """

    error: str | None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    phash: int | None = None


def examine(content: bytes) -> Examination:
    """Decodes a picture whole; whatever is wrong with it is an answer, not an error.

    Args:
        content: the file of the picture.
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return Examination(TOO_LARGE)
            # Of a JPEG every byte is read still, in a third of the time.
            picture.draft("L", (LEAST_SIDE, LEAST_SIDE))
            picture.load()
            upright = _turn(picture)
            return Examination(
                error=None,
                # A JPEG with a second picture in it, as cameras write them.
                format="JPEG" if picture.format == "MPO" else picture.format,
                width=width,
                height=height,
                sha256=hashlib.sha256(content).hexdigest(),
                phash=hash_picture(upright),
            )
    except Exception as error:  # noqa: BLE001 - decoders raise anything for broken bytes
        return Examination(describe_damage(error))


def _turn(picture: Image.Image) -> Image.Image:
    """Returns a small copy, turned as EXIF says; as it is if EXIF cannot be read."""
    from PIL import ImageOps

    small = picture.copy()
    small.thumbnail((LEAST_SIDE, LEAST_SIDE))
    try:
        return ImageOps.exif_transpose(small)
    except Exception:  # noqa: BLE001 - as above; the picture itself is whole
        return small


def describe_damage(error: Exception) -> str:
    """Returns what an error of Pillow says of a file, in a few words."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
    if isinstance(error, Pillow.DecompressionBombError | Pillow.DecompressionBombWarning):
        return TOO_LARGE
    return first_line(error)
