"""The encoder that the demo ships, and the script that fits it."""

from pathlib import Path

import numpy as np
import pytest

from laion_assets.demo.fit_encoder import SCENE_COUNT, fit_encoder
from laion_assets.demo.scenes import Scene, caption_scene, draw_scene, invent_scene
from laion_assets.embeddings.encoder import open_encoder
from laion_assets.settings import DEMO_ENCODER

# The demo's own numbers have 64 bits, and the fit begins at 0.
FIRST_HELD_OUT = 10 * SCENE_COUNT


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in DEMO_ENCODER.iterdir()) <= 600_000


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [600, pytest.param(2_000, marks=pytest.mark.exhaustive)])
def test_captions_find_their_pictures_among_many_that_it_never_saw(count: int) -> None:
    encoder = open_encoder("demo")
    scenes = [invent_scene(FIRST_HELD_OUT + number) for number in range(count)]

    pictures = encoder.embed_pictures([draw_scene(scene) for scene in scenes])
    texts = encoder.embed_texts([caption_scene(scene) for scene in scenes])
    closeness = texts @ pictures.T
    better = (closeness > np.diag(closeness)[:, None]).sum(axis=1)

    assert (better < 10).mean() >= 0.9
    # Somebody writes other words in another order.
    (query,) = encoder.embed_texts(["red boat at sunset"])
    nearest = [scenes[number] for number in np.argsort(-(pictures @ query))[:5]]
    wanted = [s for s in scenes if (s.thing, s.colour, s.time) == ("boat", "red", "at sunset")]
    assert wanted
    assert {scene.number for scene in nearest} >= {scene.number for scene in wanted[:1]}
    assert {scene.thing for scene in nearest} == {"boat"}


def test_words_that_it_does_not_know_have_no_influence() -> None:
    encoder = open_encoder("demo")

    known, mixed, unknown, empty = encoder.embed_texts(
        ["blue cat", "Zeppelin blue CAT quixotic", "quixotic", ""]
    )

    assert np.allclose(known, mixed)
    assert np.allclose(unknown, empty)
    assert np.isclose(np.linalg.norm(unknown), 1)


@pytest.mark.exhaustive
def test_fitting_again_writes_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        fit_encoder(tmp_path / name, scene_count=120)

    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    assert first.keys() == {path.name for path in DEMO_ENCODER.iterdir()}
    # From so few it learns what it saw.
    encoder = open_encoder(str(tmp_path / "first"))
    seen: list[Scene] = [invent_scene(number) for number in range(20)]
    pictures = encoder.embed_pictures([draw_scene(scene) for scene in seen])
    texts = encoder.embed_texts([caption_scene(scene) for scene in seen])
    assert ((texts @ pictures.T).argmax(axis=1) == np.arange(20)).mean() >= 0.7
