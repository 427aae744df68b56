"""A shard does not depend on its source once its raw copy is verified."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.fetch import bring_shard
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.settings import Settings
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import load
from laion_assets_tests.raises import raises

RULES = SourceRules()


def write(path: Path, caption: str = "a fox") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"url": ["https://a.test/1"], "caption": [caption]}), path)
    return path


@pytest.fixture
def copied(tmp_path: Path) -> tuple[RawStore, Path]:
    """The raw folder after `cp -r`, and the place where the source was."""
    source = write(tmp_path / "source" / "s.parquet")
    bring_shard([str(source)], "s", RawStore(tmp_path / "raw"), RULES)
    copy = RawStore(tmp_path / "copy")
    shutil.copytree(tmp_path / "raw", copy.folder, copy_function=shutil.copyfile)
    os.utime(copy.path("s"), ns=(1, 1))
    source.unlink()
    return copy, source


@pytest.mark.parametrize("pattern", ["s.parquet", "*.parquet", "none/*.parquet"])
def test_a_copy_without_times_whose_source_is_gone_is_used(
    copied: tuple[RawStore, Path], pattern: str
) -> None:
    store, source = copied

    raw, is_gone = bring_shard([str(source.parent / pattern)], "s", store, RULES)

    assert is_gone
    assert raw.modified_ns == 1
    assert store.find("s") == raw


@pytest.mark.slow
def test_a_copy_without_times_is_loaded_without_its_source(
    copied: tuple[RawStore, Path], settings: Settings
) -> None:
    store, _ = copied
    raw = store.read("s")

    load(settings, "s", store.path("s"))

    assert raw.modified_ns == 1
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        assert connection.execute("SELECT caption FROM images").fetchall() == [("a fox",)]


def test_another_content_of_the_same_size_is_noticed(copied: tuple[RawStore, Path]) -> None:
    store, source = copied
    write(store.path("s"), "a cat"[:5])
    before = store.path("s").read_bytes()

    with raises("raw-file-changed"):
        store.read("s")
    with raises("file-missing"):
        bring_shard([str(source)], "s", store, RULES)
    assert store.path("s").read_bytes() == before


def test_a_source_that_may_still_be_there_is_not_taken_for_gone(
    copied: tuple[RawStore, Path],
) -> None:
    """What cannot be asked at the moment may have a newer file."""
    store, _ = copied

    with raises("scheme-unknown"):
        bring_shard(["ftp://a.test/*.parquet"], "s", store, RULES)


def leave_a_dangling_link(source: Path) -> None:
    source.symlink_to(source.parent / "none.parquet")


def leave_a_loop_of_links(source: Path) -> None:
    source.symlink_to(source)


def leave_a_file_for_the_folder(source: Path) -> None:
    source.parent.rmdir()
    source.parent.touch()


def leave_a_link_to_a_lost_folder(source: Path) -> None:
    source.parent.rmdir()
    source.parent.symlink_to(source.parent.parent / "unmounted")


LEAVE = {
    "a dangling link": leave_a_dangling_link,
    "a loop of links": leave_a_loop_of_links,
    "a file for the folder": leave_a_file_for_the_folder,
    "a link to a lost folder": leave_a_link_to_a_lost_folder,
}


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
@pytest.mark.parametrize("pattern", ["s.parquet", "*.parquet"])
def test_whatever_is_left_of_a_source_its_verified_copy_is_used(
    copied: tuple[RawStore, Path], leave: Callable[[Path], None], pattern: str
) -> None:
    store, source = copied
    leave(source)

    raw, is_gone = bring_shard([str(source.parent / pattern)], "s", store, RULES)

    assert is_gone
    assert raw == store.read("s")


@pytest.mark.parametrize("leave", [leave_a_dangling_link, leave_a_loop_of_links])
def test_a_link_that_leads_nowhere_is_named_where_there_is_no_copy(
    tmp_path: Path, leave: Callable[[Path], None]
) -> None:
    source = tmp_path / "s.parquet"
    leave(source)

    with pytest.raises(ShardError) as refusal:
        bring_shard([str(tmp_path / "*.parquet")], "s", RawStore(tmp_path / "raw"), RULES)

    assert str(refusal.value) == f"{source}: no such file; correct LAION_SHARDS"
