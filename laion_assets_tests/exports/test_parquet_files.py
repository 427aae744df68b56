"""A release as parquet files in folders by shard."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from laion_assets.exports import parquet_files, released_rows
from laion_assets.exports.parquet_files import RECORD, ParquetExport, export_parquet, read_export
from laion_assets.releases.catalog import find_release
from laion_assets.releases.manifest import ReleasedShard
from laion_assets.schemas import IMAGES
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import DiskSpaceError
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import bring, ingest, read_removals, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

ODD = "part=1 of 2,ü"
NUMBER = "00000"


def store(settings: Settings) -> LanceStore:
    return LanceStore(settings.lance_dir)


def list_content(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def select(made: ParquetExport, query: str) -> list[tuple[object, ...]]:
    files = f"{made.folder}/**/*.parquet"
    read = f"read_parquet('{files}', hive_partitioning = true, hive_types = {{'shard': VARCHAR}})"
    return duckdb.execute(query.replace("images", read)).fetchall()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A release of shards with odd names, one of them without an image."""
    settings = make_settings(tmp_path_factory.mktemp("released"))
    rows = 400
    bring(
        settings,
        "a",
        pa.table(
            {
                "url": [f"https://a.test/{n}.jpg" for n in range(rows)],
                "caption": [f"caption {n}" for n in range(rows)],
                "punsafe": [0.9 if n % 100 == 0 else 0.1 for n in range(rows)],
                "hash": [None, *range(1, rows)],
            }
        ),
    )
    ingest(settings, ODD, "a lemur", "two lemurs")
    ingest(settings, NUMBER, "a number")
    bring(settings, "empty", pa.table({"url": [None], "caption": ["nowhere"]}))
    refresh(settings, "one")
    return settings


@pytest.fixture
def released(settings: Settings, made: Settings) -> Settings:
    """A copy of that release."""
    return copy_made(made, settings)


def test_the_files_have_the_rows_of_the_release(made: Settings, tmp_path: Path) -> None:
    export = export_parquet(store(made), tmp_path / "out")

    columns = ", ".join(column.name for column in IMAGES)
    order = "ORDER BY shard, row_index"
    with Database(made.database).read() as connection:
        expected = connection.execute(f"SELECT {columns} FROM images {order}").fetchall()
    assert select(export, f"SELECT {columns} FROM images {order}") == expected
    assert (export.image_count, export.hidden_count) == (403, 0)
    table = pads.dataset(
        tmp_path / "out",
        partitioning=pads.partitioning(pa.schema([("shard", pa.string())]), flavor="hive"),
    ).to_table()
    assert table.num_rows == 403
    assert set(table["shard"].to_pylist()) == {"a", ODD, NUMBER}
    for path in (tmp_path / "out").rglob("*.parquet"):
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            assert footer.row_group(group).column(0).compression == "ZSTD"


def test_a_row_that_is_removed_meanwhile_is_not_exported(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time the folder would be newer than the removal, and no purge would delete it."""
    write = parquet_files._write

    def remove(*of: Any) -> parquet_files.ExportedShard:
        read_removals(released, "https://a.test/1.jpg")
        return write(*of)

    monkeypatch.setattr(parquet_files, "_write", remove)

    with raises("export-removals-changed"):
        export_parquet(store(released), tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


def test_its_record_names_each_file(made: Settings, tmp_path: Path) -> None:
    export_parquet(store(made), tmp_path / "out")

    record = read_export(tmp_path / "out")
    assert record
    found = list_content(tmp_path / "out")
    del found[RECORD]
    assert {shard.path: shard.sha256 for shard in record.shards} == found
    assert {s.shard: s.row_count for s in record.shards} == {
        "a": 400,
        "empty": 0,
        ODD: 2,
        NUMBER: 1,
    }


def test_two_exports_are_equal_whatever_the_layout_in_lance(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "_GROUP_ROWS", 150)
    monkeypatch.setattr(released_rows, "BATCH_ROWS", 64)
    first = export_parquet(store(released), tmp_path / "first")
    monkeypatch.setattr(released_rows, "BATCH_ROWS", 100)
    export_parquet(store(released), tmp_path / "second")

    assert list_content(tmp_path / "first") == list_content(tmp_path / "second")
    footer = pq.read_metadata(tmp_path / "first" / "shard=a" / "images.parquet")
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [150, 150, 100]
    # All shards in one fragment, as after a compaction by somebody else.
    images = store(released).open("images")
    images.optimize.compact_files()
    version = store(released).open("images").version
    manifest = find_release(store(released))
    joined = parquet_files._fill(
        images.checkout_version(version),
        manifest,
        _folder(tmp_path / "third"),
        np.zeros(0, np.uint64),
        is_safe=False,
    )
    assert joined.shards == first.record.shards


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_unsafe_images_are_left_out_and_counted(made: Settings, tmp_path: Path) -> None:
    export = export_parquet(store(made), tmp_path / "safe", is_safe=True)

    assert (export.image_count, export.hidden_count) == (399, 4)
    assert select(export, "SELECT count(*) FROM images WHERE punsafe > 0.5") == [(0,)]


@pytest.mark.exhaustive
def test_removed_images_are_left_out_of_old_releases_too(
    released: Settings, tmp_path: Path
) -> None:
    ingest(released, "later", "one more")
    refresh(released, "two")
    read_removals(released, "HTTP://a.test:80/7.jpg#top", f"{NUMBER}.test", "later.test")

    for tag, row_count in (("one", 401), ("two", 401)):
        export = export_parquet(store(released), tmp_path / "left", tag)
        assert export.image_count == row_count
        urls = {url for (url,) in select(export, "SELECT url FROM images")}
        assert urls.isdisjoint({"https://a.test/7.jpg", f"https://{NUMBER}.test/0.jpg"})
        assert (len(urls), "later.test" in str(urls)) == (row_count, False)
    assert {s.shard: s.hidden_count for s in export.record.shards} == {
        "a": 1,
        "empty": 0,
        ODD: 0,
        NUMBER: 1,
        "later": 1,
    }
    # Of an image that is unsafe as well, nothing is counted twice.
    read_removals(released, "https://a.test/100.jpg")
    safe = export_parquet(store(released), tmp_path / "safe", "one", is_safe=True)
    assert (safe.image_count, safe.hidden_count) == (399, 4)


@pytest.mark.exhaustive
def test_an_old_release_is_exported_as_it_was(released: Settings, tmp_path: Path) -> None:
    ingest(released, "later", "one more")
    refresh(released, "two")

    newest = export_parquet(store(released), tmp_path / "out")
    old = export_parquet(store(released), tmp_path / "out", "one")

    assert (newest.record.release, newest.image_count) == ("two", 404)
    assert (old.record.release, old.image_count) == ("one", 403)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_a_folder_of_others_is_not_replaced(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")

    with raises("parquet-place-taken"):
        export_parquet(store(made), tmp_path / "mine")

    assert (tmp_path / "mine" / "notes.txt").read_text("utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    assert export_parquet(store(made), tmp_path / "empty").image_count == 403


def test_a_release_that_differs_from_its_record_leaves_the_export_before(
    made: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_parquet(store(made), tmp_path / "out")
    before = list_content(tmp_path / "out")
    manifest = find_release(store(made))
    shards = tuple(replace_count(shard) for shard in manifest.shards)
    monkeypatch.setattr(
        parquet_files, "find_release", lambda *_: manifest.model_copy(update={"shards": shards})
    )

    with raises("parquet-differs"):
        export_parquet(store(made), tmp_path / "out")

    assert list_content(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def replace_count(shard: ReleasedShard) -> ReleasedShard:
    return shard.model_copy(update={"image_count": shard.image_count + 1})


def test_a_full_disk_is_noticed_before_anything_is_written(
    made: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "_BYTES_A_ROW", 1 << 50)

    with pytest.raises(DiskSpaceError, match="exporting release one: needs up to"):
        export_parquet(store(made), tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.exhaustive
def test_the_estimate_of_the_disk_is_an_upper_bound(settings: Settings, tmp_path: Path) -> None:
    captions = (f"the {n:x} quick {n * 7919:x} foxes of caption {n}" for n in range(20_000))
    ingest(settings, "a", *captions)
    refresh(settings)

    export = export_parquet(store(settings), tmp_path / "out")

    needed = parquet_files.estimate_parquet(store(settings).open("images"))
    assert export.total_bytes < needed < 20 * export.total_bytes


def test_two_exports_to_one_folder_take_turns(made: Settings, tmp_path: Path) -> None:
    failures: list[Exception] = []

    def export() -> None:
        try:
            export_parquet(store(made), tmp_path / "out")
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=export) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_what_a_killed_export_left_is_removed(made: Settings, tmp_path: Path) -> None:
    """As after a kill between the two renames, and another while it wrote."""
    export_parquet(store(made), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old-x")
    (tmp_path / ".out.part-y").mkdir()

    with raises("release-unknown"):
        export_parquet(store(made), tmp_path / "out", "never")
    export_parquet(store(made), tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
