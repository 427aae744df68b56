"""Pictures that are the same everywhere, for values that other programs worked out."""

import io

import numpy as np
from PIL import Image


def paint(width: int, height: int) -> Image.Image:
    """Returns a picture with edges and ramps in all channels."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 7 + y * 3, x * x // 5 + y, x * 2 + y * y // 7]
    return Image.fromarray(np.stack([c % 256 for c in channels], -1).astype(np.uint8))


def encode_png(picture: Image.Image) -> bytes:
    """Returns the bytes of a file, without any loss."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
