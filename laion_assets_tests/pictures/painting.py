"""Small pictures for tests, each recognisable by its number."""

import io
from typing import Any

import numpy as np
from PIL import Image


def paint(
    number: int, width: int = 64, height: int = 48, kind: str = "JPEG", **options: Any
) -> bytes:
    """Returns the file of a picture: coarse patches by the number, in whatever size."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
