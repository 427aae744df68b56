"""Measures what a command costs in seconds, memory and bytes, and how busy the machine is."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laion_assets.settings import REPOSITORY

SAMPLE_INTERVAL_S = 0.05
# Python compiles an installed package once. Where the caller forbids it to keep that, it compiles
# our modules in every process, and those of other packages not.
KEEP_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
# Place of the stolen time in a line of /proc/stat.
STEAL = 7
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
    # What ran before has gigabytes to write still: the shell recipe has six.
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PWD": str(REPOSITORY), **KEEP_BYTECODE, **(environment or {})},
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


class Watch:
    """What was used from its making on: by this process and its children, and by the machine."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._cpu_s = read_cpu_s()
        self._ticks = _read_ticks()
        self._load = os.getloadavg()[0]

    def read(self) -> dict[str, float]:
        """Returns wall_s, cpu_s, load_before, load_after (of a minute) and steal_percent.

        CPU seconds of a child count when it has ended. Steal is the share of all processors' time
        that a virtual machine wanted and did not get.
        """
        ticks = [now - before for now, before in zip(_read_ticks(), self._ticks, strict=True)]
        return {
            "wall_s": time.perf_counter() - self._started,
            "cpu_s": read_cpu_s() - self._cpu_s,
            "load_before": self._load,
            "load_after": os.getloadavg()[0],
            "steal_percent": 100 * ticks[STEAL] / max(sum(ticks), 1),
        }

    def describe(self) -> str:
        """Returns a sentence for the end of a report."""
        found = self.read()
        return (
            f"The whole run: {found['wall_s']:,.1f} s, {found['cpu_s']:,.1f} CPU s with its "
            f"children; load average {found['load_before']:.1f} before and "
            f"{found['load_after']:.1f} after, "
            f"{found['steal_percent']:.1f} % of the processors' time stolen."
        )


@dataclass
class Rounds:
    """What rounds of the same work took in this process and its children.

    Attributes:
        wall_s: seconds of each round.
        cpu_s: CPU seconds of each.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        """Does the work, as one round more."""
        cpu_s = read_cpu_s()
        self.wall_s.append(timed(work))
        self.cpu_s.append(read_cpu_s() - cpu_s)

    @property
    def median_s(self) -> float:
        """The median of the wall seconds."""
        return statistics.median(self.wall_s)

    @property
    def cpu_median_s(self) -> float:
        """The median of the CPU seconds."""
        return statistics.median(self.cpu_s)

    def describe(self) -> str:
        """Returns the median, the least and the most, and the median of CPU seconds."""
        spread = find_spread(self.wall_s, 3)
        return f"{self.median_s:8.3f} s ({spread}), {self.cpu_median_s:.3f} CPU s"


def report_run(main: Callable[[], object]) -> None:
    """Does what a module measures, and prints at its end how busy it and the machine were."""
    watch = Watch()
    try:
        main()
    finally:
        print(watch.describe(), flush=True)


def read_cpu_s() -> float:
    """Returns the CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _read_ticks() -> list[int]:
    """Returns how long all processors were busy with what, up to steal, since the machine began."""
    with Path("/proc/stat").open(encoding="ascii") as lines:
        return [int(word) for word in lines.readline().split()[1 : STEAL + 2]]


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
    return find_spread([cost.wall_s for cost in costs], 1)


def find_spread(figures: Sequence[float], digits: int) -> str:
    """Returns the least and the greatest of some figures."""
    return f"{min(figures):,.{digits}f} to {max(figures):,.{digits}f}"


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
