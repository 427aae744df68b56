"""A backup is whole, is what was there, and takes the place of nothing else."""

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from laion_assets.lance_images.copy import find_uncopied
from laion_assets.operations import backup
from laion_assets.operations.backup import back_up
from laion_assets.operations.backup_files import Backup, read_backup
from laion_assets.releases.catalog import list_releases, open_released
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import ingest, read_removals, refresh
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

    made = back_up(settings, folder)

    copy = replace(settings, data_dir=folder)
    assert read_backup(folder) == made
    assert list_wrong(made, folder) == []
    assert read_rows(copy.database) == read_rows(settings.database)
    assert (
        [m.release for m in list_releases(LanceStore(copy.lance_dir))]
        == [tag]
        == list(made.releases)
    )
    assert RawStore(copy.raw_dir).read("a") == RawStore(settings.raw_dir).read("a")
    sheet = Path(settings.sheets["artists"])
    assert (folder / "sheets" / "artists.csv").read_bytes() == sheet.read_bytes()
    ingest(copy, "b", "another")
    assert refresh(copy) == f"{tag}.2"


@pytest.mark.exhaustive
def test_a_backup_hides_what_is_on_the_list_of_removals(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox", "a secret")
    refresh(settings)
    read_removals(settings, "https://a.test/1.jpg")

    back_up(settings, tmp_path / "backup")

    assert open_search(LanceStore(tmp_path / "backup" / "lance")).find("secret").total == 0


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_a_backup_does_not_lie_in_the_data_folder(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    link = tmp_path / "link"
    link.symlink_to(settings.data_dir)

    for folder in (settings.data_dir, settings.data_dir / "backup", link / "backup"):
        with raises("backup-in-data-folder"):
            back_up(settings, folder)


@pytest.mark.exhaustive
def test_another_folder_is_refused_and_stays(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()

    with raises("backup-place-taken"):
        back_up(settings, tmp_path / "mine")

    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.exhaustive
def test_a_backup_replaces_the_one_before(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    back_up(settings, tmp_path / "all" / "b")
    (tmp_path / "all" / ".b.part-killed").mkdir()
    ingest(settings, "c", "a hen")

    second = back_up(settings, tmp_path / "all" / "b")

    assert "raw/c.parquet" in {file.path for file in second.files}
    assert list_wrong(second, tmp_path / "all" / "b") == []
    assert [p.name for p in (tmp_path / "all").iterdir()] == ["b"]


def test_a_backup_that_fails_leaves_the_one_before(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    before = back_up(settings, tmp_path / "all" / "b")
    ingest(settings, "c", "a hen")
    path = RawStore(settings.raw_dir).path("c")
    status, content = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    with raises("backup-raw-file-changed"):
        back_up(settings, tmp_path / "all" / "b")

    assert read_backup(tmp_path / "all" / "b") == before
    assert [p.name for p in (tmp_path / "all").iterdir()] == ["b"]


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
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


def list_inodes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_ino
        for path in folder.rglob("*")
        if path.is_file()
    }


def unlink_sources(settings: Settings) -> None:
    """Gives each raw file a second link, so that backups copy it."""
    for path in settings.raw_dir.glob("*.parquet"):
        os.link(path, settings.data_dir / f"mine-{path.name}")


@pytest.mark.exhaustive
def test_a_second_backup_copies_only_what_is_new(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", *[f"the {n}th fox" for n in range(500)])
    refresh(settings)
    unlink_sources(settings)
    first = back_up(settings, tmp_path / "b")
    before = list_inodes(tmp_path / "b")
    again = back_up(settings, tmp_path / "b")
    ingest(settings, "c", "a hen")
    refresh(settings)
    second = back_up(settings, tmp_path / "b")

    after = list_inodes(tmp_path / "b")
    kept = {
        name
        for name in before
        if name.startswith(("raw/a.parquet", "lance/images.lance/data", "lance/images.lance/_ind"))
    }
    assert len(kept) > 3
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert list_wrong(second, tmp_path / "b") == []
    assert first.copied_bytes == first.total_bytes - (settings.raw_dir / "a.json").stat().st_size
    # Nothing was new: what can change is copied, and what cannot is taken over.
    changing = [
        file.file_bytes
        for file in again.files
        if file.path.startswith(("laion.duckdb", "sheets/"))
        or "/_versions/" in file.path
        or "/_refs/" in file.path
    ]
    assert again.copied_bytes == sum(changing)
    assert again.copied_bytes < first.copied_bytes
    new = {file.path for file in second.files} - {file.path for file in again.files}
    new_bytes = sum(file.file_bytes for file in second.files if file.path in new)
    assert (
        0
        < second.copied_bytes
        <= new_bytes
        + sum(
            file.file_bytes
            for file in second.files
            if file.path not in new and file.path not in kept and not file.path.startswith("raw/")
        )
    )


@pytest.mark.exhaustive
def test_what_rotted_in_the_backup_before_is_copied_again(
    settings: Settings, tmp_path: Path
) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings)
    unlink_sources(settings)
    first = back_up(settings, tmp_path / "b")
    names = [f.path for f in first.files if "/data/" in f.path or f.path.endswith(".parquet")]
    for name in names:
        path = tmp_path / "b" / name
        status, content = path.stat(), path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    second = back_up(settings, tmp_path / "b")

    assert list_wrong(second, tmp_path / "b") == []
    sound = {file.path: file.sha256 for file in first.files}
    assert {f.path: f.sha256 for f in second.files if f.path in names} == {
        n: sound[n] for n in names
    }


@pytest.mark.exhaustive
def test_a_full_disk_is_noticed_before_anything_is_copied(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(settings, "a", "a fox")
    before = back_up(settings, tmp_path / "b")
    monkeypatch.setattr(backup, "_estimate", lambda *_: 1 << 60)

    with raises("disk-too-small"):
        back_up(settings, tmp_path / "b")

    assert read_backup(tmp_path / "b") == before
