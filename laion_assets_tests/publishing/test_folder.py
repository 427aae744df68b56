"""A published folder has a release as other programs read it, and nothing of this machine."""

import shutil
from pathlib import Path

import lance
import lancedb
import pytest
import yaml

from laion_assets.curation.terms import Terms
from laion_assets.publishing.folder_target import UNFINISHED, FolderTarget
from laion_assets.publishing.publication import Published, PublishOrder, publish_dataset
from laion_assets.releases.catalog import find_release
from laion_assets.releases.manifest import MANIFEST_KEY, Manifest, read_manifest
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.version_files import place_file
from laion_assets_tests.pipeline import bring, copy, count, load, read_removals, refresh
from laion_assets_tests.pipeline import publish as release
from laion_assets_tests.publishing.released import bring_whole, make_other, make_rows
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

TABLES = ("train", "domain_counts", "entity_counts")


def publish(settings: Settings, folder: Path, tag: str | None = None, **terms: str) -> Published:
    """Publishes a release to a folder."""
    order = PublishOrder(settings.publish_dir, tag, Terms(**terms), settings.curation_file)
    return publish_dataset(LanceStore(settings.lance_dir), FolderTarget(folder), order)


def list_files(folder: Path) -> dict[str, bytes]:
    """Returns the content of each file in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_release_is_published_whole(data: Settings, folder: Path) -> None:
    original = find_release(LanceStore(data.lance_dir))
    made = publish(data, folder)

    assert made.is_new
    assert {path.name for path in folder.iterdir()} == {"data", "README.md", "release.json"}
    assert {path.name for path in (folder / "data").iterdir()} == {f"{t}.lance" for t in TABLES}
    record = Manifest.model_validate_json((folder / "release.json").read_bytes())
    assert (record.release, record.content_sha256) == ("first", original.content_sha256)
    assert record.columns_sha256 == original.columns_sha256
    database = lancedb.connect(folder / "data")
    assert sorted(database.list_tables().tables) == sorted(TABLES)
    for table, rows in (("train", 78), ("domain_counts", 2), ("entity_counts", 3)):
        opened = database.open_table(table)
        assert (opened.version, opened.count_rows()) == (record.lance_versions[table], rows)
        opened.checkout("first")
        assert opened.count_rows() == rows
    before = LanceStore(data.lance_dir).open("images", "first").to_table()
    train = lance.dataset(folder / "data" / "train.lance", version="first")
    assert train.to_table().equals(before)
    assert read_manifest(train, "first") == record
    # Nothing is left of the work.
    assert list(data.publish_dir.iterdir()) == []


@pytest.mark.exhaustive
def test_each_index_is_one_part_and_covers_every_row(data: Settings, folder: Path) -> None:
    store = LanceStore(data.lance_dir)
    bring_whole(data, "c", 5)
    refresh(data, "second")
    parts = [len(i.segments) for i in store.open("images", "second").describe_indices()]
    assert max(parts) > 1
    before = store.open("images").version

    publish(data, folder)

    train = lance.dataset(folder / "data" / "train.lance")
    indices = train.describe_indices()
    assert {index.name for index in indices} >= {"caption_idx", "domain_idx", "aesthetic_idx"}
    for index in indices:
        assert len(index.segments) == 1
        assert train.stats.index_stats(index.name)["num_unindexed_rows"] == 0
    table = lancedb.connect(folder / "data").open_table("train")
    hits = table.search("fox", query_type="fts", fts_columns="caption").limit(100).to_list()
    assert {hit["shard"] for hit in hits} >= {"c"}
    # The tables that it was made from are as they were.
    assert store.open("images").version == before


@pytest.mark.exhaustive
def test_nothing_of_this_machine_is_published(data: Settings, folder: Path) -> None:
    bring(data, "c", make_rows("c", 7).drop(["image", "img_emb"]))
    Path(data.sheets["artists"]).write_text("name,note\nfox,private-note\n", encoding="utf-8")
    count(data)
    link = "https://docs.google.com/spreadsheets/d/1secretSheet/edit?gid=0"
    with Database(data.database).write() as connection:
        connection.execute("UPDATE sheets SET location = $1 WHERE kind = 'artists'", [link])
        connection.execute(
            "UPDATE sheets SET location = '/home/somebody/names.csv' WHERE kind = 'characters'"
        )
        connection.execute("UPDATE shards SET run_id = 'run-of-here'")
        connection.execute(
            "UPDATE shards SET source = 'https://me:pass@web.test/b.parquet?s=1' WHERE shard = 'b'"
        )
    release(data, "second")
    store = LanceStore(data.lance_dir)
    private = [str(data.data_dir), "1secretSheet", "/home/somebody", "run-of-here", "me:pass"]
    original = find_release(store).model_dump_json()
    assert [word for word in private if word not in original] == []

    lists = store.open("entity_counts", "second").schema.metadata
    assert b"private-note" in b"".join(lists.values())
    private.append("private-note")

    publish(data, folder)

    leaks = {
        (path, word)
        for path, content in list_files(folder).items()
        for word in private
        if word.encode() in content
    }
    assert leaks == set()
    record = Manifest.model_validate_json((folder / "release.json").read_bytes())
    assert [shard.source for shard in record.shards] == [
        "a.parquet",
        "https://web.test/b.parquet",
        "c.parquet",
    ]
    assert {sheet.location for sheet in record.sheets} == {
        "docs.google.com",
        "celebrities.csv",
        "names.csv",
    }


def test_the_same_again_sends_nothing(data: Settings, folder: Path) -> None:
    publish(data, folder)
    before = list_files(folder)

    again = publish(data, folder)

    assert not again.is_new
    assert list_files(folder) == before
    assert not list(data.publish_dir.iterdir())
    # What is new in the card is sent alone.
    assert publish(data, folder, license="cc-by-4.0", contact="me@a.test").sent_files == 1
    assert "cc-by-4.0" in (folder / "README.md").read_text("utf-8")


@pytest.mark.exhaustive
def test_the_next_release_sends_only_what_is_new(data: Settings, folder: Path) -> None:
    publish(data, folder)
    before = list_files(folder)
    bring_whole(data, "c", 5)
    refresh(data, "second")

    made = publish(data, folder)

    after = list_files(folder)
    new = {path for path in after if before.get(path) != after[path]}
    assert made.sent_files == len(new)
    assert before.keys() <= after.keys()
    changed = {path for path in new if path in before}
    assert changed == {"README.md", "release.json"}
    rows = [path for path in new if path.startswith("data/train.lance/data/")]
    # Rows, pictures and vectors of one shard.
    assert len(rows) == 3
    database = lancedb.connect(folder / "data")
    for tag, row_count in (("first", 78), ("second", 117)):
        table = database.open_table("train")
        table.checkout(tag)
        assert table.count_rows() == row_count
    assert database.open_table("train").count_rows() == 117
    # The one before is openable, and is no longer the newest: it cannot be published any more.
    with raises("publish-newer-there"):
        publish(data, folder, "first")


@pytest.mark.exhaustive
def test_a_table_that_was_made_anew_gets_later_versions(
    data: Settings, folder: Path, tmp_path: Path
) -> None:
    for number in range(3):
        bring_whole(data, "c", 5 + number)
        refresh(data)
    publish(data, folder)
    old = lance.dataset(folder / "data" / "train.lance").version
    other = make_other(tmp_path)
    bring(other, "z", make_rows("z", 3).drop(["image", "img_emb"]))
    refresh(other, "anew")
    assert LanceStore(other.lance_dir).open("images").version < old

    publish(other, folder)

    train = lance.dataset(folder / "data" / "train.lance")
    assert train.version > old
    assert train.count_rows() == 39


def test_rows_that_were_deleted_are_not_in_the_files(data: Settings, folder: Path) -> None:
    store = LanceStore(data.lance_dir)
    store.open("images").delete("url = 'https://a.test/5.jpg'")
    # As a release that holds it: only the tag and the record are moved.
    manifest = find_release(store)
    images = store.open("images")
    note = manifest.model_copy(
        update={"lance_versions": {**manifest.lance_versions, "images": images.version + 1}}
    )
    update = lance.LanceOperation.UpdateMap({"x": "y"})
    store.commit(
        "images",
        lance.Transaction(
            images.version,
            lance.LanceOperation.UpdateConfig(table_metadata_updates=update),
            transaction_properties={MANIFEST_KEY: note.model_dump_json()},
        ),
    )
    store.open("images").tags.update("first", images.version + 1)

    publish(data, folder)

    train = lance.dataset(folder / "data" / "train.lance", version="first")
    assert train.count_rows() == 77
    assert not any(fragment.num_deletions for fragment in train.get_fragments())
    assert [p for p, c in list_files(folder).items() if b"https://a.test/5.jpg" in c] == []
    for index in train.describe_indices():
        assert train.stats.index_stats(index.name)["num_unindexed_rows"] == 0
    table = lancedb.connect(folder / "data").open_table("train")
    assert (
        len(table.search("fox", query_type="fts", fts_columns="caption").limit(200).to_list()) == 77
    )


def test_the_card_says_what_it_is(data: Settings, folder: Path) -> None:
    made = publish(data, folder)
    card = (folder / "README.md").read_text("utf-8")

    _, front, text = card.split("---\n", 2)
    read = yaml.safe_load(front)
    assert [config["config_name"] for config in read["configs"]] == [
        "default",
        "entity_counts",
        "domain_counts",
    ]
    assert read["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.lance/**"}]
    assert read["size_categories"] == ["n<1K"]
    (info,) = read["dataset_info"]
    features = {one.pop("name"): one for one in info["features"]}
    assert list(features) == lance.dataset(folder / "data" / "train.lance").schema.names
    assert features["image"] == {"dtype": "image"}
    assert features["img_emb"] == {"list": "float16", "length": 8}
    assert features["similarity"] == {"dtype": "float32"}
    assert "license" not in read
    for column in lance.dataset(folder / "data" / "train.lance").schema.names:
        assert f"| `{column}` |" in text
    assert made.manifest.content_sha256 in text
    assert "| images | 78 |" in text
    assert text.count("TO BE FILLED IN") == 2
    assert made.missing == ("license", "contact")

    publish(
        data,
        folder,
        license="other",
        license_name="My terms",
        license_link="https://a.test/l",
        contact="removals@a.test",
        title="Foxes",
        description="Many foxes.",
    )
    card = (folder / "README.md").read_text("utf-8")
    assert "TO BE FILLED IN" not in card
    assert "removals@a.test" in card
    assert "\n# Foxes\n\nMany foxes.\n" in card
    assert yaml.safe_load(card.split("---\n")[1])["license_link"] == "https://a.test/l"


def test_a_folder_with_other_files_is_refused(data: Settings, folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("", encoding="utf-8")

    with raises("publish-place-taken"):
        publish(data, folder)

    (folder / "thesis.tex").rename(folder / ".gitattributes")
    assert publish(data, folder).is_new


@pytest.mark.exhaustive
def test_a_release_of_the_same_name_from_elsewhere_is_refused(
    data: Settings, folder: Path, tmp_path: Path
) -> None:
    publish(data, folder)
    other = make_other(tmp_path)
    bring(other, "z", make_rows("z", 3).drop(["image", "img_emb"]))
    refresh(other, "first")

    with raises("publish-other-there"):
        publish(other, folder)


@pytest.mark.exhaustive
def test_a_release_with_removed_rows_is_not_published(data: Settings, folder: Path) -> None:
    first = LanceStore(data.lance_dir).open("images", "first").to_table(["url", "shard"])
    row = first.to_pylist()[0]
    read_removals(data, row["url"])

    with raises("publish-removed-rows"):
        publish(data, folder)
    assert not folder.exists()

    load(data, row["shard"], data.data_dir / "shards" / f"{row['shard']}.parquet")
    copy(data, row["shard"])
    refresh(data, "without")
    publish(data, folder)
    published = lance.dataset(folder / "data" / "train.lance").to_table(["url"])
    assert row["url"] not in published["url"].to_pylist()


@pytest.mark.exhaustive
def test_an_attempt_that_was_cut_off_is_taken_up(
    data: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of files a reader sees nothing, or all; the next attempt makes it whole."""
    whole = folder.with_name("whole")
    publish(data, whole)
    file_count = len(list_files(whole))
    name = "laion_assets.publishing.folder_target.place_file"
    for limit in range(0, file_count + 1, 4):
        shutil.rmtree(folder, ignore_errors=True)
        left = limit

        def place_some(*args: Path) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            place_file(*args)

        monkeypatch.setattr(name, place_some)
        try:
            publish(data, folder)
        except KeyboardInterrupt:
            assert (folder / UNFINISHED).is_dir()
            assert not (folder / "release.json").exists()
            staged = list_files(data.publish_dir)
        monkeypatch.setattr(name, place_file)

        publish(data, folder)

        assert not (folder / UNFINISHED).exists()
        assert lance.dataset(folder / "data" / "train.lance", version="first").count_rows() == 78
        # Nothing was made twice.
        assert len(list_files(folder)) == file_count
        assert staged
