"""Vectors are computed from pictures where no vector is given, each once, on its own row."""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from laion_assets.curation.curation_file import Curation
from laion_assets.definitions import build_defs
from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.embeddings.broken_vectors import find_broken
from laion_assets.embeddings.compute import Computing
from laion_assets.embeddings.encoder import Encoder, open_encoder
from laion_assets.embeddings.model_files import find_files
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.runs.status import look_around, read_due
from laion_assets.settings import Settings
from laion_assets.stores.columns import NotedColumns, read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.pipeline import copy, load
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

Colour = tuple[int, int, int]
# The encoder's vector of a picture is its colour.
COLOURS: list[Colour] = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 0), (0, 90, 180)]
BLACK: Colour = (0, 0, 0)


class CountingEncoder(Encoder):
    """Knows how many pictures it encoded, and may be cut off after some."""

    count = 0
    most: int | None = None

    def embed_prepared(self, pixels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if self.most is not None and self.count + len(pixels) > self.most:
            raise KeyboardInterrupt
        self.count += len(pixels)
        return super().embed_prepared(pixels)


@dataclass
class Place:
    """Shards, and an encoder that counts."""

    settings: Settings
    write_shard: WriteShard
    folder: Path

    def encoder(self, **options: Any) -> CountingEncoder:
        folder = self.folder / f"encoder {options}"
        return CountingEncoder(str(folder), find_files(str(EncoderFiles(**options).write(folder))))

    def bring(self, shard: str, colours: Sequence[Colour | None], **columns: Any) -> None:
        """Brings a shard with its pictures to Lance."""
        source = self.write_shard(
            shard,
            **{
                "url": [f"https://{shard}.test/{row}.jpg" for row in range(len(colours))],
                "caption": [f"row {row}" for row in range(len(colours))],
                "jpg": pa.array(list(map(draw, colours)), pa.binary()),
                **columns,
            },
        )
        load(self.settings, shard, source)
        copy(self.settings, shard)
        add_pictures(
            Database.of(self.settings),
            LanceStore.of(self.settings),
            RawStore(self.settings.raw_dir),
            shard,
            "run",
        )

    def add(
        self, encoder: Encoder | None, shard: str = "a", chunk_rows: int = 1000
    ) -> tuple[NotedColumns, dict[str, int]] | None:
        computing = None
        if encoder is not None:
            cache = self.settings.picture_cache_dir
            computing = Computing(lambda: encoder, cache, chunk_rows, lambda _: None)
        made = add_embeddings(
            Database.of(self.settings),
            LanceStore.of(self.settings),
            RawStore(self.settings.raw_dir),
            shard,
            "run",
            computing,
        )
        return None if made is None else (made[0], dict(made[1]))

    def read(self, shard: str = "a") -> dict[int, list[float] | None]:
        dataset = LanceStore.of(self.settings).open("images")
        rows = dataset.to_table(["row_index", "img_emb"], filter=f"shard = '{shard}'").to_pylist()
        return {row["row_index"]: row["img_emb"] for row in rows}

    def is_of(self, row: int, colour: Colour, shard: str = "a") -> bool:
        vector = self.read(shard)[row]
        expected = np.array(colour) / np.linalg.norm(colour)
        return vector is not None and bool(np.abs(np.array(vector)[:3] - expected).max() < 2e-3)

    def note(self, shard: str = "a") -> NotedColumns:
        with Database.of(self.settings).read() as connection:
            notes = {n.shard: n for n in read_notes(connection) if n.column_set == "embeddings"}
        return notes[shard]


def draw(colour: Colour | None) -> bytes | None:
    if colour is None:
        return None
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def lists(*vectors: Sequence[float] | None) -> pa.Array:
    return pa.array(list(vectors), pa.list_(pa.float32()))


@pytest.fixture
def place(settings: Settings, write_shard: WriteShard, tmp_path: Path) -> Place:
    return Place(settings, write_shard, tmp_path)


@pytest.mark.exhaustive
def test_each_picture_gets_its_vector(place: Place) -> None:
    captions = ["row", "row", None, "row", "row", "row", "row"]
    colours = [COLOURS[0], None, COLOURS[1], COLOURS[2], COLOURS[3], BLACK, COLOURS[0]]
    place.bring("a", colours, caption=captions)
    encoder = place.encoder()

    made = place.add(encoder)

    assert made is not None
    note, left_out = made
    assert [row for row, vector in sorted(place.read().items()) if vector is None] == [1, 5]
    assert all(place.is_of(row, colours[row] or BLACK) for row in (0, 3, 4, 6))
    assert left_out == {"no_picture": 1, "no_direction": 1}
    assert (note.value_count, note.encoder) == (4, encoder.digest)
    # The same picture in two rows is encoded once.
    assert encoder.count == 4
    dataset = LanceStore(place.settings.lance_dir).open("images")
    assert encoder.digest in str(dataset.read_transaction(dataset.version))
    assert find_broken(Database(place.settings.database), LanceStore(place.settings.lance_dir)) == (
        4,
        [],
    )


def test_given_vectors_stay_and_the_others_are_computed(place: Place) -> None:
    given = lists([0, 3, 4], None, [0, 0, 0], [float("nan"), 0, 1], None)
    colours = [*COLOURS[:4], None]
    place.bring("a", colours, img_emb=given)
    encoder = place.encoder()

    made = place.add(encoder)

    assert made is not None
    assert place.is_of(0, (0, 3, 4))
    assert [place.is_of(row, COLOURS[row]) for row in range(1, 4)] == [True] * 3
    assert made[1] == {"no_picture": 1}
    assert encoder.count == 3


@pytest.mark.exhaustive
def test_a_run_that_was_cut_off_goes_on(place: Place) -> None:
    place.bring("a", COLOURS)
    first = place.encoder()
    first.most = 4
    with pytest.raises(KeyboardInterrupt):
        place.add(first, chunk_rows=2)
    second = place.encoder()

    place.add(second, chunk_rows=2)

    assert (first.count, second.count) == (4, 1)
    assert all(place.is_of(row, colour) for row, colour in enumerate(COLOURS))


@pytest.mark.exhaustive
@pytest.mark.parametrize("settings", ["bucket"], indirect=True)
def test_another_machine_goes_on_with_a_run_that_was_cut_off(place: Place, tmp_path: Path) -> None:
    place.bring("a", COLOURS)
    first, second = place.encoder(), place.encoder()
    first.most = 4
    with pytest.raises(KeyboardInterrupt):
        place.add(first, chunk_rows=2)
    elsewhere = replace(place.settings, data_dir=tmp_path / "elsewhere")
    shutil.copytree(place.settings.raw_dir, elsewhere.raw_dir)

    replace(place, settings=elsewhere).add(second, chunk_rows=2)

    assert (first.count, second.count) == (4, 1)
    assert all(place.is_of(row, colour) for row, colour in enumerate(COLOURS))


@pytest.mark.exhaustive
def test_a_new_load_and_another_shard_use_what_was_computed(place: Place) -> None:
    place.bring("a", [*COLOURS, BLACK])
    place.add(place.encoder())
    place.bring("b", COLOURS[::-1])
    place.bring("a", [COLOURS[4], *COLOURS, BLACK])
    again = place.encoder()

    place.add(again)
    place.add(again, "b")

    assert again.count == 0
    assert all(place.is_of(row + 1, colour) for row, colour in enumerate(COLOURS))
    assert all(place.is_of(row, colour, "b") for row, colour in enumerate(COLOURS[::-1]))


@pytest.mark.exhaustive
def test_a_carried_vector_still_names_its_encoder(place: Place) -> None:
    place.bring("a", COLOURS)
    encoder = place.encoder()
    place.add(encoder)

    place.bring("a", [*COLOURS, None])

    assert place.note().encoder == encoder.digest
    assert place.is_of(2, COLOURS[2])


@pytest.mark.exhaustive
def test_a_replaced_picture_gets_another_vector(place: Place) -> None:
    place.bring("a", COLOURS)
    place.add(place.encoder())
    place.bring("a", [COLOURS[1], *COLOURS[1:]])

    place.add(place.encoder())

    assert place.is_of(0, COLOURS[1])


@pytest.mark.exhaustive
def test_vectors_of_an_earlier_file_stay(place: Place) -> None:
    place.bring("a", COLOURS[:3], img_emb=lists([0, 3, 4], None, [0, 0, 1]))
    place.add(None)
    place.bring("a", COLOURS[:3])
    encoder = place.encoder()

    place.add(encoder)

    assert encoder.count == 1
    assert place.is_of(0, (0, 3, 4))
    assert place.is_of(1, COLOURS[1])


@pytest.mark.exhaustive
def test_a_shard_without_pictures_needs_no_encoder(place: Place) -> None:
    place.bring("a", [None, None])
    computing = Computing(lambda: open_encoder("/no such folder"), place.folder, 10, lambda _: None)

    made = add_embeddings(
        Database(place.settings.database),
        LanceStore(place.settings.lance_dir),
        RawStore(place.settings.raw_dir),
        "a",
        "run",
        computing,
    )

    assert made is None
    assert "img_emb" not in LanceStore(place.settings.lance_dir).open("images").schema.names


@pytest.mark.exhaustive
def test_another_encoder_is_refused(place: Place) -> None:
    place.bring("a", COLOURS)
    place.bring("b", COLOURS)
    place.add(place.encoder())
    before = place.read()

    for options in ({"scale": 2}, {"dimension": 4}):
        with raises("vectors-other-encoder"):
            place.add(place.encoder(**options), "b")

    assert place.read() == before
    assert set(place.read("b").values()) == {None}


@pytest.mark.exhaustive
def test_given_vectors_of_another_dimension_are_refused(place: Place) -> None:
    place.bring("a", COLOURS[:1], img_emb=lists([0, 3, 4, 5]))
    place.bring("b", COLOURS[:1])
    with raises("vectors-encoder-dimension"):
        place.add(place.encoder())
    place.add(None)

    with raises("vectors-dimension"):
        place.add(place.encoder(), "b")


@pytest.mark.exhaustive
def test_the_only_shard_may_get_another_encoder(place: Place) -> None:
    place.bring("a", [*COLOURS[:2], None])
    place.add(place.encoder())
    other = place.encoder(scale=2)

    place.add(other)

    assert other.count == 2
    assert place.note().encoder == other.digest
    assert place.read()[2] is None


@pytest.mark.exhaustive
def test_shards_of_two_encoders_fail_the_check(place: Place) -> None:
    """Two processes that start with two encoders at once cannot see each other."""
    for shard in ("a", "b"):
        place.bring(shard, COLOURS)
        place.add(place.encoder(), shard)
    with Database(place.settings.database).write() as connection:
        connection.execute(
            "UPDATE shard_columns SET made_from = replace(made_from, '|encoder ', '|encoder f') "
            "WHERE shard = 'b' AND column_set = 'embeddings'"
        )

    _, broken = find_broken(Database(place.settings.database), LanceStore(place.settings.lance_dir))

    assert len(broken) == 1
    assert "another encoder" in broken[0].what


def test_the_job_of_pictures_computes_their_vectors(
    place: Place, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    folder = EncoderFiles().write(place.folder / "encoder")
    settings = replace(place.settings, embeddings="compute", encoder=str(folder))
    write_shard(
        "a",
        url=[f"https://a.test/{row}.jpg" for row in range(5)],
        caption=["row"] * 5,
        jpg=pa.array(list(map(draw, COLOURS)), pa.binary()),
    )
    discover_shards(settings, instance)
    defs = build_defs(settings)

    ingested = run_job(defs.resolve_job_def("ingest_shards"), instance, "a")
    pictured = run_job(defs.resolve_job_def("add_pictures"), instance, "a")

    assert ingested.reason is None
    assert ingested.metadata.get("embeddings", {}) == {}
    assert pictured.reason is None
    metadata = pictured.metadata["embeddings"]
    assert (metadata["vectors"], metadata["percent_with_vector"]) == (5, 100)
    assert metadata["encoder"] == open_encoder(str(folder)).digest
    assert place.note().encoder_name == "encoder"
    assert all(place.is_of(row, colour) for row, colour in enumerate(COLOURS))
    assert read_due(settings, ["a"], look_around(settings, ["a"]), Curation()).steps == {}


@pytest.mark.exhaustive
def test_pictures_that_no_encoder_has_seen_are_due(
    place: Place, instance: dg.DagsterInstance
) -> None:
    folder = place.folder / "encoder"
    settings = replace(place.settings, embeddings="compute", encoder=str(folder))
    place.bring("a", COLOURS)
    place.bring("b", [None, None])
    instance.add_dynamic_partitions("shards", ["a", "b"])

    def find_stages() -> dict[str, str]:
        due = read_due(settings, ["a", "b"], look_around(settings, ["a", "b"]), Curation())
        return {shard: str(step.stage) for shard, step in due.steps.items()}

    assert find_stages() == {"a": "embed"}
    # The encoder is not there yet.
    job = build_defs(settings).resolve_job_def("add_pictures")
    assert run_job(job, instance, "a").reason is not None
    assert find_stages() == {"a": "embed"}
    EncoderFiles().write(folder)
    assert run_job(job, instance, "a").reason is None
    assert find_stages() == {}

    # The same file again needs nothing, and other pictures do.
    load(settings, "a", settings.data_dir / "shards" / "a.parquet")
    copy(settings, "a")
    assert find_stages() == {}
    place.bring("a", COLOURS[::-1])
    assert find_stages() == {"a": "embed"}
    # Who only keeps vectors is behind with none of them.
    settings = replace(settings, embeddings="given")
    assert find_stages() == {}


def test_without_compute_the_job_of_pictures_leaves_vectors_alone(settings: Settings) -> None:
    def list_assets(mode: str) -> set[str]:
        defs = build_defs(replace(settings, embeddings=mode, encoder="demo"))
        keys = defs.resolve_job_def("add_pictures").asset_layer.selected_asset_keys
        return {key.to_user_string() for key in keys}

    assert list_assets("given") == {"pictures", "declared_columns"}
    assert list_assets("compute") == {"pictures", "embeddings", "declared_columns"}
