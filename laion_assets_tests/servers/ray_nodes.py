"""A Ray cluster on addresses of this machine, each node of which has a folder of its own.

Ray opens its ports to everybody, and its job API runs any code. So this starts nothing but in a
network of its own, which has loopback alone: `run_alone`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from laion_assets.errors import LaionError
from laion_assets.runs.ray_cluster import list_nodes
from laion_assets.settings import REPOSITORY

HEAD, GCS_PORT, JOBS_PORT = "127.0.0.2", 6379, 8265
# 127.0.0.1 would be replaced by the address of the machine.
WORKERS = ("127.0.0.3", "127.0.0.4")
# Each process of a node has it in its environment, with the node's address.
MARK = "LAION_TEST_NODE"
# In what a network of its own is made of; set in it.
ALONE = "LAION_TEST_ALONE"
STORE_BYTES = 80_000_000
LIMIT_S = 300
# To read and to set the flags of a network device, and the one for "it is up" (netdevice(7)).
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1


def find_obstacle() -> str | None:
    """Returns why there can be no cluster here; None if there can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed"
    unshare = shutil.which("unshare")
    if unshare is None:
        return "unshare is not installed"
    made = subprocess.run(isolate("true"), capture_output=True, text=True, check=False)
    return None if made.returncode == 0 else f"no network of its own: {made.stderr.strip()}"


def run_alone(test: str) -> subprocess.CompletedProcess[str]:
    """Runs a test, `path::name`, in a network that has loopback alone."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", "-p", "no:cacheprovider"]
    return subprocess.run(
        isolate(*command, test),
        cwd=REPOSITORY,
        env={**os.environ, ALONE: "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def is_alone() -> bool:
    """Returns whether this process is in such a network."""
    return ALONE in os.environ


def open_loopback() -> None:
    """Turns on the only device of a network of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        answer = fcntl.ioctl(any_socket, GET_FLAGS, request)
        (flags,) = struct.unpack_from("H", answer, 16)
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14s", b"lo", flags | UP, b""))


def isolate(*command: str) -> list[str]:
    """Returns a command that runs another one in a network of its own."""
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ["unshare", "--net", *as_root, *command]


@dataclass
class RayNodes:
    """A cluster of a head and workers, each of which takes one run at once.

    The id of a node's access key to a bucket is its address, so a bucket knows who asks.

    Attributes:
        folder: has the home and the log of each node.
        environment: what all nodes have in their environment.
        workers: the nodes beside the head.
        head_slots: runs that the head takes at once.
    """

    folder: Path
    environment: Mapping[str, str]
    workers: Sequence[str] = WORKERS
    head_slots: int = 1
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    # Its sockets have long names, and a path of one may have a hundred characters.
    _short: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="ray-", dir="/tmp"))

    @property
    def jobs(self) -> str:
        """Where it takes jobs, as `LAION_RAY` has it."""
        return f"http://{HEAD}:{JOBS_PORT}"

    def home(self, node: str) -> Path:
        """Returns the folder of a node."""
        return self.folder / node

    def start(self) -> None:
        """Starts all nodes, and returns when the head knows them."""
        port = ("--port", str(GCS_PORT), "--temp-dir", self._short)
        dashboard = ("--dashboard-host", HEAD, "--dashboard-port", str(JOBS_PORT))
        self.start_node(HEAD, "--head", *port, "--include-dashboard", "true", *dashboard)
        self._wait(1)
        # On a busy machine one after the other is quicker.
        for number, node in enumerate(self.workers, start=2):
            self.start_worker(node)
            self._wait(number)

    def start_worker(self, node: str) -> None:
        """Starts a node beside the head."""
        self.start_node(node, "--address", f"{HEAD}:{GCS_PORT}")

    def start_killed(self) -> None:
        """Starts the workers that were killed, and returns when the head knows them."""
        for node in self.workers:
            if node not in self._processes:
                self.start_worker(node)
        self._wait(1 + len(self.workers))

    def start_node(self, node: str, *options: str) -> None:
        """Starts a node."""
        home = self.home(node)
        home.mkdir(parents=True, exist_ok=True)
        slots = str(self.head_slots if node == HEAD else 1)
        own = ("--node-ip-address", node, "--num-cpus", slots, "--disable-usage-stats", "--block")
        size = ("--object-store-memory", str(STORE_BYTES))
        program = str(Path(sys.executable).with_name("ray"))
        with (home / "ray.log").open("ab") as log:
            self._processes[node] = subprocess.Popen(
                [program, "start", *options, *own, *size],
                cwd=home,
                env={
                    **self.environment,
                    "LAION_HOME": str(home),
                    "AWS_ACCESS_KEY_ID": node,
                    MARK: node,
                },
                stdout=log,
                stderr=log,
            )

    def kill(self, node: str) -> None:
        """Ends all processes of a node at once, as if its machine had lost power."""
        for pid in list_processes(node):
            _kill(pid)
        if process := self._processes.pop(node, None):
            process.wait(LIMIT_S)

    def stop(self) -> None:
        """Ends all."""
        for node in list(self._processes):
            self.kill(node)
        shutil.rmtree(self._short, ignore_errors=True)

    def _wait(self, count: int) -> None:
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                if len(list_nodes(self.jobs)) == count:
                    return
            except LaionError:
                pass
            assert time.monotonic() < limit, self._read_logs()
            for node, process in list(self._processes.items()):
                # It gives up after half a minute, which a busy machine may need.
                if node != HEAD and process.poll() is not None:
                    self.kill(node)
                    self.start_worker(node)
            time.sleep(0.5)

    def _read_logs(self) -> str:
        return "\n".join(path.read_text("utf-8") for path in self.folder.glob("*/ray.log"))


def list_processes(node: str, word: str = "") -> list[int]:
    """Returns the processes of a node whose command has a word in it.

    Another test may have a cluster with the same addresses, in a network of its own.
    """
    network = Path("/proc/self/ns/net").readlink()
    mark = f"{MARK}={node}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes()
            is_near = (folder / "ns/net").readlink() == network
        except OSError:
            continue
        if is_near and mark in environment and word.encode() in command:
            found.append(int(folder.name))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def run_ray(
    folder: Path,
    environment: Mapping[str, str],
    workers: Sequence[str] = WORKERS,
    head_slots: int = 1,
) -> Iterator[RayNodes]:
    """Runs a cluster until the block is left."""
    nodes = RayNodes(folder, environment, workers, head_slots)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()
