import io

import pyarrow as pa
import pytest
from PIL import Image

from laion_assets.demo.sample_shards import PICTURE_SCHEMA, SampleSpec, generate_shard
from laion_assets.demo.scenes import COLOURS, THINGS, caption_scene, draw_scene, invent_scene

SPEC = SampleSpec(shard_count=1, rows_per_shard=4_000, has_pictures=True)


def make_table(spec: SampleSpec = SPEC) -> pa.Table:
    return pa.Table.from_batches(generate_shard(spec, 0, ()), PICTURE_SCHEMA)


def test_a_number_is_always_the_same_scene() -> None:
    scenes = [invent_scene(number) for number in range(200)]

    assert [draw_scene(scene) for scene in scenes[:20]] == [
        draw_scene(invent_scene(number)) for number in range(20)
    ]
    assert len({(scene.thing, scene.colour, scene.place) for scene in scenes}) > 100
    assert {scene.thing for scene in scenes} == set(THINGS)
    assert {scene.colour for scene in scenes} == set(COLOURS)


def test_a_caption_says_what_is_drawn() -> None:
    for number in range(200):
        scene = invent_scene(number)
        words = caption_scene(scene).lower()
        thing = scene.thing if scene.count == 1 else THINGS[scene.thing].plural
        assert f"{scene.colour} {thing}" in words


@pytest.mark.slow
def test_the_thing_of_a_scene_has_its_colour() -> None:
    """Beside the scene without it, what differs is about as the caption says."""
    for number in range(300):
        scene = invent_scene(number)
        if (scene.style, scene.time, scene.count) != ("photo", "at noon", 1):
            continue
        with Image.open(io.BytesIO(draw_scene(scene))) as image:
            colours = image.convert("RGB").getcolors(1 << 20) or []
        wanted = COLOURS[scene.colour]
        near = sum(
            count
            for count, colour in colours
            if isinstance(colour, tuple)
            and all(abs(a - b) < 12 for a, b in zip(colour, wanted, strict=True))
        )
        assert near > 500, scene


def test_pictured_rows_agree_with_their_pictures() -> None:
    table = make_table()
    pictured = table.filter(pa.compute.is_valid(table["jpg"])).to_pylist()

    assert 20 <= len(pictured) <= 80
    for row in pictured:
        with Image.open(io.BytesIO(row["jpg"])) as image:
            assert (image.format, *image.size) == ("JPEG", row["WIDTH"], row["HEIGHT"])
        assert row["URL"]
        assert row["punsafe"] == 0


@pytest.mark.slow
def test_the_other_rows_are_as_without_pictures() -> None:
    plain = SampleSpec(shard_count=1, rows_per_shard=4_000)
    table = make_table()
    mask = pa.compute.is_null(table["jpg"])

    others = pa.Table.from_batches(generate_shard(plain, 0, ()))

    assert table.filter(mask).drop_columns(["jpg"]) == others.filter(mask)
