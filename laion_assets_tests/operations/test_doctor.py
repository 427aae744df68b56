"""What `laion doctor` finds, what it says to do, and that it changes nothing."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import duckdb
import pytest

from laion_assets.operations import diagnose_host
from laion_assets.operations.doctor import diagnose
from laion_assets.operations.finding import Diagnosis
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import ingest, load, refresh

pytestmark = pytest.mark.slow

PARTS = (
    *("settings", "versions", "locks", "disk", "stores", "raw files", "releases", "lists"),
    "encoder",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two shards and a release."""
    settings = make_settings(tmp_path_factory.mktemp("sound"))
    ingest(settings, "a", "a fox", "a hen")
    ingest(settings, "b", "a lemur")
    refresh(settings, "one")
    return settings


@pytest.fixture
def sound(settings: Settings, made: Settings) -> Settings:
    """A copy of it."""
    return copy_made(made, settings)


def list_wrong(diagnosis: Diagnosis) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if not finding.is_sound:
            found.setdefault(finding.part, []).append(finding.text)
    return found


def list_content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_all_is_sound_and_nothing_is_changed(sound: Settings) -> None:
    before = list_content(sound.data_dir)

    diagnosis = diagnose(sound, is_hashing=True)

    assert list_wrong(diagnosis) == {}
    assert diagnosis.is_sound
    assert tuple(dict.fromkeys(finding.part for finding in diagnosis.findings)) == PARTS
    assert all(finding.text.splitlines() == [finding.text] for finding in diagnosis.findings)
    assert list_content(sound.data_dir) == before


def test_an_empty_project_is_sound_but_for_its_shards(settings: Settings) -> None:
    assert list(list_wrong(diagnose(settings))) == ["settings"]
    assert not settings.data_dir.exists()


def change_raw_file(settings: Settings) -> None:
    path = RawStore(settings.raw_dir).path("a")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"?")


def remove_raw_file(settings: Settings) -> None:
    RawStore(settings.raw_dir).path("a").unlink()


def remove_raw_record(settings: Settings) -> None:
    (settings.raw_dir / "b.json").unlink()


def load_without_copy(settings: Settings) -> None:
    ingest(settings, "c", "one more")
    load(settings, "c", settings.data_dir / "shards" / "c.parquet")


def lose_rows(settings: Settings) -> None:
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("DELETE FROM images WHERE shard = 'a' AND row_index = 0")


def remove_database(settings: Settings) -> None:
    settings.database.unlink()


def age_schema(settings: Settings) -> None:
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE schema_version SET version = 1")


def remove_released_table(settings: Settings) -> None:
    shutil.rmtree(settings.lance_dir / "entity_counts.lance")


def remove_released_data(settings: Settings) -> None:
    shutil.rmtree(settings.lance_dir / "domain_counts.lance" / "data")


def remove_list(settings: Settings) -> None:
    Path(settings.sheets["artists"]).unlink()


def break_curation(settings: Settings) -> None:
    settings.curation_file.write_text("[columns.x]\n", encoding="utf-8")


def remove_shards(settings: Settings) -> None:
    shutil.rmtree(settings.data_dir / "shards")


@pytest.mark.parametrize(
    ("break_it", "part", "remedy"),
    [
        (remove_raw_record, "raw files", "run `laion backfill b`"),
        (lose_rows, "stores", "run `laion backfill a`"),
        (age_schema, "stores", "then run `laion upgrade`"),
        *(
            pytest.param(*case, marks=pytest.mark.exhaustive)
            for case in (
                (change_raw_file, "raw files", "run `laion backfill a`"),
                (remove_raw_file, "raw files", "run `laion backfill a`"),
                (load_without_copy, "stores", "run `laion backfill c`"),
                (remove_database, "stores", "restore a backup"),
                (remove_released_table, "releases", "restore a backup"),
                (remove_released_data, "releases", "restore a backup"),
                (remove_list, "lists", "correct LAION_SHEET_ARTISTS"),
                (break_curation, "settings", "columns.x"),
                (remove_shards, "settings", "put shards there"),
            )
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    sound: Settings, break_it: Callable[[Settings], None], part: str, remedy: str
) -> None:
    break_it(sound)
    before = list_content(sound.data_dir)

    diagnosis = diagnose(sound)

    wrong = list_wrong(diagnosis)
    assert not diagnosis.is_sound
    assert list(wrong) == [part]
    assert any(remedy in text for text in wrong[part]), wrong
    assert list_content(sound.data_dir) == before


@pytest.mark.exhaustive
def test_a_changed_byte_is_found_by_its_hash(sound: Settings) -> None:
    path = RawStore(sound.raw_dir).path("a")
    status, content = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert diagnose(sound).is_sound
    assert list(list_wrong(diagnose(sound, is_hashing=True))) == ["raw files"]


def test_a_file_that_was_copied_without_its_time_is_sound(sound: Settings) -> None:
    os.utime(RawStore(sound.raw_dir).path("a"))

    assert diagnose(sound).is_sound


def test_a_full_disk_is_found(sound: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose_host, "LEAST_FREE_BYTES", 1 << 60)

    assert "make room for" in list_wrong(diagnose(sound))["disk"][0]


@pytest.mark.exhaustive
def test_an_encoder_that_is_not_there_is_found(sound: Settings) -> None:
    assert diagnose(replace(sound, encoder="demo")).is_sound
    wrong = list_wrong(diagnose(replace(sound, encoder="/nowhere")))
    assert "name one with an encoder" in wrong["encoder"][0]


def test_a_list_that_no_server_gives_is_found(sound: Settings) -> None:
    sheets = MappingProxyType({**sound.sheets, "brands": "/nowhere.csv"})

    wrong = list_wrong(diagnose(replace(sound, sheets=sheets)))

    assert list(wrong) == ["lists"]
    assert len(wrong["lists"]) == 1


def test_a_list_of_removals_that_cannot_be_read_is_found(sound: Settings, tmp_path: Path) -> None:
    wrong = list_wrong(diagnose(replace(sound, removals="/nowhere.csv")))
    assert "/nowhere.csv" in wrong["lists"][0]

    listed = tmp_path / "removals.csv"
    listed.write_text("what\na.test\n!!!nonsense\n")
    wrong = list_wrong(diagnose(replace(sound, removals=str(listed))))
    assert wrong["lists"][0].startswith(f"{listed}: 1 line without an entry, line 3 among them")

    listed.write_text("what\na.test\n")
    assert diagnose(replace(sound, removals=str(listed))).is_sound


@contextmanager
def hold_lock(store: LanceStore) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock of releases."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from laion_assets.stores.lance_store import LanceStore\n"
        "with LanceStore(Path(sys.argv[1])).lock('release'):\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(store.folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.exhaustive
def test_a_stopped_process_that_holds_a_lock_is_found(sound: Settings) -> None:
    with hold_lock(LanceStore(sound.lance_dir)) as process:
        diagnosis = diagnose(sound)
        assert diagnosis.is_sound
        assert any(f"process {process.pid} holds 1" in f.text for f in diagnosis.findings)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        (text,) = list_wrong(diagnose(sound))["locks"]
    assert f"`kill -CONT {process.pid}`" in text
    assert "lance-release.lock" in text


def test_a_misspelt_setting_is_found(sound: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_SHARD", "/mnt/shards/*.parquet")
    monkeypatch.setenv("LAION_SHEET_BRANDS", "brands.csv")
    # One of the container's, which is no setting and resembles none.
    monkeypatch.setenv("LAION_DAGSTER_HOST", "dagster")

    wrong = list_wrong(diagnose(sound))

    assert wrong == {
        "settings": ["LAION_SHARD: no setting has this name; did you mean LAION_SHARDS?"]
    }


def test_places_that_nothing_can_be_read_from_or_published_to_are_found(
    sound: Settings, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").touch()
    shards = ("ftp://a.test/b.parquet", "s3://a/b.lance")
    publish = str(tmp_path / "letter.txt")

    wrong = list_wrong(diagnose(replace(sound, shards=shards, publish=publish)))

    assert [text.partition(":")[0] for text in wrong["settings"]] == [
        "LAION_SHARDS",
        "LAION_SHARDS",
        "LAION_PUBLISH",
    ]
    assert "copy it here" in wrong["settings"][1]


def test_settings_that_cannot_be_read_are_all_that_is_said() -> None:
    diagnosis = diagnose(None, "LAION_PICTURES: 'x' is not one of given, fetch, none")

    assert not diagnosis.is_sound
    assert [finding.part for finding in diagnosis.findings] == ["settings"]


@pytest.mark.exhaustive
def test_it_works_while_a_load_runs(sound: Settings) -> None:
    is_over = threading.Event()
    failures: list[Exception] = []

    def load_on_and_on() -> None:
        number = 0
        try:
            while not is_over.is_set():
                number += 1
                ingest(sound, "b", *["a fox"] * (number + 1))
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    loader = threading.Thread(target=load_on_and_on)
    loader.start()
    try:
        for _ in range(5):
            wrong = list_wrong(diagnose(sound))
            # Without a history nobody knows that the shard is on its way.
            assert wrong.keys() <= {"stores", "raw files"}
            assert all("'b'" in t or "b.parquet" in t for texts in wrong.values() for t in texts)
    finally:
        is_over.set()
        loader.join()
    assert failures == []
    assert diagnose(sound).is_sound
