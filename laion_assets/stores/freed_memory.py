"""Gives memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's number for the size from which a block of memory is one of its own.
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 4 << 20


def give_back_memory() -> None:
    """Gives back what was freed between values that are still in use; only with glibc.

    By itself glibc keeps it, once for each thread, so a process that reads gigabytes of pictures,
    some at a time, grows and grows.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def return_large_blocks() -> None:
    """Lets every large block that is freed go back to the system at once; only with glibc.

    By itself glibc raises the size of what it calls large with each block that is freed, up to
    32 MiB, and keeps what is smaller. Lance's buffers are: a release of seven shards took twice the
    memory.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)


@contextmanager
def keep_garbage() -> Iterator[None]:
    """Lets Python look for no garbage until the block is left.

    For a block that makes some objects for each of thousands of shards, and few rings of objects:
    Python takes many new ones for a reason to look at all that it has ever made.
    """
    is_looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_looking:
            gc.enable()
