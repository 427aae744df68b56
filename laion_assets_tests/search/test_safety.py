"""What is hidden where a source has labels in place of a probability."""

from collections.abc import Sequence

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.search import row_values
from laion_assets.search.row_values import RowValues
from laion_assets.search.safety import UNSAFETY, is_unsafe, measure_unsafety
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pipeline import copy, load

UNSAFE = ("NSFW", "UNSURE", "nsfw", " Unsure\n", "1", "1.0", "true", "TRUE")
OTHERS = ("UNLIKELY", "SFW", "0", "0.0", "false", "", "not NSFW", "11", None)


@pytest.mark.parametrize("label", [*UNSAFE, *OTHERS], ids=repr)
def test_a_label_counts_only_without_a_probability(label: str | None) -> None:
    assert is_unsafe(None, label, 0.5) == (label in UNSAFE)
    assert is_unsafe(0.9, label, 0.5)
    assert not is_unsafe(0.1, label, 0.5)
    assert not is_unsafe(None, label, 1)


def test_a_column_of_labels_is_read_as_each_of_them() -> None:
    labels = [*UNSAFE, *OTHERS, "NSFW", "UNLIKELY"]
    punsafe = [None] * (len(labels) - 2) + [0.25, 0.75]

    measured = measure_unsafety(pa.array(punsafe, pa.float32()), pa.array(labels, pa.string()))

    hidden = [value is not None and value > 0.5 for value in measured.to_pylist()]
    assert hidden == [is_unsafe(p, label, 0.5) for p, label in zip(punsafe, labels, strict=True)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("most", [10**9, 0], ids=["kept", "too many to keep"])
def test_rows_of_every_shard_are_measured(
    settings: Settings, write_shard: WriteShard, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(row_values, "MAX_KEPT_ROWS", most)
    urls = [f"https://a.test/{row}" for row in range(3)]
    shards: dict[str, dict[str, Sequence[object]]] = {
        "labels": {"nsfw": ["UNSURE", "UNLIKELY", None]},
        "numbers": {"nsfw": [0, 1, None]},
        "scores": {"punsafe": [0.5, 0.25, None], "nsfw": ["NSFW", "NSFW", "NSFW"]},
        "nothing": {},
    }
    for shard, columns in shards.items():
        path = write_shard(shard, url=urls, caption=["a fox"] * 3, **columns)
        load(settings, shard, path)
        copy(settings, shard)
    images: lance.LanceDataset = LanceStore(settings.lance_dir).open("images")
    found = images.scanner(columns=["shard", "row_index"], with_row_id=True).to_table()

    measured = RowValues(images).read(UNSAFETY, found["_rowid"].to_numpy())

    places = zip(found["shard"].to_pylist(), found["row_index"].to_pylist(), strict=True)
    values = {place: None if np.isnan(v) else v for place, v in zip(places, measured, strict=True)}
    assert {shard: [values[shard, row] for row in range(3)] for shard in shards} == {
        "labels": [1, None, None],
        "numbers": [None, 1, None],
        "scores": [0.5, 0.25, 1],
        "nothing": [None, None, None],
    }
