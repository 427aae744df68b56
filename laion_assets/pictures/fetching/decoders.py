"""Processes that decode pictures: one may die without taking the others along."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from laion_assets.pictures.fetching.rules import FetchError, Reason, Resized, SizeRules


class Decoders:
    """A few processes, each with one picture at a time, so that a dead one says which it was."""

    def __init__(self, count: int, rules: SizeRules) -> None:
        self._rules = rules
        self._count = count
        self._free: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            self._free.put_nowait(self._start())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait().shutdown(wait=False, cancel_futures=True)

    async def decode(self, data: bytes) -> Resized:
        """Decodes a picture and makes it smaller.

        Raises:
            FetchError: it is no picture, or its decoder died of it or took too long.
        """
        pool = await self._free.get()
        try:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(pool, _decode, data, self._rules)
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            pool = self._start()
            raise FetchError(
                Reason.DECODER_DIED, f"the decoder died or took over {self._rules.max_seconds:g} s"
            ) from None
        finally:
            self._free.put_nowait(pool)
        if isinstance(result, Resized):
            return result
        raise FetchError(*result)

    def _start(self) -> ProcessPoolExecutor:
        # Threads are running here, and a fork would copy their locks.
        context = multiprocessing.get_context("spawn")
        arguments = (os.getpid(), self._rules.max_memory_bytes)
        return ProcessPoolExecutor(1, context, initializer=_prepare, initargs=arguments)


def _prepare(parent: int, max_memory_bytes: int) -> None:
    # Ctrl-C is the parent's to hear.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(parent: int) -> None:
    """Ends this process if the one that started it is gone; a pool's process would wait on."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _decode(data: bytes, rules: SizeRules) -> Resized | tuple[Reason, str]:
    from laion_assets.pictures.fetching.resize import resize

    # Without a handler the alarm ends the process, wherever in C it is. It counts the time of the
    # processor: on a busy machine a sound picture may wait.
    signal.setitimer(signal.ITIMER_PROF, rules.max_seconds)
    try:
        return resize(data, rules)
    except FetchError as error:
        return error.reason, str(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
