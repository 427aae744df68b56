"""The processes of this machine: which live, and when they started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ZOMBIE = "Z"
STOPPED = "T"


@dataclass(frozen=True)
class Process:
    """A process that lives.

    Attributes:
        start: when it started, in ticks since the machine did; '' where the system has no /proc.
        started_at: the same in seconds since 1970; None where it is not known.
    """

    start: str
    started_at: float | None


def find_process(pid: int) -> Process | None:
    """Returns a process; None if it has ended, or has and waits for its parent to notice."""
    if not (PROC / "self/stat").exists():
        return Process("", None) if _has_pid(pid) else None
    fields = _read_fields(pid)
    if fields is None or fields[0] == ZOMBIE:
        return None
    start = fields[19]
    return Process(start, _read_boot_time() + int(start) / os.sysconf("SC_CLK_TCK"))


def read_start(pid: int) -> str:
    """Returns when a process started, as `Process` has it."""
    process = find_process(pid)
    return process.start if process else ""


def is_stopped(pid: int) -> bool:
    """Returns whether somebody stopped a process, so that it waits to be continued."""
    fields = _read_fields(pid)
    return fields is not None and fields[0] == STOPPED


def _read_fields(pid: int) -> list[str] | None:
    """Returns the fields of /proc/<pid>/stat from the state on, which is the third (proc(5))."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second is the program's name in brackets, which may hold anything.
    return text.rpartition(")")[2].split()


def _read_boot_time() -> float:
    lines = (PROC / "stat").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))


def _has_pid(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
