"""Programs that start in tens of milliseconds: see `fork_server.py`."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from laion_assets.settings import REPOSITORY

PROGRAMS = ("laion", "dagster", "dagster-daemon", "dagster-webserver", "dg", "python")
CLIENT = """#!{python} -IS
import sys
sys.path.insert(0, {folder!r})
from fork_client import main
main({real!r}, {address!r})
"""


@functools.cache
def find_programs() -> Path:
    """Returns a folder with those programs; to put it first in `PATH` is to use them.

    They end with this process.
    """
    folder = Path(tempfile.mkdtemp(prefix="laion-forked-"))
    python, address = sys.executable, str(folder / "address")
    for name in PROGRAMS:
        program = folder / name
        real = str(Path(python).with_name(name))
        program.write_text(
            CLIENT.format(
                python=python, folder=str(Path(__file__).parent), real=real, address=address
            )
        )
        program.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    server = subprocess.Popen(
        [python, "-m", f"{__package__}.fork_server", address, str(folder / "python")],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_end, server, folder)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"
    return folder


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.communicate()
    shutil.rmtree(folder)
