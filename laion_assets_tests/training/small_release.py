"""A small table with a release, as the pipeline has it, without the way to it."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from laion_assets.stores.lance_store import LanceStore

TAG = "r1"
DIMENSION = 4


def write_release(folder: Path, splits: list[str], name: str = "images") -> Path:
    """Writes a LanceDB database with a row for each split named, in fragments of 7 rows.

    Every third row has nothing but what every row has.
    """
    count = len(splits)
    is_bare = np.arange(count) % 3 == 2
    vectors = np.repeat(np.arange(count, dtype=np.float16), DIMENSION).reshape(count, -1)
    table = pa.table(
        {
            "image_id": pa.array(range(count), pa.int64()),
            "caption": [f"picture {number}" for number in range(count)],
            "split": splits,
            "width": pa.array(range(100, 100 + count), pa.int32(), mask=is_bare),
            "aesthetic": pa.array(np.full(count, 5.5), pa.float32(), mask=is_bare),
            "is_sharp": pa.array(np.full(count, True), pa.bool_(), mask=is_bare),
            "image": pa.array(
                [None if bare else b"\xff%d" % n for n, bare in enumerate(is_bare)],
                pa.large_binary(),
            ),
            "img_emb": pa.array(
                [None if bare else list(v) for bare, v in zip(is_bare, vectors, strict=True)],
                pa.list_(pa.float16(), DIMENSION),
            ),
        }
    )
    store = LanceStore(folder)
    lance.write_dataset(table, store.uri(name), max_rows_per_file=7)
    store.create_tag(name, TAG, 1)
    return folder
