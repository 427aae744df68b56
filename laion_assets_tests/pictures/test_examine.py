"""A picture is decoded whole; what is wrong with it is said."""

import hashlib
import io
import struct
import zlib

import pytest
from PIL import Image

from laion_assets.pictures.examine import examine
from laion_assets_tests.pictures.painting import paint


def distance(one: int | None, other: int | None) -> int:
    assert one is not None
    assert other is not None
    return ((one ^ other) & (2**64 - 1)).bit_count()


def make_bomb(width: int, height: int) -> bytes:
    """Returns a PNG of a few bytes that claims to be huge."""

    def chunk(name: bytes, content: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_described(kind: str) -> None:
    content = paint(1, 320, 200, kind)
    found = examine(content)
    assert (found.error, found.format, found.width, found.height) == (None, kind, 320, 200)
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_colours_has_a_hash(mode: str) -> None:
    picture = Image.open(io.BytesIO(paint(1))).convert("L" if mode == "I;16" else "RGB")
    file = io.BytesIO()
    picture.convert(mode).save(file, "JPEG" if mode in ("L", "CMYK") else "PNG")
    found = examine(file.getvalue())
    assert found.error is None
    assert found.phash is not None


def test_pictures_that_look_alike_have_hashes_alike() -> None:
    hashes = [
        examine(paint(1, 640, 480)).phash,
        examine(paint(1, 160, 120, quality=30)).phash,
        examine(paint(1, 320, 240, "WEBP")).phash,
    ]
    others = [examine(paint(number)).phash for number in range(2, 12)]
    assert max(distance(hashes[0], one) for one in hashes) <= 6
    assert min(distance(hashes[0], other) for other in others) > 10


def test_the_hash_is_that_of_a_published_implementation() -> None:
    """Against `imagehash.phash` 4.3.2 for a picture without any choice in decoding."""
    picture = Image.new("L", (32, 32))
    picture.putdata([(x * 7 + y * 13 + x * y) % 256 for y in range(32) for x in range(32)])
    file = io.BytesIO()
    picture.save(file, "PNG")
    phash = examine(file.getvalue()).phash
    assert phash is not None
    assert f"{phash & (2**64 - 1):016x}" == "878b05039fbcb8b3"


def test_a_picture_is_hashed_as_it_is_seen() -> None:
    upright = Image.open(io.BytesIO(paint(1, kind="PNG")))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    turned = examine(file.getvalue())
    assert (turned.width, turned.height) == (48, 64)
    assert distance(turned.phash, examine(paint(1, kind="PNG")).phash) <= 4


WHOLE = paint(3, 200, 200)
BROKEN = {
    "empty": (b"", "no JPEG, PNG or WEBP file"),
    "a page": (b"<!doctype html><title>gone", "no JPEG, PNG or WEBP file"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no JPEG, PNG or WEBP file"),
    "another format": (paint(1, kind="GIF"), "no JPEG, PNG or WEBP file"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "truncated"),
    "a bomb": (make_bomb(60_000, 60_000), "megapixels"),
    "a small bomb": (make_bomb(12_000, 9_000), "over 89 megapixels"),
    "too little data": (make_bomb(50, 50), "truncated"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_wrong_is_said(content: bytes, reason: str) -> None:
    found = examine(content)
    assert reason in (found.error or "")
    assert found.phash is None
