"""Every command and every script of the README and the cookbook runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import Shell

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COOKBOOK = (REPOSITORY / "docs" / "cookbook.md").read_text(encoding="utf-8")
# These make or enter the place in which the tests already are; CI itself is `make test`.
# The search page runs until it is stopped, and has its own test.
SET_UP = re.compile(r"git clone|cd |make (demo|dev|test|clean)|laion serve")


def blocks(language: str, page: str = README) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.M | re.S)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if not SET_UP.match(line)]
SCRIPTS = [*blocks("python"), *blocks("python", COOKBOOK)]


def test_there_is_something_to_run() -> None:
    assert len(COMMANDS) > 7
    assert len(SCRIPTS) > 12


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(demo: Shell, command: str) -> None:
    result = demo.run("bash", "-c", command)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_the_readme_runs(demo: Shell, script: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(script.replace('"data/', f'"{demo.data_dir}/'), encoding="utf-8")
    result = demo.run("python", str(file))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_every_command_of_laion_is_in_the_readme(demo: Shell) -> None:
    commands = re.findall(r"^  (\w+)  ", demo.run("laion", "--help").stdout, flags=re.M)
    assert len(commands) > 4
    missing = [command for command in commands if f"laion {command}" not in README]
    assert missing == []
