from pathlib import Path

import pytest

from laion_assets.training.released_table import find_table
from laion_assets_tests.raises import raises


@pytest.mark.parametrize(
    "name", ["images.lance", "lance/images.lance", "train.lance", "data/train.lance"]
)
def test_the_table_of_a_folder_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    assert find_table(str(tmp_path)) == find_table(f"{tmp_path}/") == str(tmp_path / name)
    assert find_table(str(tmp_path / name)) == str(tmp_path / name)


def test_the_table_of_a_dataset_of_the_hub_is_found() -> None:
    table = "hf://datasets/me/lemurs/data/train.lance"
    for uri in ("hf://datasets/me/lemurs", "hf://datasets/me/lemurs/data/", table):
        assert find_table(uri) == table


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with raises("training-no-table"):
        find_table(str(tmp_path))
