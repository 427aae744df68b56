"""Memory that processes share, with locks that end with the process that holds them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any, Protocol


class _Passed(Protocol):
    """A file that one process hands to another."""

    def detach(self) -> int: ...


class SharedBlock:
    """Some bytes, zero at first.

    It can be an argument of a process that `multiprocessing` spawns, which then sees the same ones.

    Attributes:
        memory: the bytes.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        """Maps the bytes into this process.

        Args:
            size: how many there are.
            descriptor: of a file in memory that holds them; None: this process alone has them.
        """
        self._size, self._descriptor = size, descriptor
        self.memory = memoryview(mmap.mmap(-1 if descriptor is None else descriptor, size))

    @classmethod
    def create(cls, size: int) -> SharedBlock:
        """Returns a new block that can be shared; on Linux."""
        descriptor = os.memfd_create("laion")
        os.ftruncate(descriptor, size)
        return cls(size, descriptor)

    @contextmanager
    def lock(self, number: int = 0) -> Iterator[None]:
        """Keeps other processes out meanwhile; for one thread of each, and one lock at a time.

        Args:
            number: of the lock; each is independent of the others.
        """
        if self._descriptor is None:
            yield
            return
        import fcntl

        # The system frees it when a process dies; a semaphore would stay taken for ever.
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, number)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    def __reduce__(self) -> tuple[Callable[..., SharedBlock], tuple[Any, ...]]:
        """Returns what the other process makes it of."""
        assert self._descriptor is not None
        return _attach, (self._size, reduction.DupFd(self._descriptor))


def _attach(size: int, passed: _Passed) -> SharedBlock:
    return SharedBlock(size, passed.detach())
