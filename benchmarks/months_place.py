"""An installation as an operator has it, and what can befall it: processes, a server, a disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from laion_assets.settings import REPOSITORY, Settings
from laion_assets_tests.integration.web_ui import WebUi, run_web_ui, wait_for

DISK_BYTES = 200 << 20
# Every so many shards one is on the web server.
WEB_EVERY = 4
STOPPING_S = 20
# Opens the file as soon as nobody has it, says so, and keeps it until it is killed.
HOLD = """
import sys, time, duckdb
while True:
    try:
        connection = duckdb.connect(sys.argv[1])
    except duckdb.Error:
        time.sleep(0.01)
    else:
        print("held", flush=True)
        time.sleep(3600)
"""
LOCATION = ("-m", "laion_assets.definitions")


@dataclass
class Place:
    """A folder with all that belongs to an installation, the data on a small disk of their own.

    Attributes:
        folder: everything is in it.
        shard_count: how many shards will come, every fourth on the web server.
        port: of the web server with shards.
        processes: what runs, or ran, by name.
    """

    folder: Path
    shard_count: int = 40
    port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _groups: set[int] = field(default_factory=set)

    @property
    def disk(self) -> Path:
        """Where the small disk is mounted."""
        return self.folder / "disk"

    @property
    def history(self) -> Path:
        """Dagster's history, on another disk than the data."""
        return self.folder / "history"

    @property
    def source(self) -> Path:
        """The folder that shards are dropped into."""
        return self.folder / "source"

    @property
    def web(self) -> Path:
        """What the web server has."""
        return self.folder / "web"

    @property
    def names(self) -> Path:
        """The list of artists."""
        return self.folder / "artists.csv"

    @property
    def log(self) -> Path:
        """What the daemon, its code server and the web server say."""
        return self.folder / "log.txt"

    @property
    def settings(self) -> Settings:
        """What the commands find set."""
        return Settings.from_environment(self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What the commands find; this folder has no `.env`."""
        web_count = (self.shard_count + WEB_EVERY - 2) // WEB_EVERY
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PWD": str(self.folder),
            "DAGSTER_HOME": str(self.folder),
            "LAION_HOME": str(self.folder),
            "LAION_DATA_DIR": str(self.disk / "data"),
            "LAION_HISTORY_DIR": str(self.history),
            "LAION_SHARDS": f"{self.source}/*.parquet,"
            f"http://127.0.0.1:{self.port}/web-{{00000..{web_count - 1:05}}}.parquet",
            "LAION_SHEET_ARTISTS": str(self.names),
        }

    @contextmanager
    def open(self) -> Iterator[WebUi]:
        """Mounts the disk, and starts everything; stops and unmounts it at the end."""
        for folder in (self.disk, self.source, self.web):
            folder.mkdir(parents=True)
        shutil.copy(REPOSITORY / "dagster.yaml", self.folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        is_mounted = mount(self.disk)
        try:
            self.start_server()
            self.run_laion("status")
            command = [sys.executable, "-m", "dagster_webserver", *LOCATION]
            with run_web_ui(command, self.folder, self.environment, self.log) as web_ui:
                self.start_daemon()
                yield web_ui
                self.stop_daemon()
        finally:
            self.end_all()
            if is_mounted:
                subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    @property
    def has_small_disk(self) -> bool:
        """Whether the data have a disk of their own, which can be filled."""
        return self.disk.is_mount()

    def start_daemon(self) -> None:
        """Starts the daemon, with a code server of its own."""
        self._start("daemon", sys.executable, "-m", "dagster._daemon", "run", *LOCATION)

    def stop_daemon(self) -> None:
        """Stops the daemon as Ctrl-C does."""
        daemon = self.processes["daemon"]
        daemon.terminate()
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(STOPPING_S)

    def start_server(self) -> None:
        """Starts the web server with shards."""
        where = ["--bind", "127.0.0.1", "--directory", str(self.web)]
        self._start("server", sys.executable, "-m", "http.server", str(self.port), *where)

        def answers() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(answers, "the server")

    @contextmanager
    def hold_database(self) -> Iterator[int]:
        """Lets a program that knows nothing of the queue keep the DuckDB file; yields its id."""
        database = str(self.settings.database)
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, database], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process.pid
            process.kill()

    @property
    def free_bytes(self) -> int:
        """The room on the disk of the data."""
        return shutil.disk_usage(self.disk).free

    @contextmanager
    def fill_disk(self) -> Iterator[None]:
        """Leaves no room on the disk of the data."""
        filler = self.disk / "filler"
        # Without a buffer, which could not be written when the file is closed.
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()

    def kill(self, name: str) -> None:
        """Kills a process as `kill -9` does; what it started goes on."""
        self.processes[name].kill()
        self.processes[name].wait()

    def run_laion(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `laion` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "laion_assets.cli.main", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def measure_logs(self) -> dict[str, int]:
        """Returns the bytes of what was said and noted, by what."""
        computed = self.history / "compute_logs"
        return {
            "what daemon and web server print": self.log.stat().st_size,
            "what runs print": measure(computed),
            "history": measure(self.history) - measure(computed),
        }

    def end_all(self) -> None:
        """Kills whatever was started here and still runs, grandchildren too."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.5)

    def _start(self, name: str, *command: str) -> None:
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        self._groups.add(process.pid)


def mount(folder: Path) -> bool:
    """Makes a folder a small disk, where only root may; returns whether it is one."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}"]
    command = ["mount", *options, "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0


def measure(folder: Path) -> int:
    """Returns the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
