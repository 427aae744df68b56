"""`laion status` for programs, on a full and a read-only disk, with the history elsewhere."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from laion_assets_tests.integration.conftest import Shell, write_source

pytestmark = pytest.mark.usefixtures("unchecked")


@contextmanager
def mount(folder: Path, megabytes: int) -> Iterator[None]:
    """A small disk of its own; skips the test where only root may have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Takes all the space that is left."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 60 MB."""
    with mount(tmp_path / "disk", 60):
        yield tmp_path / "disk"


def read_json(shell: Shell) -> tuple[dict[str, object], int]:
    result = shell.run("laion", "status", "--json")
    return json.loads(result.stdout), result.returncode


@pytest.mark.exhaustive
def test_the_exit_status_says_whether_something_is_behind_or_failed(shell: Shell) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "discover").returncode == 0
    missing, missing_status = read_json(shell)
    shell.load_and_release()
    done, done_status = read_json(shell)
    write_source(shell, "two").write_bytes(b"<html>")
    assert shell.run("laion", "backfill", "two", "--no-refresh").returncode == 1
    failed, failed_status = read_json(shell)

    assert (missing_status, done_status, failed_status) == (1, 0, 1)
    assert [missing["is_sound"], done["is_sound"], failed["is_sound"]] == [False, True, False]
    assert isinstance(failed["shards"], list)
    states = {shard["shard"]: shard["state"] for shard in failed["shards"]}
    assert states == {"one": "done", "two": "failed"}


@pytest.mark.exhaustive
def test_the_status_can_be_read_on_a_full_disk_and_on_a_read_only_one(
    small_disk: Path, shell: Shell
) -> None:
    full = Shell(small_disk / "data", shell.variables)
    write_source(full, "one")
    full.load_and_release()
    fill(small_disk)
    results = [full.run("laion", "status")]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    results.append(full.run("laion", "status"))

    # SQLite cannot even read on a full disk; what cannot be written is read from a copy.
    assert [result.returncode for result in results] == [1, 0]
    assert ["history cannot be opened" in result.stdout for result in results] == [True, False]
    for result in results:
        assert result.stderr == ""
        assert [line.split()[-1] for line in result.stdout.splitlines()[1:2]] == ["done"]
        assert "Last release: 20" in result.stdout
        assert "Traceback" not in result.stdout


@pytest.mark.exhaustive
def test_a_full_disk_leaves_a_history_on_another_disk_alive(small_disk: Path, shell: Shell) -> None:
    history = shell.data_dir / "history"
    full = Shell(small_disk / "data", {**shell.variables, "LAION_HISTORY_DIR": str(history)})
    write_source(full, "one")
    full.load_and_release()
    assert not (full.data_dir / "dagster").exists()
    fill(small_disk)

    found, status = read_json(full)
    runs = full.run("dagster", "run", "list", "--limit", "3")

    assert (status, found["problems"]) == (0, [])
    assert "ingest_shards" in runs.stdout


def test_another_command_says_in_one_line_that_the_history_cannot_be_opened(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    shell.variables["LAION_HISTORY_DIR"] = str(tmp_path / "file" / "history")
    result = shell.run("laion", "discover")
    assert result.returncode == 1
    assert result.stderr.startswith("laion: LAION_HISTORY_DIR: ")
    assert result.stderr.count("\n") == 1
