"""`laion` and Dagster's own commands, run as a person runs them: from the repository root.

`laion` runs in this process, where Dagster is imported once; a test that needs a process of its own
says so, and gets a fork of one that has imported it. `test_readme.py` starts each command of
`laion` as a program.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from laion_assets.cli.main import main
from laion_assets.demo import sample_shards
from laion_assets.demo.sample_shards import DEFAULT_SPEC, SampleSpec, write_sample_shards
from laion_assets.settings import REPOSITORY, Settings
from laion_assets_tests.integration.forked_programs import find_programs
from laion_assets_tests.integration.web_ui import LIMIT_S
from laion_assets_tests.pipeline import copy, load, refresh

SAMPLE_SHARD = "train-00003-of-00007-36440e2d83f7fb02"
# Of each of its seven shards; the whole demo has 20,000.
DEMO_ROWS = 2_000


INTEGRATION = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder."""
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.integration)


def write_source(shell: Shell, shard: str, caption: str = "a caption", rows: int = 3) -> Path:
    """Writes a shard where the shell's commands look for shards, and returns its file."""
    path = Path(shell.variables["LAION_SHARDS"]).parent / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://{shard}.test/{row}.jpg" for row in range(rows)]
    pq.write_table(pa.table({"URL": urls, "TEXT": [caption] * rows}), path)
    return path


def bring_source(shell: Shell, source: Path) -> None:
    """Brings a shard to DuckDB and Lance without Dagster and its history."""
    load(shell.settings, source.stem, source)
    copy(shell.settings, source.stem)


def release_source(shell: Shell, source: Path) -> str:
    """Brings a shard to a release without Dagster and its history; returns the tag."""
    bring_source(shell, source)
    return refresh(shell.settings)


@dataclass(frozen=True)
class Shell:
    """Runs commands against a data folder of their own."""

    data_dir: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the commands find in their environment."""
        bin_dir = Path(sys.executable).parent
        return {
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.data_dir),
            "PWD": str(REPOSITORY),
            "LAION_DATA_DIR": str(self.data_dir),
            **self.variables,
        }

    @property
    def settings(self) -> Settings:
        """The settings that the commands have."""
        return Settings.from_environment(self.environment)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end; `laion` in this process."""
        program, *arguments = command
        if program != "laion":
            return self.start(*command)
        with self.enter():
            result = CliRunner().invoke(main, arguments, prog_name="laion")
        return subprocess.CompletedProcess(command, result.exit_code, result.stdout, result.stderr)

    def load_and_release(self) -> str:
        """Loads all shards by the command, and releases them by the code alone; returns the tag.

        For a test that begins with a release: Dagster's part of the refresh takes most of the time.
        """
        result = self.run("laion", "backfill", "--all", "--no-refresh")
        assert result.returncode == 0, result.stderr
        return refresh(self.settings)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Gives this process the environment and the folder of a command, and takes them back."""
        before, folder, environment = dict(os.environ), Path.cwd(), self.environment
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(REPOSITORY)
        try:
            # As in a program, where a warning is no error.
            with warnings.catch_warnings():
                warnings.resetwarnings()
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(folder)

    @property
    def forked_environment(self) -> dict[str, str]:
        """The environment of programs that start in tens of milliseconds."""
        environment = self.environment
        return {**environment, "PATH": f"{find_programs()}{os.pathsep}{environment['PATH']}"}

    def start(self, *command: str, is_forked: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end, in a process of its own."""
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.forked_environment if is_forked else self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def run_all(self, commands: Sequence[Sequence[str]]) -> list[subprocess.CompletedProcess[str]]:
        """Runs commands at the same time, each to its end."""
        processes = [
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.forked_environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in commands
        ]
        outputs = [process.communicate(timeout=LIMIT_S) for process in processes]
        return [
            subprocess.CompletedProcess(process.args, process.returncode, *output)
            for process, output in zip(processes, outputs, strict=True)
        ]


def count_rows(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the rows of each shard in DuckDB and in Lance."""
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        rows = connection.execute("SELECT shard, count(*) FROM images GROUP BY shard").fetchall()
    shards = lance.dataset(settings.lance_dir / "images.lance").to_table(columns=["shard"])
    return dict(rows), dict(Counter(shards["shard"].to_pylist()))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A data folder after `laion demo`, whose shards have their first rows alone."""
    shell = Shell(tmp_path_factory.mktemp("demo") / "data")
    few = SampleSpec(rows_per_shard=DEMO_ROWS, has_pictures=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_shards, "write_sample_shards", partial(write_sample_shards, spec=few))
        # The pages name a shard.
        name = partial(sample_shards.sample_shard_name, DEFAULT_SPEC)
        patch.setattr(sample_shards, "sample_shard_name", lambda _, index: name(index))
        result = shell.run("laion", "demo")
    assert result.returncode == 0, result.stderr
    assert "What was made" in result.stdout
    return shell


@pytest.fixture(scope="session")
def whole_demo(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A data folder after `laion demo` with all its rows, as a person runs it."""
    shell = Shell(tmp_path_factory.mktemp("whole_demo") / "data")
    result = shell.start("laion", "demo", is_forked=False)
    assert result.returncode == 0, result.stderr
    assert "What was made" in result.stdout
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty data folder, with shards in a folder beside it."""
    return Shell(tmp_path / "data", {"LAION_SHARDS": str(tmp_path / "source" / "*.parquet")})
