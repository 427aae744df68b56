"""A strip of small pictures, for the page of an asset."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from laion_assets.pictures.examine import FORMATS
from laion_assets.schemas import UNSAFE_LABELS
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE_COUNT = 8
SIDE = 96
# More probably unsafe ones are not shown.
MOST_UNSAFE = 0.5


def draw_samples(database: Database, store: LanceStore, shard: str) -> str | None:
    """Returns up to eight pictures of a shard in one PNG, as a `data:` URL; None without any.

    They come from all over the shard. Those that may be unsafe, by probability or else by label,
    are left out.
    """
    values = {
        "shard": shard,
        "count": SAMPLE_COUNT,
        "most_unsafe": MOST_UNSAFE,
        "unsafe_labels": list(UNSAFE_LABELS),
    }
    with database.read() as connection:
        rows = connection.execute(load_sql("pictures/select_samples"), values).fetchall()
    pictures = read_pictures(store, shard, [row for (row,) in rows])
    return _draw([content for _, content in sorted(pictures.items())]) if pictures else None


def read_pictures(store: LanceStore, shard: str, rows: Sequence[int]) -> dict[int, bytes]:
    """Returns the pictures of a few rows of a shard, by row; those that it has."""
    if not rows:
        return {}
    predicate = f"{select_shards([shard])} AND row_index IN ({', '.join(map(str, rows))})"
    # Late: Lance would else read the pictures of rows that it then drops.
    found = store.open("images").scanner(
        columns=["row_index", "image"], filter=predicate, late_materialization=["image"]
    )
    table = found.to_table()
    pairs = zip(table["row_index"].to_pylist(), table["image"].to_pylist(), strict=True)
    return {row: content for row, content in pairs if content is not None}


def _draw(contents: Sequence[bytes]) -> str:
    from PIL import Image

    strip = Image.new("RGB", (SIDE * len(contents), SIDE), "white")
    for number, content in enumerate(contents):
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            picture.draft("RGB", (SIDE, SIDE))
            small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        left = number * SIDE + (SIDE - small.width) // 2
        strip.paste(small, (left, (SIDE - small.height) // 2))
    file = io.BytesIO()
    strip.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
