"""The example of a training loop. Skipped without torch, which is no part of the project."""

from pathlib import Path

import lance
import pyarrow as pa
import pytest

from laion_assets.demo.scenes import caption_scene, draw_scene, invent_scene
from laion_assets.stores.lance_store import LanceStore
from laion_assets.training import SplitStream, open_split

pytest.importorskip("torch", reason="needs torch")

pytestmark = pytest.mark.slow
TAG, COUNT = "r1", 256


def open_scenes(folder: Path) -> SplitStream:
    return open_split(str(folder), TAG, "train", ["image", "caption"])


def test_the_loss_goes_down_and_a_second_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from laion_assets.demo.train_encoder import train

    scenes = [invent_scene(number) for number in range(COUNT)]
    store = LanceStore(tmp_path)
    table = {
        "image": pa.array(map(draw_scene, scenes), pa.large_binary()),
        "caption": list(map(caption_scene, scenes)),
        "split": ["train"] * COUNT,
    }
    lance.write_dataset(pa.table(table), store.uri("images"))
    store.create_tag("images", TAG, 1)

    state = tmp_path / "state.pt"
    losses: list[float] = []
    for _ in range(4):
        losses += train(open_scenes(tmp_path), 0, state, num_workers=0)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.3
    # One epoch each, and each run goes on with the next.
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == [f"epoch {n}" for n in range(4)]
