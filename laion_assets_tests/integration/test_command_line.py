"""`laion` and `dagster`, run as separate processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.settings import REPOSITORY
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.integration.conftest import (
    Shell,
    bring_source,
    count_rows,
    release_source,
    write_source,
)
from laion_assets_tests.integration.web_ui import LIMIT_S, wait_for
from laion_assets_tests.pipeline import refresh

pytestmark = pytest.mark.usefixtures("unchecked")


def test_a_bad_shard_fails_alone_and_the_exit_status_says_so(shell: Shell) -> None:
    write_source(shell, "good")
    bad = write_source(shell, "bad")
    bad.write_bytes(b"<html>")
    result = shell.run("laion", "backfill", "--all")
    assert result.returncode == 1
    assert f"failed bad: {bad}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "release 20" in result.stderr
    assert count_rows(shell.settings) == ({"good": 3}, {"good": 3})
    status = shell.run("laion", "status").stdout
    assert [line.split()[0] for line in status.splitlines() if "failed" in line] == ["bad"]


def test_missing_shards_are_those_that_are_not_done(shell: Shell) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "discover").stdout == "one\n"
    shell.run("laion", "backfill", "one", "--no-refresh")
    write_source(shell, "two")
    result = shell.run("laion", "backfill", "--missing", "--no-refresh")
    assert "done   two" in result.stderr
    assert "done   one" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["backfill"], 2, "name the shards"),
        (["backfill", "nobody"], 2, "no shard 'nobody'"),
        (["backfill", "--all", "--missing"], 2, "name the shards"),
        (["search", "x"], 1, "laion: nothing to search"),
        (["search"], 2, "give one of QUERY"),
        (["nonsense"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_and_failure_have_their_own_status(
    shell: Shell, arguments: list[str], status: int, reason: str
) -> None:
    result = shell.run("laion", *arguments)
    assert result.returncode == status
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_setting_that_cannot_be_used_is_named_in_one_line(shell: Shell) -> None:
    shell.variables["LAION_SHEET_IMAGES"] = "x.csv"
    result = shell.run("laion", "status")
    assert result.returncode == 1
    assert result.stderr.startswith("laion: LAION_SHEET_IMAGES: ")
    assert result.stderr.count("\n") == 1


def test_processes_at_once_lose_and_double_nothing(shell: Shell) -> None:
    shards = ["shard-0", "shard-1"]
    for number, shard in enumerate(shards):
        write_source(shell, shard, rows=100 + number)
    shell.run("laion", "discover")
    commands = [["laion", "backfill", shard, "--no-refresh"] for shard in [*shards, shards[0]]]
    results = shell.run_all(commands)
    assert [(r.returncode, r.stderr) for r in results if r.returncode] == []
    expected = {shard: 100 + number for number, shard in enumerate(shards)}
    assert count_rows(shell.settings) == (expected, expected)


@pytest.mark.exhaustive
def test_the_release_after_a_bad_shard_names_its_shards_and_can_be_deleted(shell: Shell) -> None:
    for shard in ("good", "bad"):
        write_source(shell, shard)
    shell.load_and_release()
    first = json.loads(shell.run("laion", "release", "list", "--json").stdout)[0]["release"]
    write_source(shell, "more")
    write_source(shell, "bad").write_bytes(b"<html>")
    assert shell.run("laion", "backfill", "--missing").returncode == 1

    record = json.loads(shell.run("laion", "release", "show", "--json").stdout)

    # What was there of the bad one before stays, and stays in the release.
    assert [shard["shard"] for shard in record["shards"]] == ["bad", "good", "more"]
    diff = shell.run("laion", "release", "diff", first, record["release"]).stdout
    assert "shards added: 1: more" in diff
    assert "+3  more.test: 0 -> 3" in diff
    deleted = shell.run("laion", "release", "delete", first, "--keep-days", "0")
    assert deleted.stdout.startswith(f"{first} is no release any more; ")
    listed = json.loads(shell.run("laion", "release", "list", "--json").stdout)
    assert [manifest["release"] for manifest in listed] == [record["release"]]


@pytest.mark.exhaustive
def test_a_release_is_named_as_the_guide_says(shell: Shell, tmp_path: Path) -> None:
    write_source(shell, "one")
    assert shell.run("laion", "backfill", "--all", "--no-refresh").returncode == 0
    guide = (REPOSITORY / "docs" / "how-to" / "releases.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"^```yaml\n(ops:.*?)^```$", guide, flags=re.M | re.S)
    (command,) = re.findall(r"`(dagster job execute .* -c release.yaml)`", guide)
    (tmp_path / "release.yaml").write_text(config, encoding="utf-8")
    result = shell.run(*command.replace("release.yaml", f"{tmp_path}/release.yaml").split())
    assert result.returncode == 0, result.stderr
    assert "paper-1.0" in shell.run("laion", "release", "list").stdout


def test_definitions_are_valid(shell: Shell) -> None:
    result = shell.run("dagster", "definitions", "validate")
    assert result.returncode == 0, result.stderr
    assert "All code locations passed validation" in result.stdout


def test_dg_finds_the_definitions(shell: Shell) -> None:
    result = shell.run("dg", "check", "defs")
    assert result.returncode == 0, result.stderr
    assert "All definitions loaded successfully" in result.stdout


@pytest.mark.exhaustive
def test_a_kind_of_names_needs_no_code(shell: Shell, tmp_path: Path) -> None:
    sheet = tmp_path / "brands.csv"
    sheet.write_text("brand\nAcme\n", encoding="utf-8")
    shell.variables["LAION_SHEET_BRANDS"] = str(sheet)
    write_source(shell, "one", "an acme anvil")
    result = shell.run("laion", "backfill", "--all")
    assert result.returncode == 0, result.stderr
    with duckdb.connect(str(shell.settings.database), read_only=True) as connection:
        query = "SELECT name, image_count FROM entity_counts WHERE kind = 'brands'"
        assert connection.execute(query).fetchall() == [("Acme", 3)]


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(
    ("signal_number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_one_signal_stops_a_backfill(
    shell: Shell, signal_number: signal.Signals, status: int
) -> None:
    shards = [f"s{number}" for number in range(6)]
    for shard in shards:
        write_source(shell, shard, rows=200)
    process = subprocess.Popen(
        ["laion", "backfill", "--all"],
        cwd=REPOSITORY,
        env=shell.forked_environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    with process:
        first = process.stderr.readline()
        process.send_signal(signal_number)
        rest = process.stderr.read()
    assert first.startswith("done   s0")
    assert process.returncode == status
    assert rest.splitlines()[-1] == "laion: stopped; `laion backfill --missing` goes on from here"
    assert "s5" not in rest
    assert "Traceback" not in rest


DEAF_COMMAND = """
import click, os, signal, sys, threading
from laion_assets.cli.main import main
from laion_assets.cli.stopping import StoppableCommand

@main.command(cls=StoppableCommand)
@click.argument("count", type=int)
def deaf(count):
    # As a library in whose code Python calls no handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    for _ in range(count):
        # A daemon, so that a signal that arrives before `join` can end the interpreter, too.
        helper = threading.Thread(
            target=lambda: print("ready", flush=True) or wait(), daemon=True
        )
        helper.start()
        helper.join()

def wait():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Event().wait()

main()
"""


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("count", [1, 2], ids=["one signal", "two signals"])
def test_a_command_that_does_not_stop_by_itself_is_ended(shell: Shell, count: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF_COMMAND, "deaf", "1"],
        cwd=REPOSITORY,
        env=shell.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        for _ in range(count):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(LIMIT_S) == 130
    finally:
        # `with` would wait for ever for one that does not end.
        process.kill()
        process.stdout.close()


COMMAND_WITH_A_THREAD = """
import atexit, click, os, signal, sys, threading
from laion_assets.cli.main import main
from laion_assets.cli.stopping import StoppableCommand

@main.command(cls=StoppableCommand)
@click.argument("how")
def leave(how):
    # As a library that keeps a thread for ever.
    threading.Thread(target=threading.Event().wait).start()
    atexit.register(print, "registered")
    print("done")
    if how == "failed":
        raise ValueError("broken")
    if how == "stopped":
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait()
    sys.exit(int(how))

main()
"""


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(("how", "status"), [("0", 0), ("3", 3), ("failed", 1), ("stopped", 143)])
def test_a_thread_that_never_ends_does_not_keep_a_command(
    shell: Shell, how: str, status: int
) -> None:
    result = shell.run(sys.executable, "-c", COMMAND_WITH_A_THREAD, "leave", how)

    assert result.returncode == status
    # Nothing that was said is lost.
    assert result.stdout == "done\nregistered\n"
    assert result.stderr.count("\n") == (how in {"failed", "stopped"})


@pytest.fixture(scope="module")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A release of a thousand captions; tests only read it."""
    folder = tmp_path_factory.mktemp("searchable")
    shell = Shell(folder / "data", {"LAION_SHARDS": str(folder / "source" / "*.parquet")})
    release_source(shell, write_source(shell, "one", "a word, a caf\u00e9 \U0001f98a", rows=1000))
    return shell


@pytest.mark.exhaustive
def test_a_reader_that_goes_away_ends_a_command_without_a_word(searchable: Shell) -> None:
    for command in ("laion search word --limit 1000", "laion release list"):
        reader, writer = os.pipe()
        # The reader has gone before anything is written.
        os.close(reader)
        result = subprocess.run(
            command.split(),
            cwd=REPOSITORY,
            env=searchable.forked_environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(writer)
        assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_json", [False, True], ids=["text", "JSON"])
def test_a_terminal_without_letters_shows_their_numbers(searchable: Shell, is_json: bool) -> None:
    shell = replace(searchable, variables={**searchable.variables, "PYTHONIOENCODING": "ascii"})

    result = shell.start("laion", "search", "a", *(["--json"] if is_json else []))

    assert (result.returncode, result.stderr) == (0, "")
    if is_json:
        assert json.loads(result.stdout)["hits"][0]["caption"] == "a word, a caf\u00e9 \U0001f98a"
    else:
        assert "a caf\\xe9 \\U0001f98a" in result.stdout


# For root nothing is forbidden, as long as it has these two capabilities of Linux.
WITHOUT_POWER = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""

# One process, which imports Dagster once, for several commands.
COMMANDS = """
import json, sys
from click.testing import CliRunner
from laion_assets.cli.main import main
results = [CliRunner().invoke(main, command) for command in json.loads(sys.argv[1])]
print(json.dumps([(r.exit_code, r.stdout, r.stderr) for r in results]))
"""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lets nobody write into a folder, or what is in it."""
    places = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    modes = {place: place.stat().st_mode for place in places}
    for place, mode in modes.items():
        place.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for place, mode in modes.items():
            place.chmod(mode)


def run_without_power(shell: Shell, *command: str) -> subprocess.CompletedProcess[str]:
    # A fork would have the powers of the process that it is forked from.
    program = (sys.executable, "-c", WITHOUT_POWER, *command)
    return shell.start(*program, is_forked=False)


@pytest.mark.exhaustive
def test_commands_that_only_read_work_in_a_folder_that_nobody_can_write(shell: Shell) -> None:
    write_source(shell, "one")
    shell.load_and_release()
    commands = [("status",), ("search", "caption"), ("release", "list"), ("release", "show")]
    before = [shell.run("laion", *command).stdout for command in commands]
    with lock_folder(shell.data_dir):
        program = run_without_power(shell, sys.executable, "-c", COMMANDS, json.dumps(commands))
        refusal = run_without_power(shell, "laion", "backfill", "one")
    assert program.returncode == 0, program.stderr
    results = json.loads(program.stdout)
    assert [(status, error) for status, _, error in results] == [(0, "")] * len(commands)
    # Other programs take and free room meanwhile.
    said = [text.partition("Free space: ")[0] for text in (results[0][1], before[0])]
    assert said[0] == said[1]
    assert refusal.returncode == 1
    assert refusal.stderr.startswith(
        f"laion: LAION_DATA_DIR: {shell.settings.history_dir}: Dagster's history cannot be opened "
        "(Permission denied); "
    )
    assert refusal.stderr.count("\n") == 1


@pytest.mark.exhaustive
def test_a_raw_folder_that_cannot_be_written_is_named_and_not_the_source(shell: Shell) -> None:
    source = write_source(shell, "one")
    assert shell.run("laion", "discover").returncode == 0
    shell.settings.raw_dir.mkdir()
    with lock_folder(shell.settings.raw_dir):
        result = run_without_power(shell, "laion", "backfill", "--all", "--no-refresh")
    assert result.returncode == 1
    assert f"failed one: {shell.settings.raw_dir}: permission denied" in result.stderr
    assert str(source) not in result.stderr
    # What cannot pass is not tried again.
    assert "max_retries" not in result.stderr


def test_a_killed_backfill_has_failed_and_goes_on(shell: Shell) -> None:
    write_source(shell, "one")

    def read_state() -> str:
        lines = shell.run("laion", "status").stdout.splitlines()
        # Before the shard is registered there is no line of it.
        return next((line.split()[-1] for line in lines if line.startswith(" one ")), "")

    # Somebody fetches the shard, so that the run is found in the middle.
    with RawStore(shell.settings.raw_dir).lock("one"):
        process = subprocess.Popen(
            ["laion", "backfill", "--all", "--no-refresh"],
            cwd=REPOSITORY,
            env=shell.environment,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: read_state() == "running", "the run", pause_s=1)
        process.kill()
        process.wait()
        assert read_state() == "failed"

    assert shell.run("laion", "backfill", "--missing", "--no-refresh").returncode == 0
    assert read_state() == "done"


def test_a_removed_shard_is_gone_but_from_the_releases(shell: Shell) -> None:
    for shard in ("one", "two"):
        bring_source(shell, source := write_source(shell, shard))
    tag = refresh(shell.settings)

    removed = shell.run("laion", "remove", "two", "nobody", "--no-refresh")

    assert removed.stdout == "removed two\n"
    assert f"still at the source: two ({source})" in removed.stderr
    assert f"still in {tag}, as releases never change" in removed.stderr
    assert (removed.returncode, "no shard 'nobody'" in removed.stderr) == (2, True)
    assert count_rows(shell.settings) == ({"one": 3}, {"one": 3})


def test_a_backup_is_restored_in_a_folder_without_data(shell: Shell, tmp_path: Path) -> None:
    tag = release_source(shell, write_source(shell, "one"))
    backup = str(tmp_path / "backup")
    made = shell.run("laion", "backup", backup)
    assert f"{backup}: " in made.stdout
    assert ", 1 release, " in made.stdout
    other = replace(shell, data_dir=tmp_path / "other")

    restored = other.run("laion", "restore", backup)

    assert (restored.returncode, restored.stderr) == (0, "")
    assert restored.stdout.startswith(f"{other.data_dir}: restored 1 shard and 1 release of ")
    assert count_rows(other.settings) == ({"one": 3}, {"one": 3})
    assert tag in other.run("laion", "release", "list").stdout
    # The history did not know the shard.
    assert "one" in other.run("laion", "status").stdout
    again = other.run("laion", "restore", backup)
    assert (again.returncode, "--replace" in again.stderr) == (1, True)
    assert other.run("laion", "restore", backup, "--replace").returncode == 0


@pytest.mark.exhaustive
def test_a_removed_shard_is_gone_and_comes_back_only_with_its_source(shell: Shell) -> None:
    for shard in ("one", "two"):
        source = write_source(shell, shard)
    shell.load_and_release()

    removed = shell.run("laion", "remove", "two", "nobody")

    assert removed.stdout == "removed two\n"
    assert f"still at the source: two ({source})" in removed.stderr
    assert "done   refresh_counts" in removed.stderr
    # The one that is not there does not stop the removal of the other, and is not passed over.
    assert (removed.returncode, "no shard 'nobody'" in removed.stderr) == (2, True)
    record = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    assert [shard["shard"] for shard in record["shards"]] == ["one"]
    assert count_rows(shell.settings) == ({"one": 3}, {"one": 3})
    assert "two" not in shell.run("laion", "status").stdout
    assert shell.run("laion", "discover").stdout == "two\n"
    source.unlink()
    again = shell.run("laion", "remove", "two")
    assert (again.returncode, "still at the source" in again.stderr) == (0, False)
    assert shell.run("laion", "discover").stdout == ""


@pytest.mark.exhaustive
def test_the_samples_are_removed_alone(shell: Shell) -> None:
    shards = shell.data_dir / "shards"
    shell.variables["LAION_SHARDS"] = str(shards / "*.parquet")
    spec = SampleSpec(shard_count=2, rows_per_shard=200)
    samples = {path.stem for path in write_sample_shards(shards, ["Claude Monet"], spec)}
    mine = write_source(shell, "mine", rows=1)
    shell.load_and_release()
    lines = shell.run("laion", "status").stdout.splitlines()
    assert {line.split()[0] for line in lines if line.split()[-2:] == ["sample", "done"]} == samples

    removed = shell.run("laion", "demo", "--remove")

    assert removed.returncode == 0, removed.stderr
    assert set(removed.stdout.split()) == {"removed", *samples}
    assert "still at the source" not in removed.stderr
    assert list(shards.iterdir()) == [mine]
    assert count_rows(shell.settings) == ({"mine": 1}, {"mine": 1})
    record = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    assert [(s["shard"], s["is_sample"]) for s in record["shards"]] == [("mine", False)]
    nothing = shell.run("laion", "demo", "--remove")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "there are no sample shards to remove" in nothing.stderr
