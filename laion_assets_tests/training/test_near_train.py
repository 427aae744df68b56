from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.training import near_train, open_split
from laion_assets.training.near_train import MAX_DISTANCE, find_near
from laion_assets_tests.raises import raises
from laion_assets_tests.training.small_release import TAG, write_release


def draw_near(
    drawing: np.random.Generator, hashes: np.ndarray, distances: np.ndarray
) -> np.ndarray:
    """Returns hashes that differ from these in so many bits each."""
    bits = np.argsort(drawing.random((len(hashes), 64)), axis=1)
    masks = np.where(np.arange(64) < distances[:, None], np.uint64(1) << bits.astype(np.uint64), 0)
    drawn: np.ndarray = hashes ^ np.bitwise_or.reduce(masks.astype(np.uint64), axis=1)
    return drawn


@pytest.mark.parametrize("piece", [7, 1 << 22], ids=["pieces", "at once"])
def test_near_hashes_are_those_that_a_comparison_with_all_finds(
    monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(near_train, "PIECE", piece)
    drawing = np.random.default_rng(7)
    others = drawing.integers(0, 2**63, 300).astype(np.uint64)
    distances = np.repeat(np.arange(12), 25)
    hashes = draw_near(drawing, others, distances)

    distance = np.bitwise_count(hashes[:, None] ^ others).min(axis=1)
    assert find_near(hashes, others).tolist() == (distance <= MAX_DISTANCE).tolist()
    assert {0, MAX_DISTANCE, MAX_DISTANCE + 1} <= set(distance.tolist())


@pytest.mark.parametrize(("count", "other_count"), [(0, 3), (3, 0), (0, 0)])
def test_without_hashes_nothing_is_near(count: int, other_count: int) -> None:
    hashes = np.arange(count, dtype=np.uint64)
    others = np.arange(other_count, dtype=np.uint64)
    assert find_near(hashes, others).tolist() == [False] * count


def test_pictures_that_look_like_one_of_train_can_be_left_out(tmp_path: Path) -> None:
    store = LanceStore(tmp_path)
    hashes = [-1, 0b111111 ^ -1, 0b1111111 ^ -1, None, 0, -1, None]
    table = {
        "image_id": range(7),
        "split": ["train", *["test"] * 4, "validation", "train"],
        "phash": pa.array(hashes, pa.int64()),
    }
    lance.write_dataset(pa.table(table), store.uri("images"))
    store.create_tag("images", TAG, 1)

    def read(split: str, *, apart_from_train: bool) -> list[int]:
        stream = open_split(
            str(tmp_path), TAG, split, ["image_id"], apart_from_train=apart_from_train
        )
        return sorted(row["image_id"] for row in stream)

    assert read("test", apart_from_train=False) == [1, 2, 3, 4]
    assert read("test", apart_from_train=True) == [2, 3, 4]
    with raises("training-apart-from-itself"):
        read("train", apart_from_train=True)
    with raises("training-too-few-rows"):
        read("validation", apart_from_train=True)


def test_pictures_are_needed_to_leave_some_out(tmp_path: Path) -> None:
    folder = write_release(tmp_path, ["train", "test"])
    with raises("training-column-unknown"):
        open_split(str(folder), TAG, "test", ["image_id"], apart_from_train=True)
