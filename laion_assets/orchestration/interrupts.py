"""Signals that ask this process to stop: none is lost, and each is heeded in bounded time.

While Dagster runs a job it replaces the handlers of signals, and between two steps it can forget
that one was called. While DuckDB, Lance or polars compute, Python calls no handler at all. So the
signals are read from the pipe into which the interpreter writes them as they arrive
(`signal.set_wakeup_fd`), in a thread of its own.

A process that does not stop by itself is ended the hard way, as `kill -9` does, which every table
survives.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# From the signal to the hard end; with what has to be written down then, it is less than 5 s.
GRACE_S = 3.0
LAST_WORDS_S = 1.0

# Says what is to be noted before the hard end.
LastWords = Callable[[], None]


class StoppedError(KeyboardInterrupt):
    """A signal asks this process to stop.

    Attributes:
        exit_status: what a shell is told, 130 or 143.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_status = 128 + signal_number


class SignalWatch:
    """The signals that have arrived since it was opened; `watch_signals` opens it."""

    def __init__(self, *, is_second_final: bool) -> None:
        self._is_second_final = is_second_final
        self._received: list[int] = []
        self._last_words: list[LastWords] = []
        self._lock = threading.Lock()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @property
    def first(self) -> int | None:
        """The first signal that arrived; None if none did."""
        # What the thread has not read yet has arrived too.
        with self._lock:
            received = self._received or _choose(self._peek())
            return received[0] if received else None

    def check(self) -> None:
        """Raises StoppedError if a signal has arrived."""
        if (first := self.first) is not None:
            raise StoppedError(first)

    @contextmanager
    def before_hard_end(self, last_words: LastWords) -> Iterator[None]:
        """Calls the function if the process is ended the hard way within the block."""
        self._last_words.append(last_words)
        try:
            yield
        finally:
            self._last_words.remove(last_words)

    @contextmanager
    def open(self) -> Iterator[SignalWatch]:
        """Watches until the block is left. Only the main thread can."""
        thread = threading.Thread(target=self._follow, name="signals", daemon=True)
        with closing(self._reader):
            before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            thread.start()
            try:
                yield self
            finally:
                signal.set_wakeup_fd(before)
                self._writer.close()
                thread.join()

    def _peek(self) -> bytes:
        with suppress(BlockingIOError):
            return self._reader.recv(64, socket.MSG_PEEK)
        return b""

    def _follow(self) -> None:
        deadline: float | None = None
        while True:
            rest_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], rest_s)
            if not ready:
                self._end_hard(is_hurried=False)
            with self._lock:
                content = self._reader.recv(64)
                self._received += _choose(content)
                count = len(self._received)
            if not content:
                return
            if self._is_second_final and count > 1:
                self._end_hard(is_hurried=True)
            if count and deadline is None:
                deadline = time.monotonic() + GRACE_S

    def _end_hard(self, *, is_hurried: bool) -> None:
        if not is_hurried:
            # What it writes to may be what does not answer.
            speaker = threading.Thread(target=self._say_last_words, daemon=True)
            speaker.start()
            speaker.join(LAST_WORDS_S)
        _show_cursor()
        os._exit(128 + self._received[0])

    def _say_last_words(self) -> None:
        for last_words in self._last_words:
            with suppress(Exception):
                last_words()


_open_watches: list[SignalWatch] = []


@contextmanager
def watch_signals(*, is_second_final: bool = False) -> Iterator[SignalWatch | None]:
    """Watches the signals until the block is left; one watch serves all blocks inside it.

    Args:
        is_second_final: whether a second signal ends the process at once.

    Yields:
        The watch; None in another thread than the main one, which signals do not reach.
    """
    if _open_watches:
        yield _open_watches[-1]
    elif threading.current_thread() is not threading.main_thread():
        yield None
    else:
        with SignalWatch(is_second_final=is_second_final).open() as watch:
            _open_watches.append(watch)
            try:
                yield watch
            finally:
                _open_watches.remove(watch)


@contextmanager
def raise_signals() -> Iterator[None]:
    """Lets a signal raise StoppedError in the block; one that the process ignores stays ignored."""
    with _handle(lambda number, _: _raise(number)):
        yield


@contextmanager
def hold_signals() -> Iterator[None]:
    """Lets a signal do nothing in the block; a watch has it all the same."""
    with _handle(lambda _number, _frame: None):
        yield


@contextmanager
def _handle(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _raise(number: int) -> None:
    raise StoppedError(number)


def _choose(content: bytes) -> list[int]:
    return [number for number in content if number in SIGNALS]


def _show_cursor() -> None:
    """Shows the cursor, which a progress bar hides."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")
