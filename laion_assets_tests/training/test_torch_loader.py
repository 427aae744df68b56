"""Streams in torch's own loaders. Skipped without torch, which is no part of the project."""

import multiprocessing
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laion_assets.training import SplitStream, collate, make_loader, open_split
from laion_assets_tests.raises import raises
from laion_assets_tests.training.small_release import DIMENSION, TAG, write_release

REASON = "needs torch"
torch = pytest.importorskip("torch", reason=REASON)

pytestmark = pytest.mark.slow
COLUMNS = ["image_id", "image", "caption", "width", "aesthetic", "is_sharp", "img_emb"]
FORKSERVER: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "forkserver"}


@pytest.fixture(scope="module", autouse=True)
def quick_workers() -> None:
    """The server that forks workers imports torch once, and not each of them."""
    multiprocessing.set_forkserver_preload(["torch", "laion_assets.training"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("lance"), ["train", "train", "test"] * 20)


def open_train(folder: Path, **options: Any) -> SplitStream:
    return open_split(str(folder), TAG, "train", COLUMNS, **options)


def ids(batches: Iterator[dict[str, Any]]) -> list[int]:
    return [number for batch in batches for number in batch["image_id"].tolist()]


def expect(folder: Path, epoch: int = 0) -> list[int]:
    stream = open_train(folder)
    stream.set_epoch(epoch)
    return [row["image_id"] for row in stream]


@pytest.mark.parametrize("workers", [{}, FORKSERVER], ids=["here", "workers"])
def test_a_data_loader_takes_a_stream(folder: Path, workers: dict[str, Any]) -> None:
    stream = open_train(folder)
    loader = torch.utils.data.DataLoader(stream, batch_size=7, collate_fn=collate, **workers)
    assert ids(iter(loader)) == expect(folder)
    stream.set_epoch(1)
    assert ids(iter(loader)) == expect(folder, 1)


def test_a_batch_is_of_tensors_whatever_is_missing(folder: Path) -> None:
    (batch,) = make_loader(open_train(folder, shuffle=False), 99)
    numbers = batch["image_id"]
    is_bare = numbers % 3 == 2
    assert len(numbers) == 40
    assert batch["img_emb"].dtype == torch.float16
    assert batch["img_emb"].shape == (40, DIMENSION)
    assert batch["width"].dtype == torch.int32
    for name in ("width", "aesthetic", "is_sharp", "img_emb"):
        assert torch.equal(batch["is_null"][name], is_bare)
    assert torch.equal(batch["img_emb"][:, 0].isnan(), is_bare)
    assert batch["caption"] == [f"picture {number}" for number in numbers]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:lance is not fork-safe")
def test_a_fork_is_refused_and_a_loader_of_ours_does_not_fork(folder: Path) -> None:
    forked = {"num_workers": 1, "multiprocessing_context": "fork"}
    stream = open_train(folder)
    loader = torch.utils.data.DataLoader(stream, batch_size=7, collate_fn=collate, **forked)
    with pytest.raises(Exception, match="forkserver") as caught:
        next(iter(loader))
    assert str(caught.value).strip().splitlines()[-1].count("this process was forked") == 1
    assert ids(iter(make_loader(stream, 7, num_workers=1))) == expect(folder)


@pytest.mark.parametrize(
    "workers",
    [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}],
    ids=["here", "workers", "persistent"],
)
def test_a_loader_goes_on_in_the_middle_of_an_epoch(folder: Path, workers: dict[str, Any]) -> None:
    loader = make_loader(open_train(folder), 6, **workers)
    loader.set_epoch(2)
    assert ids(islice(iter(loader), 3)) == expect(folder, 2)[:18]
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (2, 18)

    other = make_loader(open_train(folder), 6, **workers)
    other.load_state_dict(state)
    assert len(other) == 4
    for epoch in range(other.stream.epoch, 4):
        other.set_epoch(epoch)
        left = expect(folder, epoch)[18 if epoch == 2 else 0 :]
        assert ids(iter(other)) == left


def test_a_loader_leaves_out_a_batch_that_is_not_full(folder: Path) -> None:
    loader = make_loader(open_train(folder), 12, drop_last=True)
    assert len(loader) == 3
    assert ids(iter(loader)) == expect(folder)[:36]
    assert ids(iter(loader)) == expect(folder, 1)[:36]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # which torchdata calls
@pytest.mark.parametrize("workers", [{}, FORKSERVER], ids=["here", "workers"])
def test_torchdata_saves_and_loads_the_state(folder: Path, workers: dict[str, Any]) -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader", reason="needs torchdata")

    def make(epoch: int) -> Any:
        stream = open_train(folder)
        stream.set_epoch(epoch)
        return torchdata.StatefulDataLoader(stream, batch_size=6, collate_fn=collate, **workers)

    loader = make(1)
    assert ids(islice(iter(loader), 3)) == expect(folder, 1)[:18]
    state = loader.state_dict()
    other = make(0)
    other.load_state_dict(state)
    assert ids(iter(other)) == expect(folder, 1)[18:]


def test_only_batches_of_a_stream_are_collated(folder: Path) -> None:
    with raises("training-collate"):
        collate([open_train(folder)[0]])  # type: ignore[arg-type]


def test_half_numbers_become_tensors_without_a_warning(folder: Path) -> None:
    (batch,) = make_loader(open_train(folder), 99)
    batch["img_emb"].nan_to_num_()
    assert np.isfinite(batch["img_emb"].numpy()).all()
