"""The container file's own steps, done in a folder: where no container can be built, they are run.

They ask the package index for all dependencies, so run this by hand, with `pytest -m long`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.deployment import (
    IMAGE,
    Instruction,
    Place,
    Role,
    read_environment,
)

pytestmark = [pytest.mark.integration, pytest.mark.long]

# What a build does not find in its environment.
OURS = ("LAION_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV")


class Building:
    """Does what a container file says, one stage after the other, in one folder."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.root
        self._arguments: dict[str, str] = {}

    def do(self, instruction: Instruction) -> None:
        """Does one instruction; those that only describe the image change nothing here."""
        if instruction.name == "WORKDIR":
            self._folder = Path(self._place.map(instruction.text))
            self._folder.mkdir(parents=True, exist_ok=True)
        elif instruction.name == "ARG":
            name, _, default = instruction.text.partition("=")
            self._arguments[name] = default.strip('"')
        elif instruction.name == "COPY" and not instruction.text.startswith("--from"):
            *sources, target = instruction.text.split()
            for source in sources:
                self._copy(REPOSITORY / source, target)
        elif instruction.name == "RUN":
            self._run(self._place.map(instruction.text))

    def _copy(self, source: Path, target: str) -> None:
        path = self._folder / self._place.map(target)
        if source.is_dir():
            shutil.copytree(source, path, ignore=shutil.ignore_patterns("__pycache__"))
            return
        path = path / source.name if target.endswith("/") else path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)

    def _run(self, text: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        result = subprocess.run(
            ["/bin/sh", "-c", text],
            cwd=self._folder,
            env={**kept, **self._arguments},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{text}: {result.stderr}"


def test_the_steps_of_the_container_file_make_a_program_that_runs(tmp_path: Path) -> None:
    place = Place(tmp_path, "/src", "/data", "/laion", "/tmp", venv=tmp_path / "venv")  # noqa: S108
    (tmp_path / "tmp").mkdir()
    # The last stage makes it for the user of the image; another test runs that.
    (tmp_path / "data").mkdir()
    building = Building(place)
    for instruction in IMAGE:
        if instruction.name != "RUN" or instruction.stage == 0:
            building.do(instruction)

    environment = read_environment(IMAGE)
    role = Role("image", ["laion"], environment, "/laion")
    found = role.run(place, "python", "-c", "import laion_assets; print(laion_assets.__file__)")
    assert found.stdout.startswith(str(tmp_path / "venv")), found.stderr
    assert role.run(place, "python", "-m", "pip", "check").returncode == 0
    status = role.run(place, "laion", "status", "--json")
    assert json.loads(status.stdout)["shards"] == [], status.stderr
    validated = role.run(place, "dagster", "definitions", "validate")
    assert validated.returncode == 0, validated.stderr
