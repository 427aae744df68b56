"""A loader whose batches threads read, without torch."""

import threading
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from laion_assets.training import SplitStream, make_loader, open_split
from laion_assets.training.row_batch import RowBatch
from laion_assets_tests.raises import raises
from laion_assets_tests.training.small_release import TAG, write_release


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("lance"), ["train", "train", "test"] * 20)


def open_train(folder: Path) -> SplitStream:
    return open_split(str(folder), TAG, "train", ["image_id"], seed=3)


def list_ids(rows: RowBatch) -> list[int]:
    return [row["image_id"] for row in rows]


def load(stream: SplitStream, **options: Any) -> Any:
    return make_loader(stream, 6, num_threads=3, collate_fn=list_ids, **options)


def join(batches: Iterable[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def expect(folder: Path, epoch: int = 0) -> list[int]:
    stream = open_train(folder)
    stream.set_epoch(epoch)
    return [row["image_id"] for row in stream]


def test_threads_read_each_epoch_in_its_order_and_go_on_in_the_middle(folder: Path) -> None:
    loader = load(open_train(folder))
    assert len(loader) == 7
    for epoch in range(2):
        assert join(loader) == expect(folder, epoch)
    assert join(islice(loader, 3)) == expect(folder, 2)[:18]
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (2, 18)
    other = load(open_train(folder))
    other.load_state_dict(state)
    assert join(other) == expect(folder, 2)[18:]
    assert join(load(open_train(folder), drop_last=True)) == expect(folder)[:36]


def test_batches_are_collated_by_the_threads_and_an_error_is_raised_here(folder: Path) -> None:
    # Three collate at once, or none goes on.
    together = threading.Barrier(3, timeout=60)

    def collate(rows: RowBatch) -> str:
        (number,) = list_ids(rows)
        if number in order[:3]:
            together.wait()
        if number == order[30]:
            raise ValueError("no picture")
        return "batch"

    order = expect(folder)
    with pytest.raises(ValueError, match="no picture"):
        list(make_loader(open_train(folder), 1, num_threads=3, collate_fn=collate))


def test_threads_have_no_workers_and_no_options_of_torch(folder: Path) -> None:
    for options in ({"num_workers": 2}, {"pin_memory": True}):
        with raises("training-threads-and-workers"):
            load(open_train(folder), **options)
