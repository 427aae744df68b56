"""The server of the workers, which a program may start before all else."""

import subprocess
import sys
from pathlib import Path

import pytest

from laion_assets.settings import REPOSITORY

pytestmark = pytest.mark.slow

# Each process that imports this file says whether it has a server of its own, or asks for one.
PROGRAM = """
import multiprocessing, sys
from multiprocessing import forkserver
from laion_assets.training import start_workers

method = start_workers()

def look(pipe):
    modules = [name for name in ("pyarrow.dataset", "lance") if name in sys.modules]
    pipe.send((forkserver._forkserver._forkserver_pid, modules))

if __name__ == "__main__":
    own, other = multiprocessing.Pipe()
    process = multiprocessing.get_context(method).Process(target=look, args=(other,))
    process.start()
    print(method, forkserver._forkserver._forkserver_pid is not None, own.recv())
    process.join()
"""


def test_a_server_is_started_once_and_has_imported_all_but_lance(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(PROGRAM, encoding="utf-8")
    said = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        # Only if each process starts another one.
        timeout=300,
    )
    assert said.stdout == "forkserver True (None, ['pyarrow.dataset'])\n"
