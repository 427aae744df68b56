"""Shards with pictures, vectors and what a user declares, brought to a release."""

import random
from pathlib import Path

import pyarrow as pa

from laion_assets.curation.curation_file import Curation, read_curation
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.declared_columns.add_declared import add_declared
from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.releases.publish import ReleaseOrder, publish_release
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.subsets.make_subset import MadeSubset, SubsetOrder, make_subset
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import bring, count

WORDS = ("lemur", "fox", "tree", "red", "Lémur", "house")
DIMENSION = 8
COLUMNS = """
[columns.ratio]
sql = "CAST(width AS DOUBLE) / height"
[columns.is_wide]
sql = "width > 320"
"""


def make_rows(shard: str, row_count: int, seed: int = 0) -> pa.Table:
    """Returns the rows of a shard; every fifth has no picture and every seventh no vector."""
    chance = random.Random(f"{shard} {seed}")  # noqa: S311
    rows = range(row_count)
    return pa.table(
        {
            "url": [f"https://{shard}.test/{row}.jpg" for row in rows],
            "caption": [f"a {' '.join(chance.sample(WORDS, 3))}" for _ in rows],
            "width": pa.array([chance.randint(100, 900) for _ in rows], pa.int32()),
            "height": pa.array([chance.randint(100, 900) for _ in rows], pa.int32()),
            "image": [paint(chance.randint(0, 99)) if row % 5 else None for row in rows],
            "img_emb": pa.array(
                [
                    [chance.gauss(0, 1) for _ in range(DIMENSION)] if row % 7 else None
                    for row in rows
                ],
                pa.list_(pa.float32()),
            ),
        }
    )


def declare(settings: Settings, text: str) -> Curation:
    """Writes `curation.toml` and reads it."""
    settings.data_dir.mkdir(exist_ok=True, parents=True)
    settings.curation_file.write_text(text, encoding="utf-8")
    return read_curation(settings.curation_file)


def bring_all(settings: Settings, shard: str, rows: pa.Table, curation: Curation) -> None:
    """Brings a shard to Lance with its pictures, its vectors and the declared columns."""
    bring(settings, shard, rows)
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    raws = RawStore(settings.raw_dir)
    add_pictures(*stores, raws, shard, "run")
    add_embeddings(*stores, raws, shard, "run")
    add_declared(*stores, curation, shard, "run", raws)


def release(settings: Settings, curation: Curation) -> str:
    """Counts and releases; returns the tag."""
    count(settings)
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    order = ReleaseOrder("run", curation=curation)
    return publish_release(*stores, tuple(settings.sheets), order).manifest.release


def make(settings: Settings, subset: DeclaredSubset, *declared: str) -> MadeSubset:
    """Makes a subset of the newest release; there is no encoder."""
    order = SubsetOrder(subset, "run", declared)
    return make_subset(LanceStore(settings.lance_dir), order, lambda _: None)


def define(folder: Path, text: str, before: str = "") -> DeclaredSubset:
    """Returns the only subset of this text, of the name `lemurs`."""
    path = folder / "curation.toml"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(f"{before}\n[subsets.lemurs]\n{text}", encoding="utf-8")
    (subset,) = read_curation(path).subsets
    return subset
