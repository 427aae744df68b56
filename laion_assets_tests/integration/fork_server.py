"""Imports Dagster and the project once, and forks a process for each program that is started.

A real process of its own takes tens of milliseconds, in place of two seconds of imports. Nothing
that starts threads is imported here: a fork would lack them. Run it with the address to listen at;
it says `ready`, and ends with all that it started when its standard input does.
"""

import fcntl
import gc
import importlib
import marshal
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import sys
import types
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from laion_assets_tests.integration.fork_client import NUMBER, PASSED_ON

IMPORTED = (
    "laion_assets.cli.main",
    "laion_assets.definitions",
    "laion_assets.history",
    "laion_assets.runs.backfill",
    "laion_assets.runs.instance",
    "laion_assets.runs.status",
    "dagster._cli",
    "dagster._cli.api",
    "dagster._daemon.cli",
    "dagster._grpc.server",
    "dagster_webserver.app",
    "dagster_webserver.cli",
    "duckdb",
)
# Numbers of files that no program has open.
FREE_FILES = 400
FILES = 200


@dataclass(frozen=True)
class Request:
    """A program to run: its file, arguments, environment, folder, files, and ignored signals."""

    program: str
    arguments: list[str]
    environment: dict[bytes, bytes]
    folder: str
    files: list[int]
    ignored: list[int]


@dataclass
class Server:
    """Listens for requests, and tells who asked how each program ended.

    Attributes:
        listener: where they come.
        events: what it waits for: itself, its input, and for each program who asked and its end.
        running: each program that runs, by who asked.
    """

    listener: socket.socket
    events: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    running: dict[socket.socket, int] = field(default_factory=dict)

    def serve(self) -> tuple[Request, list[int]] | None:
        """Returns in each process that was forked, with the files it got; None at the end."""
        self.events.register(self.listener, selectors.EVENT_READ)
        self.events.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self.events.select():
                if key.fileobj is sys.stdin:
                    self._end()
                    return None
                if key.fileobj is self.listener:
                    forked = self._accept()
                    if forked is not None:
                        return forked
                elif key.data is None:
                    self._kill(key.fileobj)
                else:
                    self._tell(key.fileobj, key.data)

    def _accept(self) -> tuple[Request, list[int]] | None:
        client, _ = self.listener.accept()
        first, files, _, _ = socket.recv_fds(client, NUMBER.size, FILES)
        text = client.recv(NUMBER.unpack(first)[0], socket.MSG_WAITALL)
        pid = os.fork()
        if not pid:
            self._forget(client)
            return Request(*marshal.loads(text)), files  # noqa: S302 - written by fork_client.py
        for file in files:
            os.close(file)
        self.running[client] = pid
        self.events.register(client, selectors.EVENT_READ)
        self.events.register(os.pidfd_open(pid), selectors.EVENT_READ, client)
        client.sendall(NUMBER.pack(pid))
        return None

    def _forget(self, client: socket.socket) -> None:
        for other in (client, self.listener, *self.running):
            other.close()
        self.events.close()

    def _kill(self, client: object) -> None:
        # Who asked was killed.
        assert isinstance(client, socket.socket)
        self.events.unregister(client)
        os.killpg(self.running[client], signal.SIGKILL)

    def _tell(self, end: object, client: socket.socket) -> None:
        assert isinstance(end, int)
        self.events.unregister(end)
        os.close(end)
        pid = self.running.pop(client)
        _, status = os.waitpid(pid, 0)
        # What it started and left behind: nobody else knows its group.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if client in self.events.get_map():
            self.events.unregister(client)
            client.sendall(NUMBER.pack(status))
        client.close()

    def _end(self) -> None:
        for pid in self.running.values():
            os.killpg(pid, signal.SIGKILL)


def enter(request: Request, files: list[int]) -> None:
    """Makes this process what the one would be that the program's own start makes."""
    os.setsid()
    gc.unfreeze()
    files = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FREE_FILES) for file in files]
    os.closerange(0, FREE_FILES)
    for file, number in zip(files, request.files, strict=True):
        os.dup2(file, number, inheritable=True)
        os.close(file)
    # This process may ignore some that the program heeds: tests in a background do.
    for number in PASSED_ON:
        if number in request.ignored:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    os.environ.clear()
    os.environb.update(request.environment)
    os.chdir(request.folder)
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    for name, number, mode, buffering, how in (
        ("stdin", 0, "r", -1, errors),
        ("stdout", 1, "w", -1, errors),
        ("stderr", 2, "w", 1, "backslashreplace"),
    ):
        stream = open(number, mode, buffering, encoding, how, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(request: Request, python: str) -> None:
    """Runs the program; what Dagster starts with this Python is forked as well."""
    sys.executable = python
    multiprocessing.set_executable(python)
    program, arguments = request.program, request.arguments
    if not Path(program).name.startswith("python"):
        sys.argv = [program, *arguments]
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
        return
    sys.path[0] = request.folder
    how, what, *arguments = arguments
    sys.argv = [how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, vars(main))  # noqa: S102


def listen(address: str) -> tuple[Request, list[int]] | None:
    """Imports what programs need, and serves."""
    for name in IMPORTED:
        importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads; a fork would lack them"
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        return Server(listener).serve()


if __name__ == "__main__":
    forked = listen(sys.argv[1])
    if forked is None:
        os._exit(0)
    enter(*forked)
    run(forked[0], sys.argv[2])
