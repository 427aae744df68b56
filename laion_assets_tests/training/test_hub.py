from pathlib import Path

import pytest

from laion_assets.training import open_split
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.hub_server import Hub
from laion_assets_tests.training.small_release import TAG, write_release

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset on the Hub in the layout of a published release."""
    # Lance reads the variable itself.
    monkeypatch.setenv("HF_ENDPOINT", hub.server.origin)
    folder = write_release(tmp_path, ["train", "validation", "test"] * 10, "train")
    files = {
        f"data/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    hub.publish("me/lemurs", files)
    return "hf://datasets/me/lemurs"


def test_a_published_release_is_read_from_the_hub(dataset: str, tmp_path: Path) -> None:
    columns = ["image_id", "image", "caption"]
    from_hub = open_split(dataset, TAG, "train", columns, seed=2)
    from_disk = open_split(str(tmp_path), TAG, "train", columns, seed=2)
    assert list(from_hub) == list(from_disk)
    assert len(from_hub) == 10


def test_what_the_hub_does_not_have_is_named(dataset: str) -> None:
    with raises("training-release-unknown"):
        open_split(dataset, "r9", "train", ["image_id"])
    with raises("training-table-unreadable"):
        open_split("hf://datasets/me/foxes", TAG, "train", ["image_id"])
