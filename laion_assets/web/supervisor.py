"""Keeps some processes of the search page running: starts them, starts them again, ends them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from laion_assets.errors import LaionError

logger = logging.getLogger(__name__)

# Between two looks at the processes.
LOOK_S = 0.2
# Before a process is started again; one that never answered may need what is not there yet.
RESTART_S, FAILED_RESTART_S = 1, 10
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Announcer:
    """Tells the process that started this one how it goes, and ends this one with it."""

    def __init__(self, told: Connection) -> None:
        self._told = told
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def say_ready(self) -> None:
        """Says that requests are answered from now on."""
        self._told.send(None)

    def say_failed(self, error: LaionError) -> None:
        """Says why they are not."""
        self._told.send(error)

    def _end_with_parent(self) -> None:
        try:
            self._told.recv()
        except (EOFError, OSError):
            # As somebody would who stops it: what was begun is finished.
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class _Worker:
    """A process, from its start to the next one's."""

    number: int
    process: SpawnProcess
    told: Connection
    is_ready: bool = False
    start_at: float | None = None

    def listen(self) -> LaionError | None:
        """Hears what it has to say; returns why it failed, if it did."""
        try:
            if self.is_ready or not self.told.poll():
                return None
            said = self.told.recv()
        except (EOFError, OSError):
            return None
        if said is None:
            self.is_ready = True
            return None
        failure: LaionError = said
        return failure


class Supervisor:
    """Runs the same work in several processes until somebody stops it.

    They are spawned, as Lance's threads do not live through a fork.
    """

    def __init__(
        self, count: int, target: Callable[..., None], forget: Callable[[int], None]
    ) -> None:
        """Starts nothing yet.

        Args:
            count: of processes.
            target: what each runs, with its number from 0 and an `Announcer`'s connection.
            forget: is told the number of a process that has ended.
        """
        self._count, self._target, self._forget = count, target, forget
        self._context = multiprocessing.get_context("spawn")
        self._signals: list[int] = []

    def run(self, announce: Callable[[], None]) -> int:
        """Runs the processes; returns the signal that ended it.

        Args:
            announce: is called once, when the first process answers.

        Raises:
            LaionError: a process cannot answer, before any did.
        """
        with self._heed_signals():
            workers = [self._start(number) for number in range(self._count)]
            try:
                while not any(self._look(worker) for worker in workers) and not self._signals:
                    self._wait(workers)
                if not self._signals:
                    announce()
                while not self._signals:
                    self._wait(workers)
                    workers = [self._revive(worker) for worker in workers]
            finally:
                self._stop(workers)
        return self._signals[0]

    @contextmanager
    def _heed_signals(self) -> Iterator[None]:
        def note(number: int, _: Any) -> None:
            self._signals.append(number)

        before = {number: signal.signal(number, note) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, number: int) -> _Worker:
        told, tells = self._context.Pipe()
        process = self._context.Process(
            target=self._target, args=(number, tells), name=f"laion-serve-{number}"
        )
        process.start()
        # Else the end of the process would not be seen at this end.
        tells.close()
        return _Worker(number, process, told)

    def _wait(self, workers: list[_Worker]) -> None:
        """Waits until a process may have ended, for a moment at most."""
        wait([worker.process.sentinel for worker in workers if worker.start_at is None], LOOK_S)

    def _look(self, worker: _Worker) -> bool:
        """Returns whether a process of the beginning answers.

        Raises:
            LaionError: it cannot, or has ended.
        """
        # First: what it said last is heard all the same.
        is_alive = worker.process.is_alive()
        if (error := worker.listen()) is not None:
            raise error
        if not is_alive:
            end = _name_end(worker.process.exitcode)
            raise LaionError(
                f"worker {worker.number} ended before it answered ({end}); it may need more "
                "memory than there is: give fewer --workers",
                code="serve-worker-ended",
            )
        return worker.is_ready

    def _revive(self, worker: _Worker) -> _Worker:
        """Returns the worker, or the one that takes its place after it has ended."""
        is_alive = worker.process.is_alive()
        if (error := worker.listen()) is not None:
            logger.warning("worker %d: %s", worker.number, error)
        if is_alive:
            return worker
        if worker.start_at is None:
            worker.process.join()
            worker.told.close()
            self._forget(worker.number)
            pause_s = RESTART_S if worker.is_ready else FAILED_RESTART_S
            worker.start_at = time.monotonic() + pause_s
            logger.warning(
                "worker %d ended (%s); the next one starts in %d s",
                worker.number,
                _name_end(worker.process.exitcode),
                pause_s,
            )
        return self._start(worker.number) if time.monotonic() >= worker.start_at else worker

    def _stop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            while worker.process.is_alive():
                # They finish what they have begun; who asks twice does not want to wait for it.
                if len(self._signals) > 1:
                    worker.process.kill()
                worker.process.join(LOOK_S)


def _name_end(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"status {exitcode}"
