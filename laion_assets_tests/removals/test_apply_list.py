"""Rows on the list are found, their shards are due, and are loaded again without them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.images.removed_rows import check_same_list
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.releases.catalog import find_release
from laion_assets.removals.apply_list import apply_list
from laion_assets.runs.due import Due, Stage, compare_stages, read_chain
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore, hash_file
from laion_assets_tests.pipeline import (
    bring,
    copy,
    count,
    ingest,
    load,
    publish,
    read_removals,
    refresh,
)
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


def list_due(settings: Settings) -> Due:
    raws = RawStore(settings.raw_dir).find_all(RawStore(settings.raw_dir).list_shards())
    sources = {
        shard: describe_file(settings.data_dir / "shards" / f"{shard}.parquet") for shard in raws
    }
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    return compare_stages(read_chain(*stores, tuple(settings.sheets), raws, sources))


def load_again(settings: Settings, shard: str) -> None:
    load(settings, shard, settings.data_dir / "shards" / f"{shard}.parquet")
    copy(settings, shard)


def read_rejected(settings: Settings) -> list[tuple[object, ...]]:
    with Database(settings.database).read() as connection:
        return connection.sql("FROM rejected_images ORDER BY shard, row_index").fetchall()


def read_captions(settings: Settings) -> list[str]:
    with Database(settings.database).read() as connection:
        query = "SELECT caption FROM images ORDER BY shard, row_index"
        return [caption for (caption,) in connection.execute(query).fetchall()]


def find_image_id(settings: Settings, caption: str) -> str:
    with Database(settings.database).read() as connection:
        query = "SELECT image_id FROM images WHERE caption = ?"
        ((image_id,),) = connection.execute(query, [caption]).fetchall()
        return str(image_id)


def test_a_removed_row_is_rejected_without_its_texts_and_all_else_stays(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a secret", "a hen")
    ingest(settings, "b", "an owl")
    refresh(settings)
    assert list_due(settings).steps == {}

    applied = read_removals(settings, "http://A.test:443/1.jpg#top", "nothing.test")

    assert (applied.audit.row_count, applied.audit.shard_count) == (1, 1)
    assert [line for line, _ in applied.audit.unmatched] == [3]
    due = list_due(settings)
    assert {shard: step.stage for shard, step in due.steps.items()} == {"a": Stage.LOAD}
    load_again(settings, "a")
    assert read_rejected(settings) == [("a", 1, None, None, "removed")]
    assert read_captions(settings) == ["a fox", "a hen", "an owl"]
    assert list_due(settings).steps == {}
    manifest = find_release(LanceStore(settings.lance_dir), refresh(settings))
    assert [s.rejected_count for s in manifest.shards] == [1, 0]
    assert manifest.row_counts["images"] == 3
    assert list_due(settings).steps == {}
    again = read_removals(settings, "http://A.test:443/1.jpg#top", "nothing.test")
    assert again.removals.pending == {}
    assert again.audit.row_count == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["url", "host", "below", "image_id"])
def test_rows_are_found_by_every_kind_of_entry(settings: Settings, form: str) -> None:
    ingest(settings, "a", "x")
    ingest(settings, "b", "y")
    ingest(settings, "c.b", "z")
    entry, gone = {
        "url": ("https://b.test/0.jpg", {"b"}),
        "host": ("b.test", {"b"}),
        "below": ("*.b.test", {"b", "c.b"}),
        "image_id": (find_image_id(settings, "y"), {"b"}),
    }[form]

    assert set(read_removals(settings, entry).removals.pending) == gone
    for shard in gone:
        load_again(settings, shard)
    assert {row[0] for row in read_rejected(settings)} == gone
    assert read_removals(settings, entry).removals.pending == {}


@pytest.mark.exhaustive
def test_a_rejected_row_loses_its_texts_too(settings: Settings) -> None:
    rows = pa.table(
        {"url": ["https://a.test/1", None, "https://b.test/1"], "caption": ["x", "y", None]}
    )
    bring(settings, "s", rows)

    assert set(read_removals(settings, "b.test").removals.pending) == {"s"}
    load_again(settings, "s")
    assert read_rejected(settings) == [
        ("s", 1, None, "y", "missing_url"),
        ("s", 2, None, None, "removed"),
    ]


def test_an_md5_of_the_source_is_found_at_the_first_load(settings: Settings) -> None:
    md5s = ["AB" * 16, "cd" * 16, None]
    read_removals(settings, "ab" * 16)
    rows = {"url": [f"https://a.test/{n}" for n in range(3)], "caption": ["x"] * 3, "md5": md5s}
    bring(settings, "s", pa.table(rows))
    assert read_rejected(settings) == [("s", 0, None, None, "removed")]


@pytest.mark.exhaustive
def test_the_raw_file_loses_the_rows_and_keeps_their_places(settings: Settings) -> None:
    rows = pa.table(
        {
            "url": [f"https://a.test/{n}.jpg" for n in range(5)],
            "caption": ["zero", "one", "two", "three", "four"],
            "tags": [["a"], ["secret"], [], None, ["b"]],
            "info": [{"x": n} for n in range(5)],
        },
        schema=pa.schema(
            [
                pa.field("url", pa.string(), nullable=False),
                pa.field("caption", pa.large_string()),
                pa.field("tags", pa.list_(pa.string())),
                pa.field("info", pa.struct([("x", pa.int64())])),
            ],
            metadata={"of": "the user"},
        ),
    )
    source = settings.data_dir / "shards" / "s.parquet"
    source.parent.mkdir(parents=True)
    pq.write_table(rows, source, row_group_size=2, compression="zstd")
    load(settings, "s", source)
    copy(settings, "s")
    store = RawStore(settings.raw_dir)
    before = store.read("s")
    read_removals(settings, "https://a.test/1.jpg", "https://a.test/4.jpg")

    load_again(settings, "s")

    raw = store.read("s")
    assert pq.read_table(source) == rows, "the file of the user is his own"
    assert raw.sha256 == before.sha256 == hash_file(source)
    assert raw.kept_sha256 == hash_file(store.path("s")) != raw.sha256
    assert raw.list_removed() == [1, 4]
    with pq.ParquetFile(store.path("s")) as file:
        assert file.schema_arrow.metadata == {b"of": b"the user"}
        assert [file.metadata.row_group(n).num_rows for n in range(3)] == [2, 2, 1]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        kept = file.read().to_pylist()
    nothing = dict.fromkeys(rows.column_names)
    expected = [nothing if n in {1, 4} else row for n, row in enumerate(rows.to_pylist())]
    assert kept == expected
    assert list_due(settings).steps == {}
    # `laion doctor --hash` reads it whole.
    assert store.is_as_recorded("s", is_hashing=True)


@pytest.mark.exhaustive
def test_a_fetch_of_the_same_content_brings_nothing_back(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a secret")
    source = settings.data_dir / "shards" / "a.parquet"
    store = RawStore(settings.raw_dir)
    read_removals(settings, "https://a.test/1.jpg")
    load_again(settings, "a")
    kept = hash_file(store.path("a"))

    fetch_shard(describe_file(source), store)
    assert hash_file(store.path("a")) == kept
    source.touch()
    assert list_due(settings).steps["a"].stage is Stage.FETCH
    fetch_shard(describe_file(source), store)
    assert hash_file(store.path("a")) == kept
    assert list_due(settings).steps == {}

    rows = pq.read_table(source)
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), source)
    load_again(settings, "a")
    assert read_rejected(settings) == [("a", 1, None, None, "removed")]
    assert read_captions(settings) == ["a fox", "a fox"]


@pytest.mark.exhaustive
def test_no_release_is_made_while_rows_are_to_be_removed(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a secret")
    read_removals(settings, "https://a.test/1.jpg")
    count(settings)
    with raises("release-removals-pending"):
        publish(settings)
    assert list_due(settings).held_by == ["a"]
    load_again(settings, "a")
    refresh(settings)


@pytest.mark.exhaustive
def test_an_unreadable_list_keeps_the_last_one(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    known = read_removals(settings, "a.test").removals
    stores = LanceStore(settings.lance_dir), RawStore(settings.raw_dir)
    database = Database(settings.database)
    for content in (b"what\n", b"\xff\xfe\x00", b"<html>"):
        (tmp_path / "removals.csv").write_bytes(content)
        applied = apply_list(database, *stores, str(tmp_path / "removals.csv"))
        assert applied.problem is not None
        assert applied.removals == stores[0].removals.read() == known
    assert apply_list(database, *stores, str(tmp_path / "missing.csv")).problem
    assert apply_list(database, *stores, None).removals == known


def test_the_first_list_has_to_be_readable(settings: Settings, tmp_path: Path) -> None:
    stores = LanceStore(settings.lance_dir), RawStore(settings.raw_dir)
    with raises("sheet-file-unreadable"):
        apply_list(Database(settings.database), *stores, str(tmp_path / "missing.csv"))


def test_a_load_during_which_the_list_changed_is_refused(settings: Settings) -> None:
    store = LanceStore(settings.lance_dir)
    known = store.removals.read()
    check_same_list(store, known)
    read_removals(settings, "a.test")
    with raises("removals-changed"):
        check_same_list(store, known)


def test_a_damaged_list_is_an_error_and_not_an_empty_one(settings: Settings) -> None:
    file = LanceStore(settings.lance_dir).removals
    file.path.parent.mkdir(parents=True)
    file.path.write_text('{"entries": 1}')
    with raises("removals-damaged"):
        file.read()


@pytest.mark.exhaustive
def test_texts_that_are_no_utf8_are_removed_as_well(settings: Settings) -> None:
    texts = pa.array([b"a \xff fox", b"a \xff secret"], pa.binary())
    captions = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    rows = pa.table({"url": ["https://a.test/0.jpg", "https://a.test/1.jpg"], "caption": captions})
    bring(settings, "s", rows)
    image_id = find_image_id(settings, "a \ufffd secret")
    read_removals(settings, image_id)
    load_again(settings, "s")
    assert read_rejected(settings) == [("s", 1, None, None, "removed")]
    assert (
        b"secret"
        not in pq.read_table(RawStore(settings.raw_dir).path("s"))["caption"]
        .cast(pa.binary())
        .to_pylist()
    )
