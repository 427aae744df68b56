"""A dataset as laion-1m comes into Lance with every byte of its pictures, and all its vectors."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.images.load import load_shard
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.raw_shards.fetch import bring_shard
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import copy

pytestmark = pytest.mark.slow

ROWS, FRAGMENT_ROWS, DIMENSION = 30, 20, 768


@pytest.mark.exhaustive
def test_a_dataset_as_laion_1m_comes_with_every_byte(settings: Settings, tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    vectors = noise.standard_normal((ROWS, DIMENSION), dtype=np.float32)
    pictures = [paint(n) for n in range(ROWS)]
    rows = pa.table(
        {
            "key": pa.array(range(ROWS), pa.int64()),
            "image": pa.array(pictures, pa.large_binary()),
            # The fifth is rejected.
            "caption": [None if n == 4 else f"caption {n}" for n in range(ROWS)],
            "url": [f"https://a.test/{n}.jpg" for n in range(ROWS)],
            "NSFW": pa.array([n % 2 for n in range(ROWS)], pa.int64()),
            "similarity": noise.random(ROWS),
            "md5": [f"{n:032x}" for n in range(ROWS)],
            "img_emb": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
        }
    )
    place = tmp_path / "train.lance"
    lance.write_dataset(rows, str(place), max_rows_per_file=FRAGMENT_ROWS)
    raws, database = RawStore(settings.raw_dir), Database(settings.database)
    store = LanceStore(settings.lance_dir)

    for shard in ("train-00000", "train-00001"):
        raw, _ = bring_shard([str(place)], shard, raws, SourceRules())
        with database.write() as connection:
            load_shard(connection, raw, raws.path(shard), "run")
        copy(settings, shard)
        add_pictures(database, store, raws, shard, "run")
        add_embeddings(database, store, raws, shard, "run")

    columns = ["caption", "url", "image", "nsfw", "md5", "img_emb", "status"]
    found = store.open("images").to_table(["shard", "row_index", *columns]).to_pylist()
    by_number = {int(row["url"].split("/")[-1][:-4]): row for row in found}
    assert sorted(by_number) == [n for n in range(ROWS) if n != 4]
    for n, row in by_number.items():
        place_of_row = (f"train-{n // FRAGMENT_ROWS:05d}", n % FRAGMENT_ROWS)
        assert (row["shard"], row["row_index"]) == place_of_row
        assert (row["image"], row["caption"]) == (pictures[n], f"caption {n}")
        assert (row["md5"], row["status"]) == (f"{n:032x}", "success")
        unit = vectors[n] / np.linalg.norm(vectors[n])
        assert np.allclose(np.array(row["img_emb"], "f4"), unit, atol=0.001)
