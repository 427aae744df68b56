"""Releases to publish."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pictures.test_add_pictures import add
from laion_assets_tests.pipeline import bring

ROWS, DIMENSION = 40, 8


def make_rows(shard: str, seed: int) -> pa.Table:
    """Rows as laion-1m has them; the fourth has no caption."""
    noise = np.random.default_rng(seed)
    vectors = noise.standard_normal(ROWS * DIMENSION, dtype=np.float32)
    return pa.table(
        {
            "url": [f"https://{shard}.test/{n}.jpg" for n in range(ROWS)],
            "caption": [None if n == 3 else f"a fox of {shard} {n}" for n in range(ROWS)],
            "width": pa.array([256 + n for n in range(ROWS)], pa.int64()),
            "height": pa.array([200] * ROWS, pa.int64()),
            "punsafe": pa.array([n / ROWS for n in range(ROWS)], pa.float32()),
            "similarity": pa.array(noise.random(ROWS), pa.float32()),
            "key": [f"{shard}{n:05}" for n in range(ROWS)],
            "image": pa.array([paint(seed * 100 + n) for n in range(ROWS)], pa.binary()),
            "img_emb": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIMENSION),
        }
    )


def bring_whole(settings: Settings, shard: str, seed: int) -> None:
    """Brings a shard with its pictures and vectors to Lance."""
    bring(settings, shard, make_rows(shard, seed))
    add(settings, shard)
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    add_embeddings(*stores, RawStore(settings.raw_dir), shard, "run")


def make_other(tmp_path: Path) -> Settings:
    """Settings of another project."""
    folder = tmp_path / "other"
    folder.mkdir()
    return make_settings(folder)
