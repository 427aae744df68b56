"""Old unfinished files go; new ones, locked ones and whole ones stay."""

import os
import threading
from pathlib import Path

import pytest

from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.scratch import remove_scratch

SCRATCH = (
    "raw/.a.part",
    "raw/.a.part-origin",
    "raw/archives/.a.part",
    "raw/vectors/.b.link",
    "raw/.repair-x/shard.parquet",
    ".parquet.part-y/shard=a/images.parquet",
    "datasette/.laion.db.unfinished",
    "publish/x/data/train.lance/data/1.lance",
    "laion.duckdb.tmp/duckdb_temp_storage_DEFAULT-0.tmp",
)
WHOLE = ("raw/a.parquet", "raw/a.json", "raw/archives/a.tar", "laion.duckdb", "notes.part-time")


@pytest.fixture
def written(settings: Settings) -> Settings:
    """A data folder of old files, unfinished and whole."""
    for name in (*SCRATCH, *WHOLE):
        path = settings.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    age(settings.data_dir)
    return settings


def age(folder: Path) -> None:
    """Makes all that is in a folder ten days older."""
    for path in folder.rglob("*"):
        time_ns = path.stat().st_mtime_ns - 10 * 86_400 * 10**9
        os.utime(path, ns=(time_ns, time_ns))


def clean(settings: Settings, keep_days: float = 7) -> int:
    store, raws = LanceStore(settings.lance_dir), RawStore(settings.raw_dir)
    return remove_scratch(settings.data_dir, store, raws, keep_days)


def list_left(settings: Settings) -> set[str]:
    files = (path for path in settings.data_dir.rglob("*") if path.is_file())
    names = {path.relative_to(settings.data_dir).as_posix() for path in files}
    return {name for name in names if not name.startswith("locks/")}


def test_old_unfinished_files_go(written: Settings) -> None:
    assert clean(written) == len(SCRATCH) * 1000
    assert list_left(written) == set(WHOLE)


def test_what_is_newer_than_the_setting_stays(written: Settings) -> None:
    assert clean(written, keep_days=11) == 0
    (written.data_dir / ".parquet.part-y" / "new").touch()
    assert clean(written) == (len(SCRATCH) - 1) * 1000
    assert ".parquet.part-y/shard=a/images.parquet" in list_left(written)


def test_what_a_process_fetches_now_stays(written: Settings) -> None:
    raws = RawStore(written.raw_dir)
    is_held, is_done = threading.Event(), threading.Event()

    def fetch() -> None:
        with raws.lock("a"):
            is_held.set()
            is_done.wait(60)

    fetching = threading.Thread(target=fetch)
    fetching.start()
    is_held.wait(60)
    clean(written)
    is_done.set()
    fetching.join()

    assert "raw/.a.part" in list_left(written)
    assert "raw/vectors/.b.link" not in list_left(written)


def test_what_a_process_publishes_now_stays(written: Settings) -> None:
    with LanceStore(written.lance_dir).lock("publish-x"):
        clean(written)

    assert [name for name in SCRATCH if name in list_left(written)] == [
        "publish/x/data/train.lance/data/1.lance"
    ]


def test_a_data_folder_that_is_not_there_stays_so(settings: Settings) -> None:
    assert clean(settings) == 0
    assert not settings.raw_dir.exists()
