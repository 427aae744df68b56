"""`laion search --by`, `--like`, `--picture` and `--vector`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from laion_assets.cli.main import main
from laion_assets.settings import Settings
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import bring_vectors
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.search.test_rankings import paint

COLOURS = {"tomato": [9, 1, 1], "cucumber": [1, 9, 1], "plum": [4, 1, 7], "sky": [1, 3, 9]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of four pictures, and an encoder whose vector is the mean colour."""
    folder = tmp_path_factory.mktemp("ranked")
    settings = replace(Settings.default(folder / "data"), sheets={})
    bring_vectors(settings, "alpha", list(COLOURS.values()), caption=list(COLOURS))
    refresh(settings)
    EncoderFiles().write(folder / "encoder")
    return folder


@pytest.fixture
def search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command over them."""
    monkeypatch.setenv("LAION_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("LAION_ENCODER", str(folder / "encoder"))
    return lambda *arguments: CliRunner().invoke(main, ["search", *arguments])


def captions(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [hit["caption"] for hit in json.loads(result.stdout)["hits"]]


@pytest.mark.exhaustive
def test_words_and_meaning_and_both(search: Callable[..., Result]) -> None:
    assert captions(search("red", "--json")) == []
    assert captions(search("red", "--by", "meaning", "--json"))[0] == "tomato"
    assert captions(search("blue", "--by", "both", "--limit", "1", "--json")) == ["sky"]
    answer = json.loads(search("green", "--by", "meaning", "--limit", "2", "--json").stdout)
    assert [answer[name] for name in ("total", "shown", "ranked")] == [4, 4, 3]
    printed = search("green", "--by", "meaning").stdout
    assert printed.startswith("The nearest of 4 images in release ")
    assert printed.splitlines()[2] == "cucumber"


def test_what_looks_like_an_image_a_picture_or_a_vector(
    search: Callable[..., Result], tmp_path: Path
) -> None:
    assert captions(search("--like", "alpha/3", "--json"))[0] == "plum"
    picture = tmp_path / "picture.png"
    picture.write_bytes(paint(20, 200, 10))
    assert captions(search("--picture", str(picture), "--json"))[0] == "cucumber"
    for shape in ((3,), (1, 3)):
        vector = tmp_path / "vector.npy"
        np.save(vector, np.array([0.1, 0.2, 0.9], "f4").reshape(shape))
        assert captions(search("--vector", str(vector), "--json"))[0] == "sky"
    # These need no encoder.
    assert captions(search("--like", "alpha/0", "--limit", "1", "--shard", "alpha", "--json"))


def test_a_file_that_is_no_picture_is_refused_in_words(
    search: Callable[..., Result], tmp_path: Path
) -> None:
    text = tmp_path / "picture.jpg"
    text.write_text("hello")
    result = search("--picture", str(text))
    assert result.exit_code == 1
    assert result.stderr == (
        "laion: a picture cannot be decoded: no JPEG, PNG or WEBP file; give a JPEG, PNG or WebP "
        "file\n"
    )


BAD: dict[str, tuple[list[str], int, str]] = {
    "nothing": ([], 2, "give one of QUERY"),
    "two": (["red", "--like", "alpha/1"], 2, "give one of QUERY"),
    "a count": (["red", "--by", "meaning", "--count"], 2, "a ranking has no count"),
    "another way": (["red", "--by", "magic"], 2, "'magic' is not one of"),
    "a sort": (["red", "--by", "both", "--sort", "width"], 1, "has an order of its own"),
    "no place": (["--like", "alpha"], 1, "write SHARD/ROW"),
    "no image": (["--like", "alpha/9"], 1, "there is no image 'alpha/9'"),
    "no file": (["--picture", "nowhere.png"], 2, "does not exist"),
}


@pytest.mark.parametrize(("arguments", "status", "text"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_asked(
    search: Callable[..., Result], arguments: list[str], status: int, text: str
) -> None:
    result = search(*arguments)
    assert result.exit_code == status
    assert text in result.stderr


@pytest.mark.parametrize("content", [np.ones((2, 3)), np.arange(3), np.ones(4)], ids=str)
def test_a_file_without_one_such_vector_is_refused(
    search: Callable[..., Result], tmp_path: Path, content: Any
) -> None:
    vector = tmp_path / "vector.npy"
    np.save(vector, content)
    result = search("--vector", str(vector))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    vector.write_bytes(vector.read_bytes()[:-1])
    assert search("--vector", str(vector)).exit_code == 1


def test_without_an_encoder_a_line_says_so(
    search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAION_ENCODER")
    result = search("red", "--by", "meaning")
    assert result.exit_code == 1
    assert result.stderr.startswith("laion: a search by meaning needs an encoder")
