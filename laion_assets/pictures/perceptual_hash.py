"""A hash that pictures which look alike share, but for a few of its 64 bits.

Source: pHash's hash by the discrete cosine transform (C. Zauner, "Implementation and Benchmarking
of Perceptual Image Hash Functions", 2010, section 3.2.1), in the form that the Python library
ImageHash gave it (`imagehash.phash`): grey values of 32 x 32 pixels, their cosine transform, and
for each of the 8 x 8 lowest frequencies whether it is above the median of these.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIDE = 32
LOWEST = 8


def hash_picture(picture: Image.Image) -> int:
    """Returns the hash, as a signed integer of 64 bits; the highest bit is the lowest frequency.

    Pictures of the same scene in another size or quality differ in few bits: count them with
    `(a ^ b).bit_count()`, modulo 2 ** 64. From some 10 on, they are different pictures.
    """
    import numpy as np
    from PIL import Image as Pillow

    small = picture.convert("L").resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)
    waves = _waves()
    lowest = waves @ np.asarray(small, np.float64) @ waves.T
    bits = lowest > np.median(lowest)
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big", signed=True)


@cache
def _waves() -> NDArray[np.float64]:
    """Returns the lowest frequencies of the cosine transform (DCT-II), one a row."""
    import numpy as np

    places = np.arange(SIDE)
    return 2 * np.cos(np.pi * np.outer(np.arange(LOWEST), 2 * places + 1) / (2 * SIDE))
