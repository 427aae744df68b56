"""A published release as a source: its shards, rows, pictures and vectors, and its digests."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.images.load import load_shard
from laion_assets.lance_images import indices
from laion_assets.publishing.folder_target import FolderTarget
from laion_assets.publishing.publication import PublishOrder, publish_dataset
from laion_assets.raw_shards.discovery import discover
from laion_assets.raw_shards.fetch import bring_shard
from laion_assets.raw_shards.samples import SAMPLE_METADATA
from laion_assets.raw_shards.sources import lance_dataset
from laion_assets.raw_shards.sources.listing import list_shards
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.releases.catalog import find_release
from laion_assets.releases.coverage import find_unreleased
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.published_shards import PUBLISHED_KEY
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pictures.test_add_pictures import add
from laion_assets_tests.pipeline import bring, copy, refresh
from laion_assets_tests.publishing.released import make_rows
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.writable_hub import Repository, run_writable_hub

pytestmark = pytest.mark.slow

DATASET = "lab/lemurs"


@pytest.fixture
def other(tmp_path: Path) -> Settings:
    """Another project with the same lists of names."""
    folder = tmp_path / "other"
    folder.mkdir()
    return make_settings(folder, artists=["fox"])


def publish(settings: Settings, folder: Path) -> str:
    """Publishes the newest release; returns where its rows are."""
    order = PublishOrder(settings.publish_dir)
    publish_dataset(LanceStore(settings.lance_dir), FolderTarget(folder), order)
    return str(folder / "data" / "train.lance")


def load_all(settings: Settings, place: str, rules: SourceRules | None = None) -> list[str]:
    """Brings all shards of a place to Lance, with pictures and vectors; returns their names."""
    raws, database = RawStore(settings.raw_dir), Database(settings.database)
    listing = list_shards([place], rules)
    assert listing.problems == []
    shards = list(listing.sources)
    for shard in shards:
        raw, is_gone = bring_shard([place], shard, raws, rules or SourceRules())
        assert not is_gone
        with database.write() as connection:
            load_shard(connection, raw, raws.path(shard), "run")
        copy(settings, shard)
        if raw.has_pictures:
            add(settings, shard)
            add_embeddings(database, LanceStore(settings.lance_dir), raws, shard, "run")
    return shards


def read_rows(settings: Settings, tag: str) -> list[dict[str, object]]:
    rows = LanceStore(settings.lance_dir).open("images", tag).to_table()
    return list(rows.sort_by([("shard", "ascending"), ("row_index", "ascending")]).to_pylist())


def check_same(one: Settings, other: Settings) -> None:
    """Checks that the newest releases have the same content, and the same rows."""
    before = find_release(LanceStore(one.lance_dir))
    after = find_release(LanceStore(other.lance_dir))
    assert after.content_sha256 == before.content_sha256
    assert after.columns_sha256 == before.columns_sha256
    assert read_rows(other, after.release) == read_rows(one, before.release)
    # Nothing is due because of it.
    kinds = tuple(other.sheets)
    assert find_unreleased(Database(other.database), LanceStore(other.lance_dir), kinds) is None


@pytest.mark.exhaustive
def test_a_release_that_was_read_back_has_the_same_digests(
    data: Settings, other: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several row groups a shard.
    monkeypatch.setattr(lance_dataset, "HELD_BYTES", 20_000)
    place = publish(data, folder)

    assert load_all(other, place) == ["a", "b"]

    refresh(other, "again")
    check_same(data, other)
    raw = RawStore(other.raw_dir).path("a")
    assert pq.read_metadata(raw).num_row_groups > 1
    assert RawStore(other.raw_dir).read("a").source == f"{place} (shard a)"
    # The row that had no caption has its place, and is left out again.
    with Database(other.database).read() as connection:
        query = "SELECT shard, row_index, reason FROM rejected_images ORDER BY shard"
        assert connection.execute(query).fetchall() == [
            ("a", 3, "missing_url"),
            ("b", 3, "missing_url"),
        ]
    # What was made of it can be published and read back once more.
    again = publish(other, folder.with_name("again"))
    (folder.parent / "third").mkdir()
    third = make_settings(folder.parent / "third", artists=["fox"])
    load_all(third, again)
    refresh(third)
    check_same(data, third)


def test_a_release_of_the_hub_is_read_back(
    data: Settings, other: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(data, folder)
    with run_writable_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.origin)
        repository = hub.repositories[DATASET] = Repository(is_private=False)
        repository.commit(read_files(folder), "by hand")
        place = f"hf://datasets/{DATASET}/data/train.lance"

        load_all(other, place, SourceRules(hub_endpoint=hub.origin))

    refresh(other)
    check_same(data, other)


def read_files(folder: Path) -> Mapping[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return MappingProxyType({p.relative_to(folder).as_posix(): p.read_bytes() for p in files})


@pytest.mark.exhaustive
def test_shards_that_share_a_fragment_are_told_apart(
    settings: Settings, other: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "MIN_FRAGMENTS_SAVED", 1)
    for number, shard in enumerate(("x", "y", "z")):
        rows = make_rows(shard, number).drop(["image", "img_emb"])
        # Neither the first nor the last row of one has a caption.
        captions = rows["caption"].to_pylist()
        if shard == "y":
            captions[0] = captions[-1] = None
        bring(settings, shard, rows.set_column(1, "caption", pa.array(captions)))
    Path(settings.sheets["artists"]).write_text("name\nfox\n", encoding="utf-8")
    refresh(settings)
    assert len(LanceStore(settings.lance_dir).open("images").get_fragments()) == 1
    place = publish(settings, folder)

    load_all(other, place)

    refresh(other)
    check_same(settings, other)
    assert RawStore(other.raw_dir).read("y").file_rows == 40


@pytest.mark.exhaustive
def test_a_shard_without_any_image_and_an_invented_one_stay_what_they_are(
    settings: Settings, other: Settings, folder: Path
) -> None:
    bring(settings, "x", make_rows("x", 1).drop(["image", "img_emb"]))
    empty = pa.table({"url": ["", ""], "caption": ["a", "b"]})
    bring(settings, "none", empty.replace_schema_metadata(SAMPLE_METADATA))
    Path(settings.sheets["artists"]).write_text("name\nfox\n", encoding="utf-8")
    refresh(settings)

    load_all(other, publish(settings, folder))

    refresh(other)
    check_same(settings, other)
    manifest = find_release(LanceStore(other.lance_dir))
    assert [shard.is_sample for shard in manifest.shards] == [True, False]


@pytest.mark.exhaustive
def test_what_is_here_is_due_only_if_the_release_has_another_content(
    data: Settings, other: Settings, folder: Path
) -> None:
    place = publish(data, folder)
    load_all(other, place)
    raws = RawStore(other.raw_dir)
    assert discover([place], raws, SourceRules(), ["a", "b"]).due == {}

    bring(data, "c", make_rows("c", 9).drop(["image", "img_emb"]))
    bring(data, "b", make_rows("b", 8).drop(["image", "img_emb"]))
    refresh(data, "second")
    publish(data, folder)

    found = discover([place], raws, SourceRules(), ["a", "b"])
    assert (found.new, found.changed, found.gone) == (["c"], ["b"], [])


def test_rows_that_are_not_those_of_the_record_are_refused(
    data: Settings, other: Settings, folder: Path
) -> None:
    place = publish(data, folder)
    train = lance.dataset(place)
    transaction = train.read_transaction(train.version)
    assert transaction is not None
    properties = dict(transaction.transaction_properties or {})
    changed = properties[PUBLISHED_KEY].replace('"image_count": 39', '"image_count": 38')
    for text, code in ((changed, "released-rows-differ"), ("{", "lance-unreadable")):
        update = lance.LanceOperation.UpdateMap({"x": code})
        lance.LanceDataset.commit(
            place,
            lance.Transaction(
                lance.dataset(place).version,
                lance.LanceOperation.UpdateConfig(table_metadata_updates=update),
                transaction_properties={PUBLISHED_KEY: text},
            ),
        )
        with raises(code):
            bring_shard([place], "a", RawStore(other.raw_dir), SourceRules())
        assert list(Path(other.raw_dir).glob("*.parquet")) == []
