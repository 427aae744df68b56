"""A Ray cluster with a daemon of Dagster, Postgres and a bucket, and a machine for commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import Shell
from laion_assets_tests.integration.web_ui import run_in_background
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.postgres import Postgres
from laion_assets_tests.servers.ray_nodes import WORKERS, RayNodes, run_ray

LIMIT_S = 900
Found = TypeVar("Found")
# As the daemon has it, but for its patience: it looks after runs twice a minute.
POLLING = ("poll_interval_seconds: 30", "poll_interval_seconds: 3")


@dataclass(frozen=True)
class Site:
    """A cluster, a daemon, and a machine for commands."""

    nodes: RayNodes
    shell: Shell

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a command of the machine for commands."""
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self.shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def run_site(
    folder: Path,
    buckets: Buckets,
    postgres: Postgres,
    settings: Mapping[str, str],
    workers: Sequence[str] = WORKERS,
    head_slots: int = 1,
) -> Iterator[Site]:
    """Runs a cluster and its daemon until the block is left, over an empty bucket and history.

    Args:
        folder: gets the homes of the nodes and of the commands.
        buckets: has the tables.
        postgres: has the history and the locks.
        settings: of the commands, such as `LAION_SHARDS`.
        workers: the nodes beside the head.
        head_slots: runs that the head takes at once.
    """
    shared = {
        **buckets.environment,
        "AWS_ALLOW_HTTP": "true",
        "LAION_DATA_DIR": buckets.create(),
        "LAION_CATALOG": postgres.create_database(),
    }
    programs = Path(sys.executable).parent
    base = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    with run_ray(folder / "nodes", {**base, **shared}, workers, head_slots) as nodes:
        home = folder / "commands"
        variables = {
            **shared,
            **settings,
            "LAION_HOME": str(home),
            "LAION_RAY": nodes.jobs,
            "DAGSTER_HOME": str(home),
        }
        shell = Shell(home / "data", variables)
        home.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            text = (REPOSITORY / name).read_text("utf-8").replace(*POLLING)
            (home / name).write_text(text, "utf-8")
        command = ["dagster-daemon", "run", "--workspace", str(home / "workspace.yaml")]
        log = folder / "daemon.log"
        with run_in_background(command, home, shell.environment, log):
            wait_for(lambda: "daemons" in log.read_text("utf-8"))
            yield Site(nodes, shell)


def wait_for(look: Callable[[], Found | None]) -> Found:
    """Waits until something is there, and returns it; fails if it takes too long."""
    limit = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return found
