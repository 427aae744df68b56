"""Runs a program in a fork of `fork_server.py`: what `forked_programs.py` writes imports it.

It starts in 20 milliseconds, so it imports next to nothing. It passes on arguments, environment,
folder and open files, then the signals that it gets, and ends as the program ends.
"""

import marshal
import os
import signal
import socket
import struct
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# How `multiprocessing` starts a process.
SPAWN = "from multiprocessing.spawn import spawn_main;"
NUMBER = struct.Struct("i")


def main(real: str, address: str) -> None:
    """Runs a program with the arguments of this process.

    Args:
        real: its file; Python itself is forked where Dagster starts it, and started anew for all
            else.
        address: of the server.
    """
    is_python = os.path.basename(real).startswith("python")  # noqa: PTH119 - too slow to import
    arguments = sys.argv[1:]
    if _has_python_settings() or (is_python and not _is_of_dagster(arguments)):
        os.execv(real, [real, *arguments])  # noqa: S606
    with socket.socket(socket.AF_UNIX) as server:
        files = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
        files = [file for file in files if _is_open(file) and file != server.fileno()]
        server.connect(address)
        ignored = [s.value for s in PASSED_ON if signal.getsignal(s) is signal.SIG_IGN]
        request = marshal.dumps(
            (real, arguments, dict(os.environb), os.getcwd(), files, ignored)  # noqa: PTH109
        )
        socket.send_fds(server, [NUMBER.pack(len(request))], files)
        server.sendall(request)
        pid = _read_number(server)
        for number in PASSED_ON:
            if number not in ignored:
                signal.signal(number, lambda number, _: os.kill(pid, number))
        status = os.waitstatus_to_exitcode(_read_number(server))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _has_python_settings() -> bool:
    # Python reads them when it starts.
    return any(name.startswith("PYTHON") for name in os.environ)


def _is_of_dagster(arguments: list[str]) -> bool:
    how, what, *_ = (*arguments, "", "")
    return (how == "-m" and what.startswith("dagster")) or (how == "-c" and what.startswith(SPAWN))


def _is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def _read_number(server: socket.socket) -> int:
    data = server.recv(NUMBER.size, socket.MSG_WAITALL)
    if len(data) < NUMBER.size:
        sys.exit("the server of forked programs has ended")
    return int(NUMBER.unpack(data)[0])
