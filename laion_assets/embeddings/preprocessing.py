"""Makes of a picture what a vision model takes, as its `preprocessor_config.json` says.

The steps and their order are those of the image processors of `transformers` that use Pillow:
RGB, resize, crop from the middle, rescale, normalise. Values equal theirs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laion_assets.errors import LaionError, first_line
from laion_assets.pictures.examine import FORMATS, MAX_PIXELS, TOO_LARGE, describe_damage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BICUBIC = 3
# Pillow's numbers of ways to resample.
RESAMPLINGS = range(6)
CHANNELS = 3
DEFAULT_FACTOR = 1 / 255
# Switches that are obeyed. Another one that is on would be a step that is not done here.
SWITCHES = frozenset(
    {
        *("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize"),
        "do_flip_channel_order",
    }
)


@dataclass(frozen=True)
class Preprocessor:
    """What is done to a picture.

    Attributes:
        shortest_edge: pixels of the shorter side after the resize, which keeps the ratio; None:
            `exact_size` counts.
        exact_size: height and width after the resize; None with `shortest_edge` also None: the
            picture keeps its size.
        resampling: Pillow's number.
        crop_size: height and width of what is cut from the middle; a smaller picture gets a black
            border. None: nothing is cut.
        factor: each value from 0 to 255 is multiplied by it.
        mean: of each channel, subtracted.
        std: of each channel, divided by.
        is_bgr: whether the model takes blue first.
    """

    shortest_edge: int | None
    exact_size: tuple[int, int] | None
    resampling: int
    crop_size: tuple[int, int] | None
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_bgr: bool

    @property
    def output_size(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None if they depend on the picture."""
        return self.crop_size or self.exact_size

    def prepare(self, content: bytes) -> NDArray[np.float32]:
        """Returns a picture's values by channel, row and column.

        Args:
            content: the file of the picture.

        Raises:
            LaionError: it cannot be decoded.
        """
        import numpy as np

        picture = _decode(content)
        picture = self._resize(picture)
        values = np.asarray(picture).transpose(2, 0, 1)
        if self.crop_size is not None:
            values = crop_middle(values, self.crop_size)
        if self.is_bgr:
            values = values[::-1]
        shape = (CHANNELS, 1, 1)
        mean = np.array(self.mean, np.float32).reshape(shape)
        std = np.array(self.std, np.float32).reshape(shape)
        prepared: NDArray[np.float32] = (values * np.float32(self.factor) - mean) / std
        return np.ascontiguousarray(prepared, np.float32)

    def _resize(self, picture: Image.Image) -> Image.Image:
        from PIL import Image as Pillow

        size = self.exact_size
        if self.shortest_edge is not None:
            width, height = picture.size
            short, long = min(width, height), max(width, height)
            other = int(self.shortest_edge * long / short)
            is_tall = height >= width
            size = (other, self.shortest_edge) if is_tall else (self.shortest_edge, other)
        if size is None:
            return picture
        # A line of 10,000 pixels would become a picture of billions.
        if size[0] * size[1] > MAX_PIXELS:
            raise _undecodable(f"{TOO_LARGE} after the resize")
        return picture.resize((size[1], size[0]), Pillow.Resampling(self.resampling))


def read_preprocessor(config: Mapping[str, Any], path: object) -> Preprocessor:
    """Reads `preprocessor_config.json`.

    Args:
        config: what is in it.
        path: what to call it in an error.

    Raises:
        LaionError: it asks for what is not done here.
    """
    unknown = [
        name
        for name, value in config.items()
        if name.startswith("do_") and value and name not in SWITCHES
    ]
    # SigLIP 2 in its form for any ratio, ConvNeXt.
    unknown += [name for name in ("max_num_patches", "crop_pct") if config.get(name)]
    if unknown:
        raise LaionError(
            f"{path}: asks for `{unknown[0]}`, which is not done here; take another encoder",
            code="encoder-preprocessing-unknown",
        )
    try:
        return _read(config)
    except (KeyError, TypeError, ValueError) as error:
        raise LaionError(
            f"{path}: cannot be used ({type(error).__name__}: {first_line(error)}); take the "
            "`preprocessor_config.json` of the encoder",
            code="encoder-preprocessing-unusable",
        ) from error


def crop_middle(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns the middle of a picture; where it is smaller, it gets a black border.

    Args:
        values: by channel, row and column.
        size: height and width of the result.
    """
    import numpy as np

    result = np.zeros((values.shape[0], *size), values.dtype)
    inner, outer = [slice(None)], [slice(None)]
    for length, wanted in zip(values.shape[1:], size, strict=True):
        # With one pixel more on one side, that is before the picture, and after the crop.
        skipped, border = max(0, (length - wanted) // 2), max(0, math.ceil((wanted - length) / 2))
        shared = min(length, wanted)
        inner.append(slice(skipped, skipped + shared))
        outer.append(slice(border, border + shared))
    result[tuple(outer)] = values[tuple(inner)]
    return result


def _read(config: Mapping[str, Any]) -> Preprocessor:
    is_cropping = config.get("do_center_crop", "crop_size" in config)
    shortest_edge = exact_size = None
    if config.get("do_resize", True):
        size = config["size"]
        if isinstance(size, int):
            # Of the first years: the shorter side if the rest is cut off, else both.
            size = {"shortest_edge": size} if is_cropping else {"height": size, "width": size}
        if set(size) == {"shortest_edge"}:
            shortest_edge = _read_length(size["shortest_edge"])
        elif set(size) == {"height", "width"}:
            exact_size = _read_size(size)
        else:
            raise ValueError(f"size {size}")
    crop_size = None
    if is_cropping:
        crop = config["crop_size"]
        crop_size = _read_size({"height": crop, "width": crop} if isinstance(crop, int) else crop)
    resampling = config.get("resample", BICUBIC)
    if resampling not in RESAMPLINGS:
        raise ValueError(f"resample {resampling}")
    is_normalising = config.get("do_normalize", True)
    factor = config.get("rescale_factor", DEFAULT_FACTOR)
    return Preprocessor(
        shortest_edge=shortest_edge,
        exact_size=exact_size,
        resampling=int(resampling),
        crop_size=crop_size,
        factor=float(factor) if config.get("do_rescale", True) else 1.0,
        mean=_read_channels(config["image_mean"]) if is_normalising else (0.0,) * CHANNELS,
        std=_read_channels(config["image_std"]) if is_normalising else (1.0,) * CHANNELS,
        is_bgr=bool(config.get("do_flip_channel_order")),
    )


def _read_size(size: Mapping[str, Any]) -> tuple[int, int]:
    return _read_length(size["height"]), _read_length(size["width"])


def _read_length(value: object) -> int:
    if not isinstance(value, int) or not 0 < value <= math.isqrt(MAX_PIXELS):
        raise ValueError(f"{value!r} pixels")
    return value


def _read_channels(values: Any) -> tuple[float, ...]:
    channels = tuple(float(value) for value in ([values] * CHANNELS if _is_one(values) else values))
    if len(channels) != CHANNELS:
        raise ValueError(f"{len(channels)} channels")
    return channels


def _is_one(values: object) -> bool:
    return isinstance(values, int | float)


def _decode(content: bytes) -> Image.Image:
    """Returns the picture in RGB, turned as EXIF says, as `load_image` of `transformers` does."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _undecodable(TOO_LARGE)
            picture.load()
            try:
                upright = ImageOps.exif_transpose(picture)
            except Exception:  # noqa: BLE001 - of a broken EXIF; the picture itself is whole
                upright = picture
            return upright.convert("RGB")
    except LaionError:
        raise
    except Exception as error:  # decoders raise anything for broken bytes
        raise _undecodable(describe_damage(error)) from error


def _undecodable(reason: str) -> LaionError:
    return LaionError(
        f"a picture cannot be decoded: {reason}; give a JPEG, PNG or WebP file",
        code="encoder-picture-undecodable",
    )
