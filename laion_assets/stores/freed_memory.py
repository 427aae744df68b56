"""Gives memory that was freed back to the system."""

from __future__ import annotations

import ctypes


def give_back_memory() -> None:
    """Gives back what was freed between values that are still in use; only with glibc.

    By itself glibc keeps it, once for each thread, so a process that reads gigabytes of pictures,
    some at a time, grows and grows.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
