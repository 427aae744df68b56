import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laion_assets.embeddings.preprocessing import crop_middle, read_preprocessor
from laion_assets_tests.embeddings.painted import encode_png, paint
from laion_assets_tests.raises import raises

# Written once with the image processors of transformers 5.24 that use Pillow 13.
EXPECTED = json.loads(Path(__file__).with_name("expected_pixels.json").read_text())
CONFIGURATIONS: dict[str, dict[str, Any]] = EXPECTED["configurations"]
PLAIN = {"size": {"height": 2, "width": 2}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}


@pytest.mark.parametrize("picture", EXPECTED["pictures"], ids=lambda p: f"{p['name']} {p['size']}")
def test_pixels_equal_those_of_transformers(picture: dict[str, Any]) -> None:
    preprocessor = read_preprocessor(CONFIGURATIONS[picture["name"]], "test")

    pixels = preprocessor.prepare(encode_png(paint(*picture["size"])))

    assert list(pixels.shape) == picture["shape"]
    assert pixels.dtype == np.float32
    rows, columns = (np.linspace(0, side - 1, 5).round().astype(int) for side in pixels.shape[1:])
    found = pixels[:, rows][:, :, columns].reshape(3, -1)
    assert np.abs(found - picture["values"]).max() < 1e-3
    assert abs(pixels.mean() - picture["mean"]) < 1e-4
    assert abs(pixels.std() - picture["std"]) < 1e-4


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_pixels_equal_those_of_the_installed_transformers(name: str, mode: str) -> None:
    reason = "needs torch and transformers, to compare with"
    pytest.importorskip("transformers", reason=reason)
    clip = pytest.importorskip("transformers.models.clip.image_processing_pil_clip", reason=reason)
    siglip = pytest.importorskip(
        "transformers.models.siglip.image_processing_pil_siglip", reason=reason
    )
    config = CONFIGURATIONS[name]
    is_siglip = "Siglip" in config.get("image_processor_type", "")
    kind = siglip.SiglipImageProcessorPil if is_siglip else clip.CLIPImageProcessorPil
    picture = paint(431, 287).convert(mode)

    pixels = read_preprocessor(config, "test").prepare(encode_png(picture))

    processor = kind(**{**config, "do_convert_rgb": True})
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    assert np.abs(pixels - expected).max() < 1e-3


def test_pictures_of_all_kinds_become_rgb_and_upright() -> None:
    preprocessor = read_preprocessor({**PLAIN, "resample": 0}, "test")
    painted = Image.new("RGB", (4, 2), "red")
    painted.paste("blue", (2, 0, 4, 2))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    painted.save(buffer, "PNG", exif=exif)

    upright = preprocessor.prepare(encode_png(painted))
    turned = preprocessor.prepare(buffer.getvalue())
    grey = preprocessor.prepare(encode_png(Image.new("LA", (3, 5), (51, 0))))

    assert upright[0].tolist() == [[1, 0], [1, 0]]
    assert upright[2].tolist() == [[0, 1], [0, 1]]
    assert turned[0].tolist() == [[0, 1], [0, 1]]
    assert np.allclose(grey, 0.2)


def test_channels_are_in_the_order_that_the_model_takes() -> None:
    red = encode_png(Image.new("RGB", (4, 4), "red"))

    pixels = read_preprocessor({**PLAIN, "do_flip_channel_order": True}, "test").prepare(red)

    assert pixels[:, 0, 0].tolist() == [0, 0, 1]


def test_switches_turn_steps_off() -> None:
    off = {"do_resize": False, "do_rescale": False, "do_normalize": False}

    pixels = read_preprocessor(off, "test").prepare(encode_png(Image.new("RGB", (5, 3), (9, 8, 7))))

    assert pixels.shape == (3, 3, 5)
    assert pixels[:, 0, 0].tolist() == [9, 8, 7]


def test_rescaling_and_normalising_use_the_given_numbers() -> None:
    numbers = {"rescale_factor": 0.5, "image_mean": [1, 2, 3], "image_std": [2, 4, 8]}

    pixels = read_preprocessor({**PLAIN, **numbers}, "test").prepare(
        encode_png(Image.new("RGB", (2, 2), (10, 20, 30)))
    )

    assert pixels[:, 0, 0].tolist() == [2, 2, 1.5]


@pytest.mark.parametrize(
    ("length", "wanted", "expected"),
    [(5, 2, [1, 2]), (4, 3, [0, 1, 2]), (2, 4, [-1, 0, 1, -1]), (2, 5, [-1, -1, 0, 1, -1])],
)
def test_the_middle_is_cut_out(length: int, wanted: int, expected: list[int]) -> None:
    values = np.arange(1, length + 1, dtype=np.uint8).reshape(1, 1, -1)

    assert (crop_middle(values, (1, wanted))[0, 0].astype(int) - 1).tolist() == expected


@pytest.mark.parametrize(
    "change",
    [{"do_pad": True}, {"max_num_patches": 256}, {"crop_pct": 0.9}],
    ids=lambda change: next(iter(change)),
)
def test_a_step_that_is_not_known_is_refused(change: dict[str, Any]) -> None:
    with raises("encoder-preprocessing-unknown"):
        read_preprocessor({**PLAIN, **change}, "test")


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"longest_edge": 2}},
        {"size": {"height": 0, "width": 2}},
        {"size": {"height": 10**6, "width": 2}},
        {"size": "large"},
        {"resample": 9},
        {"image_std": [1, 1]},
        {"image_mean": None},
        {"do_center_crop": True},
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_used_is_refused(change: dict[str, Any]) -> None:
    with raises("encoder-preprocessing-unusable"):
        read_preprocessor({**PLAIN, **change}, "test")


@pytest.mark.parametrize(
    "content",
    [b"", b"<svg/>", encode_png(paint(9, 9))[:40], encode_png(Image.new("1", (10_000, 9_000)))],
    ids=["empty", "no picture", "cut off", "too large"],
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with raises("encoder-picture-undecodable"):
        read_preprocessor(PLAIN, "test").prepare(content)


def test_a_line_does_not_become_a_picture_of_billions() -> None:
    preprocessor = read_preprocessor(CONFIGURATIONS["clip-vit-base-patch32"], "test")

    with raises("encoder-picture-undecodable"):
        preprocessor.prepare(encode_png(Image.new("L", (20_000, 1))))
