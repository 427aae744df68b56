"""A backup is whole, is what was there, and takes the place of nothing else."""

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from laion_assets.lance_images.copy import find_uncopied
from laion_assets.operations.backup import Backup, back_up, read_backup
from laion_assets.releases.catalog import list_releases, open_released
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


def list_wrong(backup: Backup, folder: Path) -> list[str]:
    """Returns the files that are not as the record says, and those that it does not name."""
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "backup.json"
    }
    named = {file.path: file.sha256 for file in backup.files}
    return sorted(name for name in digests | named if digests.get(name) != named.get(name))


def read_rows(database: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute("FROM images ORDER BY shard, row_index").fetchall()


def test_a_backup_can_be_used_in_place_of_the_data(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a red fox", "a hen")
    tag = refresh(settings)
    folder = tmp_path / "backups" / "monday"

    backup = back_up(settings, folder)

    copy = replace(settings, data_dir=folder)
    assert read_backup(folder) == backup
    assert list_wrong(backup, folder) == []
    assert read_rows(copy.database) == read_rows(settings.database)
    assert (
        [m.release for m in list_releases(LanceStore(copy.lance_dir))]
        == [tag]
        == list(backup.releases)
    )
    assert RawStore(copy.raw_dir).read("a") == RawStore(settings.raw_dir).read("a")
    sheet = Path(settings.sheets["artists"])
    assert (folder / "sheets" / "artists.csv").read_bytes() == sheet.read_bytes()
    ingest(copy, "b", "another")
    assert refresh(copy) == f"{tag}.2"


def test_a_backup_has_the_releases_and_the_newest_version_alone(
    settings: Settings, tmp_path: Path
) -> None:
    ingest(settings, "a", "first")
    first = refresh(settings)
    for caption in ("second", "third"):
        ingest(settings, "a", caption)
    back_up(settings, tmp_path / "b")

    images = LanceStore(tmp_path / "b" / "lance")
    (manifest,) = list_releases(images)
    assert manifest.release == first
    released = open_released(images, manifest, "images").to_table()
    assert released["caption"].to_pylist() == ["first"]
    newest = images.find("images")
    assert newest is not None
    assert newest.to_table()["caption"].to_pylist() == ["third"]
    kept = {version["version"] for version in newest.versions()}
    assert kept == {manifest.lance_versions["images"], newest.version}


def test_another_folder_is_refused_and_stays(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()

    with raises("backup-place-taken"):
        back_up(settings, tmp_path / "mine")

    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_backup_replaces_the_one_before(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    back_up(settings, tmp_path / "all" / "b")
    (tmp_path / "all" / ".b.part-killed").mkdir()
    ingest(settings, "c", "a hen")

    backup = back_up(settings, tmp_path / "all" / "b")

    assert "raw/c.parquet" in {file.path for file in backup.files}
    assert list_wrong(backup, tmp_path / "all" / "b") == []
    assert [p.name for p in (tmp_path / "all").iterdir()] == ["b"]


def test_a_backup_that_fails_leaves_the_one_before(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    before = back_up(settings, tmp_path / "all" / "b")
    path = RawStore(settings.raw_dir).path("a")
    status, content = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with raises("backup-raw-file-changed"):
        back_up(settings, tmp_path / "all" / "b")

    assert read_backup(tmp_path / "all" / "b") == before
    assert [p.name for p in (tmp_path / "all").iterdir()] == ["b"]


def test_a_killed_writers_log_comes_along(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    # As after a kill: what was committed is in the log alone.
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("INSERT INTO domain_counts VALUES ('late.test', 1)")
    assert settings.database.with_name("laion.duckdb.wal").exists()

    back_up(settings, tmp_path / "b")

    with duckdb.connect(str(tmp_path / "b" / "laion.duckdb")) as connection:
        assert connection.execute("FROM domain_counts").fetchall() == [("late.test", 1)]


def test_backups_during_loads_are_whole(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    is_over = threading.Event()
    loads: list[int] = []

    def load_on_and_on() -> None:
        while not is_over.is_set():
            ingest(settings, "a", *["a fox"] * (len(loads) + 2))
            loads.append(1)

    loader = threading.Thread(target=load_on_and_on)
    loader.start()
    try:
        for number in range(3):
            folder = tmp_path / f"b{number}"
            assert list_wrong(back_up(settings, folder), folder) == []
            with Database(folder / "laion.duckdb").read() as connection:
                images = LanceStore(folder / "lance").open("images")
                # A load may not have been copied yet; what is there can be read to its end.
                assert find_uncopied(connection, images) in ([], ["a"])
                assert set(images.to_table()["caption"].to_pylist()) == {"a fox"}
    finally:
        is_over.set()
        loader.join()


def test_there_is_nothing_to_back_up_before_the_first_load(
    settings: Settings, tmp_path: Path
) -> None:
    with raises("backup-of-nothing"):
        back_up(settings, tmp_path / "b")
