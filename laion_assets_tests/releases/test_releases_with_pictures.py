"""A release knows the pictures of its shards, and is made when only they changed."""

import duckdb
import pyarrow as pa
import pytest

from laion_assets.lance_images import indices
from laion_assets.releases.catalog import find_release
from laion_assets.releases.coverage import find_unreleased, measure_coverage
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pictures.test_add_pictures import add, bring, images, texts
from laion_assets_tests.pipeline import copy, count, ingest, load, publish, refresh

pytestmark = pytest.mark.slow


def is_behind(settings: Settings) -> bool:
    store = LanceStore(settings.lance_dir)
    return find_unreleased(Database(settings.database), store, tuple(settings.sheets)) is not None


def ingest_with_pictures(settings: Settings, write_shard: WriteShard, *numbers: int) -> None:
    """Brings shard `a` with these pictures to DuckDB and Lance, but for the pictures."""
    pictures = pa.array([paint(n) for n in numbers], pa.binary())
    load(settings, "a", write_shard("a", **texts(len(numbers)), jpg=pictures))
    copy(settings, "a")


def test_a_release_is_made_when_only_pictures_changed(
    settings: Settings, write_shard: WriteShard
) -> None:
    ingest_with_pictures(settings, write_shard, 1, 2, 3)
    first = refresh(settings)
    without = find_release(LanceStore(settings.lance_dir), first)
    assert without.columns_sha256 is None
    assert not is_behind(settings)

    add(settings)
    assert is_behind(settings)
    published = publish(settings)

    manifest = published.manifest
    assert published.is_new
    assert manifest.content_sha256 == without.content_sha256
    assert manifest.columns_sha256 is not None
    assert (manifest.picture_count, manifest.picture_bytes) == (
        3,
        sum(len(paint(n)) for n in (1, 2, 3)),
    )
    (columns,) = manifest.columns
    assert [source.source for source in columns.sources] == ["given"]
    assert columns.made_at.tzinfo is not None
    assert not is_behind(settings)
    # The same once more is the same release, and an older one has no pictures.
    add(settings)
    assert not publish(settings).is_new
    store = LanceStore(settings.lance_dir)
    assert "image" not in store.open("images", first).schema.names
    released = store.open("images", manifest.release).to_table(["image"])
    assert released["image"].to_pylist() == [paint(n) for n in (1, 2, 3)]
    covered = measure_coverage(store, manifest)
    assert sum(index.unindexed_rows for index in covered) == 0


@pytest.mark.exhaustive
def test_a_new_load_with_the_same_pictures_is_the_same_release(
    settings: Settings, write_shard: WriteShard
) -> None:
    ingest_with_pictures(settings, write_shard, 1, 2)
    add(settings)
    tag = refresh(settings)
    ingest_with_pictures(settings, write_shard, 1, 2)
    count(settings)
    assert publish(settings).manifest.release == tag
    add(settings)
    assert publish(settings).manifest.release == tag


@pytest.mark.exhaustive
def test_two_machines_have_the_same_digest(settings: Settings, write_shard: WriteShard) -> None:
    ingest_with_pictures(settings, write_shard, 1, 2)
    add(settings)
    first = find_release(LanceStore(settings.lance_dir), refresh(settings))
    from dataclasses import replace

    other = replace(settings, data_dir=settings.data_dir.with_name("other"))
    load(other, "a", settings.data_dir / "shards" / "a.parquet")
    copy(other, "a")
    add(other)
    second = find_release(LanceStore(other.lance_dir), refresh(other))
    assert first.columns_sha256 == second.columns_sha256
    assert first.content_sha256 == second.content_sha256


@pytest.mark.exhaustive
def test_a_writer_that_died_before_its_note_hides_nothing(
    settings: Settings, write_shard: WriteShard
) -> None:
    ingest_with_pictures(settings, write_shard, 1, 2)
    add(settings)
    first = find_release(LanceStore(settings.lance_dir), refresh(settings))
    (columns,) = first.columns
    # As between commit and note: the note says nothing, or what was to be written.
    with Database(settings.database).write() as connection:
        connection.execute("UPDATE shard_columns SET lance_version = NULL, digest = 'other'")
    assert not publish(settings).is_new
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE shard_columns SET value_count = 0")
    assert not publish(settings).is_new
    assert add(settings).digest == columns.digest


@pytest.mark.exhaustive
def test_joining_small_fragments_leaves_pictures_alone(
    settings: Settings, write_shard: WriteShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "MIN_FRAGMENTS_SAVED", 5)
    pictures = pa.array([paint(1), paint(2)], pa.binary())
    bring(settings, write_shard("a", **texts(2), jpg=pictures))
    folder = settings.lance_dir / "images.lance" / "data"
    for number in range(12):
        ingest(settings, f"s{number}", f"a fox in {number}")
    dataset = LanceStore(settings.lance_dir).open("images")
    files = [file for fragment in dataset.get_fragments() for file in fragment.data_files()]
    pictured = {file.path for file in files if len(file.fields) < 12}
    assert len(pictured) == 1
    count(settings)

    assert publish(settings, keep_days=0).fragments_saved > 5

    assert pictured <= {path.name for path in folder.iterdir()}
    assert images(settings) == [paint(1), paint(2)]
    add(settings)
    assert images(settings) == [paint(1), paint(2)]
