"""A step that a disk has no room for is refused in one line, before it writes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.images.space import estimate_load
from laion_assets.operations.backup import back_up
from laion_assets.publishing.publication import publish_dataset
from laion_assets.publishing.resource import PublishRules
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import (
    DiskSpaceError,
    check_space,
    estimate_copy,
    estimate_release,
    measure_folder,
)
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pipeline import copy, count, ingest, load, publish, refresh

pytestmark = pytest.mark.slow


@contextmanager
def mount(folder: Path, kilobytes: int) -> Iterator[None]:
    """A small disk of its own; skips the test where only root may have one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_refusal_has_both_numbers_and_what_is_missing(tmp_path: Path) -> None:
    check_space(tmp_path / "new", 5_000_000, "loading", free_bytes=5_000_000)
    with pytest.raises(DiskSpaceError) as refusal:
        check_space(tmp_path / "new", 5_000_000, "loading", free_bytes=2_000_000)
    assert str(refusal.value) == (
        f"loading: needs up to 5.0 MB on the disk of {tmp_path}/new, which has 2.0 MB free; "
        "make room for 3.0 MB more, then try again"
    )
    assert not refusal.value.is_passing


@pytest.mark.exhaustive
def test_the_estimates_are_not_below_what_is_written(
    settings: Settings, write_shard: WriteShard
) -> None:
    rows = 20_000
    urls = [f"https://{row % 4999}.test/{row * 7919}.jpg" for row in range(rows)]
    captions = [f"word{row % 9001} and word{row * 31 % 7001} {row}" for row in range(rows)]
    source = write_shard("s", url=urls, caption=captions, width=list(range(rows)))

    with Database(settings.database).write():
        pass
    before = settings.database.stat().st_size
    load(settings, "s", source)
    assert settings.database.stat().st_size - before <= estimate_load(
        RawStore(settings.raw_dir).path("s"), rows
    )
    copy(settings, "s")
    copied = measure_folder(settings.lance_dir)
    assert copied <= estimate_copy(settings.database, rows, rows)
    count(settings)
    images = LanceStore(settings.lance_dir).find("images")
    assert images is not None
    publish(settings)
    assert measure_folder(settings.lance_dir) - copied <= estimate_release(images)


@pytest.mark.exhaustive
def test_a_load_that_does_not_fit_changes_nothing_and_goes_on_when_there_is_room(
    settings: Settings, write_shard: WriteShard, instance: dg.DagsterInstance
) -> None:
    source = write_shard("s", url=["https://a.test/1"], caption=["a fox"])
    settings = replace(settings, data_dir=settings.data_dir / "disk", shards=(str(source),))
    with mount(settings.data_dir, 8000):
        discover_shards(settings, instance)
        ingest_shards = build_defs(settings).resolve_job_def("ingest_shards")
        filler = settings.data_dir / "filler"
        filler.write_bytes(b"\0" * 7_500_000)

        refused = run_job(ingest_shards, instance, "s").reason
        filler.unlink()

        assert refused
        assert refused.startswith("loading shard 's': needs up to 1.0 MB on the disk of ")
        assert "\n" not in refused
        assert run_job(ingest_shards, instance, "s").reason is None


@pytest.mark.exhaustive
def test_a_copy_and_a_release_that_do_not_fit_leave_the_ones_before(settings: Settings) -> None:
    settings.lance_dir.mkdir(parents=True)
    with mount(settings.lance_dir, 12_000):
        ingest(settings, "a", "a fox")
        refresh(settings)
        filler = settings.lance_dir / "filler"
        before = LanceStore(settings.lance_dir).find("images")
        assert before is not None
        with filler.open("wb") as file:
            file.truncate(0)
            file.write(b"\0" * 11_400_000)
        with pytest.raises(DiskSpaceError, match="copying shard 'a' to Lance: needs up to"):
            copy(settings, "a")
        with pytest.raises(DiskSpaceError, match="releasing: needs up to"):
            publish(settings)
        after = LanceStore(settings.lance_dir).find("images")
        assert after is not None
        assert after.version == before.version
        filler.unlink()
        ingest(settings, "a", "a hen")
        assert refresh(settings).endswith(".2")


def test_a_backup_that_does_not_fit_is_refused_and_leaves_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    ingest(settings, "a", "a fox")
    with mount(tmp_path / "disk", 100):
        with pytest.raises(DiskSpaceError, match="backup to "):
            back_up(settings, tmp_path / "disk" / "b")
        assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.exhaustive
def test_a_publication_that_does_not_fit_is_refused_and_goes_on_when_there_is_room(
    settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, data_dir=settings.data_dir / "disk")
    settings.data_dir.parent.mkdir(exist_ok=True)
    with mount(settings.data_dir, 30_000):
        ingest(settings, "a", "a fox")
        tag = refresh(settings)
        store = LanceStore(settings.lance_dir)
        rules = PublishRules.build(settings, str(tmp_path / "out"))
        filler = settings.data_dir / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(settings.data_dir).free - 500_000))
        with pytest.raises(DiskSpaceError, match=f"publishing release {tag}: needs up to"):
            publish_dataset(store, rules.open_target(), rules.order(None))
        assert not settings.publish_dir.exists()
        filler.unlink()
        assert publish_dataset(store, rules.open_target(), rules.order(None)).is_new
