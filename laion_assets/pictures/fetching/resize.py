"""Decodes one picture and makes it smaller; this runs in a process that may die.

The tags of EXIF are named as Pillow names them, and written as JSON, as img2dataset does.
"""

from __future__ import annotations

import io
import json
import warnings

from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from laion_assets.errors import first_line
from laion_assets.pictures.fetching.rules import FetchError, Mode, Reason, Resized, SizeRules

# Others run programs (EPS), are documents, or are so rare that a hole in their decoder is worse.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_WHITE = (255, 255, 255)
_MAX_EXIF = 10_000


def resize(data: bytes, rules: SizeRules) -> Resized:
    """Returns the first frame, upright, in sRGB, on white, no larger than the rules say.

    Raises:
        FetchError: it is no picture, is damaged, or has too many pixels.
    """
    # Our own bound stands for Pillow's, which is a warning at first.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _resize(image, data, rules)
    except UnidentifiedImageError as error:
        raise FetchError(Reason.NOT_A_PICTURE, "not a picture, or of an unknown format") from error
    except MemoryError as error:
        raise FetchError(Reason.DECODER_DIED, "needs too much memory to decode") from error
    # Decoders raise whatever they like: OSError, ValueError, SyntaxError, struct.error, KeyError.
    except FetchError:
        raise
    except Exception as error:
        raise FetchError(Reason.NOT_A_PICTURE, f"cannot be decoded: {first_line(error)}") from error


def _resize(image: Image.Image, data: bytes, rules: SizeRules) -> Resized:
    if image.width * image.height > rules.max_pixels:
        pixels = f"{image.width} x {image.height} pixels"
        raise FetchError(Reason.TOO_MANY_PIXELS, f"{pixels}, over {rules.max_pixels:,}")
    exif = _read_exif(image)
    original = image.size
    if rules.mode is not Mode.ORIGINAL:
        # A JPEG is decoded at an eighth, a quarter or a half where half as much again is left.
        wanted = rules.size * 3 // 2
        image.draft(None, (wanted, wanted))
    image.load()
    upright = ImageOps.exif_transpose(image)
    is_turned = upright.width * image.height != upright.height * image.width
    width, height = original[::-1] if is_turned else original
    if rules.mode is Mode.ORIGINAL:
        return Resized(data, width, height, width, height, exif)
    small = _fit(_to_srgb(upright), rules)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=rules.quality)
    return Resized(buffer.getvalue(), *small.size, width, height, exif)


def _to_srgb(image: Image.Image) -> Image.Image:
    image = _convert_profile(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*_WHITE, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits a sample: Pillow would cut them off at 255.
        image = image.convert("F").point(lambda value: value * (255 / 65535) + 0.0).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _convert_profile(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "CMYK"}:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A damaged profile is no reason to lose the picture.
        return image
    return converted or image


def _fit(image: Image.Image, rules: SizeRules) -> Image.Image:
    side = max(image.size) if rules.mode is Mode.BORDER else min(image.size)
    if side > rules.size:
        scale = rules.size / side
        width, height = (max(round(length * scale), 1) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)
    if rules.mode is Mode.CENTER_CROP:
        edge = min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        return image.crop((left, top, left + edge, top + edge))
    if rules.mode is Mode.BORDER:
        canvas = Image.new("RGB", (rules.size, rules.size), _WHITE)
        place = ((rules.size - image.width) // 2, (rules.size - image.height) // 2)
        canvas.paste(image, place)
        return canvas
    return image


def _read_exif(image: Image.Image) -> str | None:
    try:
        found = image.getexif()
        tags = {**found, **found.get_ifd(ExifTags.IFD.Exif)}
    except Exception:  # noqa: BLE001 - the picture is what matters
        return None
    named = {
        ExifTags.TAGS.get(tag, f"0x{tag:04X}"): str(value).strip("\0 ")
        for tag, value in tags.items()
        if not isinstance(value, dict)
    }
    text = json.dumps(named, ensure_ascii=False) if named else None
    return text if text and len(text) <= _MAX_EXIF else None
