import io
import json
from collections.abc import Callable

import pytest
from PIL import Image, ImageCms

from laion_assets.pictures.fetching.resize import resize
from laion_assets.pictures.fetching.rules import FetchError, Mode, Reason, Resized, SizeRules

RED = (220, 20, 20)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def open_picture(resized: Resized) -> Image.Image:
    """The picture as whoever reads it sees it."""
    image = Image.open(io.BytesIO(resized.picture))
    image.load()
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.size == (resized.width, resized.height)
    return image


def is_near(pixel: object, colour: tuple[int, int, int]) -> bool:
    """Whether a pixel has a colour, but for what JPEG changes."""
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 25 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        (Mode.KEEP_RATIO, (1024, 512), (512, 256)),
        (Mode.KEEP_RATIO, (300, 3000), (256, 2560)),
        (Mode.KEEP_RATIO, (100, 80), (100, 80)),
        (Mode.KEEP_RATIO, (256, 256), (256, 256)),
        (Mode.KEEP_RATIO, (5000, 257), (4981, 256)),
        (Mode.CENTER_CROP, (1024, 512), (256, 256)),
        (Mode.CENTER_CROP, (100, 80), (80, 80)),
        (Mode.BORDER, (1024, 512), (256, 256)),
        (Mode.BORDER, (100, 80), (256, 256)),
        (Mode.ORIGINAL, (1024, 512), (1024, 512)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_mode_has_its_size(
    mode: Mode, size: tuple[int, int], expected: tuple[int, int], kind: str
) -> None:
    data = encode(Image.new("RGB", size, RED), kind)

    resized = resize(data, SizeRules(mode))

    assert (resized.width, resized.height) == expected
    assert (resized.original_width, resized.original_height) == size
    if mode is Mode.ORIGINAL:
        assert resized.picture == data
    else:
        assert is_near(
            open_picture(resized).getpixel((128, 40 if mode is not Mode.BORDER else 128))
            if size != (100, 80)
            else RED,
            RED,
        )


def test_a_border_is_white_and_a_crop_is_of_the_middle() -> None:
    image = Image.new("RGB", (900, 300), (0, 0, 255))
    image.paste(RED, (300, 0, 600, 300))
    data = encode(image, "PNG")

    border = open_picture(resize(data, SizeRules(Mode.BORDER)))
    crop = open_picture(resize(data, SizeRules(Mode.CENTER_CROP)))

    assert is_near(border.getpixel((128, 2)), (255, 255, 255))
    assert is_near(border.getpixel((128, 128)), RED)
    assert all(is_near(crop.getpixel((x, 128)), RED) for x in (12, 128, 243))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright(orientation: int) -> None:
    upright = Image.new("RGB", (600, 300), (0, 0, 255))
    upright.paste(RED, (0, 0, 150, 150))
    turn = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright.transpose(turn) if turn is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", exif=exif)

    resized = resize(data, SizeRules())

    assert (resized.original_width, resized.original_height) == (600, 300)
    assert is_near(open_picture(resized).getpixel((30, 30)), RED)
    assert Image.open(io.BytesIO(resized.picture)).getexif().get(0x0112, 1) == 1


@pytest.mark.exhaustive
def test_what_is_transparent_is_white() -> None:
    data = encode(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "PNG")
    palette = Image.new("P", (300, 300), 0)
    gif = encode(palette, "GIF", transparency=0)

    for each in (data, gif):
        assert is_near(open_picture(resize(each, SizeRules())).getpixel((9, 9)), (255, 255, 255))


def test_the_first_frame_is_the_picture() -> None:
    frames = [Image.new("RGB", (300, 300), colour) for colour in (RED, (0, 0, 255))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert is_near(open_picture(resize(data, SizeRules())).getpixel((9, 9)), RED)


@pytest.mark.parametrize(
    ("mode", "colour", "kind"),
    [
        ("CMYK", (0, 255, 255, 0), "JPEG"),
        ("L", 128, "PNG"),
        ("1", 1, "PNG"),
        ("LA", (128, 255), "PNG"),
        ("I;16", 32896, "PNG"),
        ("P", 3, "PNG"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, colour: object, kind: str) -> None:
    image = Image.new(mode, (300, 300), colour)  # type: ignore[arg-type]

    shown = open_picture(resize(encode(image, kind), SizeRules()))

    expected = {"CMYK": (255, 0, 0), "1": (255, 255, 255), "P": (3, 3, 3)}.get(mode, (128,) * 3)
    if mode != "P":
        assert is_near(shown.getpixel((9, 9)), expected)


def test_colours_are_those_of_the_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (srgb, profile, b"damaged"):
        data = encode(Image.new("RGB", (300, 300), RED), "JPEG", icc_profile=icc)
        assert is_near(open_picture(resize(data, SizeRules())).getpixel((9, 9)), RED)


def test_exif_is_kept_as_json() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Böhm"
    data = encode(Image.new("RGB", (30, 30), RED), "JPEG", exif=exif)

    found = resize(data, SizeRules()).exif

    assert found is not None
    assert json.loads(found)["Make"].startswith("B")
    assert resize(encode(Image.new("RGB", (30, 30)), "PNG"), SizeRules()).exif is None


def attempt(data: bytes) -> Resized | FetchError:
    """What comes of it."""
    try:
        return resize(data, SizeRules())
    except FetchError as error:
        return error


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def break_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + b"\x00" * 20 + data[middle + 20 :]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("damage", [cut, break_middle, lambda data: data[:20], lambda _data: b""])
def test_damage_is_named_or_harmless(kind: str, damage: Callable[[bytes], bytes]) -> None:
    noise = Image.effect_noise((300, 300), 90).convert("RGB")

    outcome = attempt(damage(encode(noise, kind)))

    if isinstance(outcome, FetchError):
        assert (outcome.reason, "\n" in str(outcome)) == (Reason.NOT_A_PICTURE, False)
    else:
        assert (outcome.original_width, outcome.original_height) == (300, 300)


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.4"]
)
def test_no_program_is_run_for_a_picture(data: bytes) -> None:
    with pytest.raises(FetchError, match="not a picture"):
        resize(data, SizeRules())
