"""Measures what a command costs: wall and CPU seconds, memory, bytes written."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laion_assets.settings import REPOSITORY

SAMPLE_INTERVAL_S = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What a command and all processes that it started took.

    Attributes:
        wall_s: from start to end.
        cpu_s: of all of them, in user and kernel mode.
        largest_mib: peak of the resident memory of the largest process.
        together_mib: peak of the sum over all, sampled; memory that they share counts twice.
        written_mb: bytes that they sent to the disk, sampled.
    """

    wall_s: float
    cpu_s: float
    largest_mib: float
    together_mib: float
    written_mb: float


def run_measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command from the repository root, and fails with what it said if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PWD": str(REPOSITORY), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    sampler = _Sampler(process.pid)
    sampler.start()
    assert process.stdout
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{said}")
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        largest_mib=usage.ru_maxrss / 1024,
        together_mib=sampler.peak_bytes / 2**20,
        written_mb=sum(sampler.written_bytes.values()) / 1e6,
    )


def timed(work: Callable[[], object]) -> float:
    """Returns the seconds that something takes in this process."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median(costs: Iterable[Cost]) -> Cost:
    """Returns the median of each figure."""
    rows = [vars(cost) for cost in costs]
    return Cost(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def spread(costs: Iterable[Cost]) -> str:
    """Returns the least and the greatest wall time."""
    seconds = [cost.wall_s for cost in costs]
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


def folder_bytes(*folders: Path) -> int:
    """Returns the size of all files; of one with several names, once."""
    files = {
        (status.st_dev, status.st_ino): status.st_size
        for folder in folders
        for path in ([folder] if folder.is_file() else folder.rglob("*"))
        if path.is_file() and (status := path.stat())
    }
    return sum(files.values())


class _Sampler(threading.Thread):
    """Looks at the processes of a session now and then."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._is_over = threading.Event()
        self.peak_bytes = 0
        self.written_bytes: dict[str, int] = {}

    def run(self) -> None:
        while not self._is_over.wait(SAMPLE_INTERVAL_S):
            self._sample()

    def stop(self) -> None:
        self._is_over.set()
        self.join()

    def _sample(self) -> None:
        resident = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # The name in brackets may have blanks; the session is the fourth word after it.
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(words[3]) != self._session:
                    continue
                resident += int((folder / "statm").read_text().split()[1]) * PAGE_BYTES
                for line in (folder / "io").read_text().splitlines():
                    if line.startswith("write_bytes:"):
                        self.written_bytes[folder.name] = int(line.split()[1])
            except (OSError, IndexError):
                # It has just ended.
                continue
        self.peak_bytes = max(self.peak_bytes, resident)
