"""Every command and every script of the README and of the pages in docs/ runs."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import Shell

# The demo takes as long as a tenth of all quicker tests.
pytestmark = pytest.mark.exhaustive

DOCS = REPOSITORY / "docs"
# The reference is written from the code, which has tests of its own.
# What a reader of a published release does runs on one: see `test_published_data.py`.
PUBLISHED = DOCS / "how-to" / "published-data.md"
WRITTEN = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if page.parent != DOCS / "reference" and page != PUBLISHED
]
PAGES = [page.read_text(encoding="utf-8") for page in (REPOSITORY / "README.md", *WRITTEN)]
# These make or enter the place in which the tests already are; CI itself is `make test`.
# The search page runs until it is stopped, and has its own test.
SET_UP = re.compile(r"git clone|cd |make (demo|dev|test|clean)|laion serve")


def blocks(language: str) -> Iterator[str]:
    """Yields each block once, however many pages have it."""
    found = (re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.M | re.S) for page in PAGES)
    yield from dict.fromkeys(block for page in found for block in page)


LINES = dict.fromkeys(line for block in blocks("sh") for line in block.splitlines())
COMMANDS = [line for line in LINES if not SET_UP.match(line)]
SCRIPTS = list(blocks("python"))


def test_there_is_something_to_run() -> None:
    assert len(COMMANDS) > 7
    assert len(SCRIPTS) > 12


def test_the_commands_of_the_pages_run(demo: Shell) -> None:
    """In their order: some of them leave work to the next one."""
    results = {command: demo.run("bash", "-c", command) for command in COMMANDS}
    assert {c: r.stderr for c, r in results.items() if r.returncode != 0} == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_the_pages_runs(
    demo: Shell, script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "script.py"
    # A reader's data is beside the pages, the tests' is not: a clone in which nothing was built
    # has to run them too.
    script = re.sub(r'"data(?=["/])', f'"{demo.data_dir}', script)
    file.write_text(script, encoding="utf-8")
    with demo.enter():
        runpy.run_path(str(file), run_name="__main__")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out


def test_every_command_of_laion_is_on_a_page(demo: Shell) -> None:
    commands = re.findall(r"^  (\w+)  ", demo.run("laion", "--help").stdout, flags=re.M)
    assert len(commands) > 4
    missing = [command for command in commands if not any(f"laion {command}" in p for p in PAGES)]
    assert missing == []
