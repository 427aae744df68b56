"""A real Postgres in a temporary folder, on a socket in it, so that nobody else reaches it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

# Debian keeps its programs out of PATH; the newest first.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
# In memory, if the system offers that.
PLACES = ("/dev/shm", "/tmp")  # noqa: S108
# A server that was ended at once reads its log again, which takes a moment.
LIMIT_S = 60


class NoPostgresError(Exception):
    """Postgres is not installed, or no user may run it."""


class Postgres:
    """A server, which a test may stop and start."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self._programs, self.folder, self._user = programs, folder, user
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, database: str = "postgres") -> str:
        """Returns the address of a database, as `LAION_CATALOG` takes it."""
        return f"postgresql://laion@/{database}?host={self.folder}"

    def create_database(self) -> str:
        """Makes an empty database, and returns its address."""
        name = f"laion_{uuid.uuid4().hex}"
        self.ask(f"CREATE DATABASE {name}")
        return self.address(name)

    def ask(self, statement: str, address: str | None = None) -> list[tuple[Any, ...]]:
        """Returns the rows that a statement gives."""
        with closing(psycopg2.connect(address or self.address())) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

    def end_sessions(self, address: str) -> int:
        """Ends all other sessions with a database; returns how many there were."""
        ended = self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            address,
        )
        return len(ended)

    def init(self) -> None:
        """Writes the files of a new server."""
        command = [str(self._programs / "initdb"), "--pgdata", str(self.folder / "data")]
        options = ["--username", "laion", "--auth", "trust", "--no-sync", "--encoding", "UTF8"]
        made = subprocess.run(
            [*command, *options], user=self._user, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise NoPostgresError(made.stderr.strip().splitlines()[-1])

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        options = (f"unix_socket_directories={self.folder}", "listen_addresses=", "fsync=off")
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for option in options:
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log)
        limit = time.monotonic() + LIMIT_S
        while True:
            try:
                self.ask("SELECT 1")
            except psycopg2.OperationalError:
                if time.monotonic() > limit or self._process.poll() is not None:
                    raise NoPostgresError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Ends the server at once, as if its machine had lost power."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(LIMIT_S)
            self._process = None


def find_programs() -> Path:
    """Returns the folder of `initdb` and `postgres`."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    for folder in FOLDERS:
        if (folder / "initdb").exists():
            return folder
    raise NoPostgresError("Postgres is not installed (Debian's package `postgresql`)")


def find_user() -> str | None:
    """Returns the user to run it as: Postgres refuses to run as root. None: this one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise NoPostgresError("this is root, and there is no user `postgres` or `nobody`")


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Runs a server until the block is left."""
    programs, user = find_programs(), find_user()
    # The path of a socket may have a hundred characters, and each folder above has to let in.
    with tempfile.TemporaryDirectory(prefix="laion-pg-", dir="/tmp") as folder:
        if user is not None:
            shutil.chown(folder, user)
        server = Postgres(programs, Path(folder), user)
        server.init()
        server.start()
        try:
            yield server
        finally:
            server.stop()
