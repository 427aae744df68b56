"""A restored data folder is what was backed up, and a restore loses nothing that it may not."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from laion_assets.operations.backup import back_up
from laion_assets.operations.backup_files import read_backup
from laion_assets.operations.doctor import diagnose
from laion_assets.operations.restore import restore
from laion_assets.releases.catalog import list_releases
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

# Kills itself without a word at the given call of a function, as a loss of power would.
PROGRAM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from laion_assets.operations import backup, restore
from laion_assets.settings import Settings

task, data, place, what, left = *sys.argv[1:5], int(sys.argv[5])

def kill_at(call):
    def run(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return run

if what == "rename":
    Path.rename = kill_at(Path.rename)
else:
    backup.copy_file = restore.copy_file = kill_at(backup.copy_file)
settings = Settings.default(Path(data))
if task == "backup":
    backup.back_up(settings, Path(place))
else:
    restore.restore(settings, Path(place), is_replacing=True)
"""


def run_and_kill(task: str, settings: Settings, place: Path, what: str, calls: int) -> bool:
    """Returns whether the process was killed before it was done."""
    arguments = (task, str(settings.data_dir), str(place), what, str(calls))
    result = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=False)
    assert result.returncode in (0, -9)
    return result.returncode == -9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two shards and a release, and a backup of them beside."""
    settings = make_settings(tmp_path_factory.mktemp("made"))
    ingest(settings, "a", "a red fox", "a hen")
    ingest(settings, "b", "a lemur")
    refresh(settings, "one")
    back_up(settings, settings.data_dir.parent / "backup")
    return settings


@pytest.fixture
def source(made: Settings) -> Path:
    """The backup."""
    return made.data_dir.parent / "backup"


def read_all(settings: Settings) -> dict[str, object]:
    """All that a backup keeps, as a user sees it."""
    store, raws = LanceStore(settings.lance_dir), RawStore(settings.raw_dir)
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        rows = connection.execute("FROM images ORDER BY shard, row_index").fetchall()
        names = connection.execute("FROM artists").fetchall()
    images = store.open("images").to_table().sort_by([("shard", "ascending")])
    return {
        "rows": rows,
        "names": names,
        "lance": sorted(map(str, images.to_pylist())),
        "releases": list(list_releases(store)),
        "raw": {shard: raws.find(shard) for shard in raws.list_shards()},
    }


def make_place(folder: Path) -> Settings:
    """Returns the settings of a new folder."""
    folder.mkdir()
    return make_settings(folder)


def list_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"locks", "laion.duckdb.lock", "shards"}


@pytest.mark.exhaustive
def test_an_empty_folder_gets_all_that_was_backed_up(
    made: Settings, source: Path, settings: Settings
) -> None:
    done = restore(settings, source)

    assert done.shards == ("a", "b")
    assert read_all(settings) == read_all(made)
    assert list_names(settings.data_dir) == {"laion.duckdb", "lance", "raw", "sheets"}
    assert read_backup(source) == done.backup
    # All goes on from there.
    ingest(settings, "c", "one more")
    assert refresh(settings, "two") == "two"


@pytest.mark.exhaustive
def test_what_declares_columns_comes_back_where_there_is_none(
    made: Settings, settings: Settings, tmp_path: Path
) -> None:
    source = copy_made(made, make_place(tmp_path / "source"))
    declared = (
        '[columns.score]\nfile = "labels/score.csv"\non = "image_id"\nvalue = "score"\n'
        '[columns.far]\nfile = "/nowhere/far.csv"\non = "image_id"\nvalue = "far"\n'
    )
    source.curation_file.write_text(declared)
    (source.data_dir / "labels").mkdir()
    (source.data_dir / "labels" / "score.csv").write_text("image_id,score\n1,0.5\n")
    back_up(source, tmp_path / "backup")
    other = make_place(tmp_path / "other")
    other.data_dir.mkdir(parents=True, exist_ok=True)
    other.curation_file.write_text("# ours\n")

    for place in (settings, other):
        restore(place, tmp_path / "backup")

    assert settings.curation_file.read_text() == declared
    labels = settings.data_dir / "labels" / "score.csv"
    assert labels.read_text() == "image_id,score\n1,0.5\n"
    assert other.curation_file.read_text() == "# ours\n"


def test_a_backup_keeps_a_declaration_with_a_mistake(
    made: Settings, settings: Settings, tmp_path: Path
) -> None:
    source = copy_made(made, make_place(tmp_path / "source"))
    source.curation_file.write_text("[columns")
    back_up(source, tmp_path / "backup")

    restore(settings, tmp_path / "backup")

    assert settings.curation_file.read_text() == "[columns"


@pytest.mark.exhaustive
def test_data_that_are_there_are_lost_only_if_somebody_says_so(
    made: Settings, source: Path, settings: Settings
) -> None:
    ingest(settings, "mine", "a hare")
    before = read_all_but_names(settings)
    (settings.data_dir / "sheets").mkdir()
    (settings.data_dir / "sheets" / "artists.csv").write_text("name\nmine\n", encoding="utf-8")

    with raises("restore-place-taken"):
        restore(settings, source)

    assert read_all_but_names(settings) == before
    restore(settings, source, is_replacing=True)
    assert read_all(settings) == read_all(made)
    assert list_names(settings.data_dir) == {"laion.duckdb", "lance", "raw", "sheets"}
    sheet = (settings.data_dir / "sheets" / "artists.csv").read_text("utf-8")
    assert sheet == "name\nmine\n"


def read_all_but_names(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        return connection.execute("FROM images").fetchall()


@pytest.mark.exhaustive
@pytest.mark.parametrize("lost", ["a byte", "a file"])
def test_a_damaged_backup_is_refused_and_changes_nothing(
    made: Settings, settings: Settings, tmp_path: Path, lost: str
) -> None:
    ingest(settings, "mine", "a hare")
    before = read_all_but_names(settings)
    back_up(made, tmp_path / "b")
    (path,) = (tmp_path / "b" / "lance" / "entity_counts.lance" / "data").iterdir()
    if lost == "a file":
        path.unlink()
    else:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with raises("restore-failed" if lost == "a file" else "restore-source-damaged"):
        restore(settings, tmp_path / "b", is_replacing=True)

    assert read_all_but_names(settings) == before
    assert not [name for name in list_names(settings.data_dir) if name.startswith(".")]


def test_another_folder_is_no_backup(settings: Settings, tmp_path: Path) -> None:
    with raises("restore-of-no-backup"):
        restore(settings, tmp_path)
    assert not settings.data_dir.exists()


KILLS = [("copy", 0), ("copy", 7), ("rename", 0), ("rename", 2), ("rename", 5)]
ALL_KILLS = [*(("copy", n) for n in range(1, 30, 3)), *(("rename", n) for n in range(10))]


def check_kills(source: Path, made: Settings, settings: Settings, kill: tuple[str, int]) -> None:
    ingest(settings, "mine", "a hare")
    before = read_all_but_names(settings)

    is_killed = run_and_kill("restore", settings, source, *kill)

    whole = settings.data_dir / ".restore.whole"
    if whole.exists():
        (text,) = [f.text for f in diagnose(settings).findings if f.part == "stores"]
        assert "run the same `laion restore` again" in text
        # What was begun is finished, without being told to replace anything.
        restore(settings, source)
    elif is_killed and read_all_but_names(settings) == before:
        restore(settings, source, is_replacing=True)
    assert read_all(settings) == read_all(made)
    restore(settings, source, is_replacing=True)
    assert list_names(settings.data_dir) == {"laion.duckdb", "lance", "raw", "sheets"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_restore_has_changed_nothing_or_is_finished(
    source: Path, made: Settings, settings: Settings, kill: tuple[str, int]
) -> None:
    check_kills(source, made, settings, kill)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kill", ALL_KILLS)
def test_a_restore_killed_at_any_step_has_changed_nothing_or_is_finished(
    source: Path, made: Settings, settings: Settings, kill: tuple[str, int]
) -> None:
    check_kills(source, made, settings, kill)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kill", [("copy", 3), ("rename", 0), ("rename", 1)])
def test_a_killed_backup_leaves_the_one_before_or_is_whole(
    made: Settings, settings: Settings, tmp_path: Path, kill: tuple[str, int]
) -> None:
    copy_made(made, settings)
    place = tmp_path / "all" / "b"
    first = back_up(settings, place)
    ingest(settings, "c", "one more")

    assert run_and_kill("backup", settings, place, *kill)

    # Between the two renames the name is free; the next backup gives it back first.
    assert read_backup(place) in (first, None)
    second = back_up(settings, place)
    assert "raw/c.parquet" in {file.path for file in second.files}
    assert [path.name for path in place.parent.iterdir()] == ["b"]
    target = replace(settings, data_dir=tmp_path / "restored")
    assert restore(target, place).shards == ("a", "b", "c")


@pytest.mark.exhaustive
def test_backups_and_restores_while_loads_run(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings, "one")
    is_over = threading.Event()
    loads: list[int] = []
    failures: list[Exception] = []

    def load_on_and_on() -> None:
        try:
            while not is_over.is_set():
                ingest(settings, f"s{len(loads) % 3}", *["a fox"] * (len(loads) + 2))
                loads.append(1)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    loader = threading.Thread(target=load_on_and_on)
    loader.start()
    try:
        for number in range(3):
            backup = back_up(settings, tmp_path / "b")
            target = replace(settings, data_dir=tmp_path / f"restored-{number}")
            done = restore(target, tmp_path / "b")
            assert done.backup == backup
            assert "a" in done.shards
            with duckdb.connect(str(target.database), read_only=True) as connection:
                counted = connection.execute(
                    "SELECT shard, image_count, (SELECT count(*) FROM images WHERE "
                    "images.shard = shards.shard) FROM shards"
                ).fetchall()
            assert all(noted == found for _, noted, found in counted)
            images = LanceStore(target.lance_dir).open("images").to_table()
            assert set(images["caption"].to_pylist()) == {"a fox"}
            assert [m.release for m in list_releases(LanceStore(target.lance_dir))] == ["one"]
    finally:
        is_over.set()
        loader.join()
    assert failures == []
    assert len(loads) > 0
