"""Streams as torch takes them. Only here is torch imported, and only when somebody uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import current_process, get_all_start_methods, set_forkserver_preload
from typing import Any

from laion_assets.errors import LaionError
from laion_assets.training.row_batch import RowBatch
from laion_assets.training.split_stream import SplitStream

# What the server of the workers imports, once for all of them and before the first is asked for:
# torch alone takes seconds. Not Lance itself, which is to be imported after the fork.
PRELOADED = ("__main__", "torch", "pyarrow.dataset", "laion_assets.training.torch_loader")


# Batches that each thread has read before they are asked for, as torch's workers do.
READ_AHEAD = 2


def collate(rows: RowBatch) -> dict[str, Any]:
    """Returns a batch as `RowBatch.to_arrays` does, with tensors in place of arrays.

    For `collate_fn` of a DataLoader; torch's own fails where a value is missing.

    Raises:
        LaionError: these are not the rows of a stream.
    """
    if not isinstance(rows, RowBatch):
        raise LaionError(
            f"collate: got {type(rows).__name__}, not rows of a stream; give the DataLoader the "
            "stream itself, and a batch_size",
            code="training-collate",
        )
    return {name: _to_tensors(value) for name, value in rows.to_arrays().items()}


def make_loader(
    stream: SplitStream,
    batch_size: int,
    *,
    num_workers: int = 0,
    num_threads: int = 0,
    drop_last: bool = False,
    collate_fn: Callable[[RowBatch], Any] = collate,
    **options: Any,
) -> SplitLoader:
    """Returns a loader of batches that goes on where a state of it was saved.

    Args:
        stream: what it reads. The loader moves it on, so read it in no other way meanwhile.
        batch_size: rows of a batch.
        num_workers: processes that read and collate; 0 for this one. They stay from one pass to
            the next, unless `persistent_workers=False` says otherwise.
        num_threads: threads of this process that do the same, in place of other processes. They
            start at once, and hand batches over without a copy. Lance and Pillow work beside each
            other in threads; other Python does not.
        drop_last: leave out a last batch that has fewer rows.
        collate_fn: makes a batch of rows, in the worker; decode pictures there.
        options: others of `torch.utils.data.DataLoader`; threads have none.

    Raises:
        LaionError: there are threads, and workers or options beside them.
    """
    if num_threads and (num_workers or options):
        raise LaionError(
            f"num_threads: {num_threads} threads read in place of a DataLoader, so leave out "
            f"{', '.join(['num_workers'] * bool(num_workers) + [*options])}",
            code="training-threads-and-workers",
        )
    batches = _NextPass(stream, batch_size, drop_last)
    loader: Any
    if num_threads:
        loader = _Threads(stream, batches, collate_fn, num_threads)
    else:
        loader = _open_loader(stream, batches, collate_fn, num_workers, options)
    return SplitLoader(stream, loader, batch_size, drop_last=drop_last)


def _open_loader(
    stream: SplitStream,
    batches: _NextPass,
    collate_fn: Callable[[RowBatch], Any],
    num_workers: int,
    options: Mapping[str, Any],
) -> Any:
    from torch.utils.data import DataLoader

    given = dict(options)
    if num_workers:
        given.setdefault("persistent_workers", True)
        if "multiprocessing_context" not in given:
            given["multiprocessing_context"] = start_workers()
    return DataLoader(
        stream, batch_sampler=batches, num_workers=num_workers, collate_fn=collate_fn, **given
    )


def start_workers() -> str:
    """Lets a server import what the workers of loaders need, while this process goes on.

    `make_loader` does it too. Torch alone takes seconds, so call it as the first thing under
    `if __name__ == "__main__":`, before torch is imported and the release is opened.

    Returns:
        The start method of the workers. Until Python 3.14 the default of torch is a fork, which
        Lance does not survive.
    """
    if "forkserver" not in get_all_start_methods():
        return "spawn"
    from multiprocessing.forkserver import ensure_running

    # The server itself may import the program, and is not to have a server.
    if not hasattr(current_process(), "_inheriting"):
        # Without effect if the program has a server already.
        set_forkserver_preload(list(PRELOADED))
        ensure_running()
    return "forkserver"


class SplitLoader:
    """A `torch.utils.data.DataLoader` over a stream, or threads in place of one, with a state.

    Each pass is an epoch. The state is that of the stream, past the batches that were yielded, and
    not past those that workers have read ahead.

    Attributes:
        stream: what it reads.
    """

    def __init__(
        self, stream: SplitStream, loader: Any, batch_size: int, *, drop_last: bool
    ) -> None:
        self.stream = stream
        self._loader = loader
        self._batch_size, self._drop_last = batch_size, drop_last

    def __len__(self) -> int:
        """Returns the batches of the next pass."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        walk = self.stream.walk(self._batch_size, drop_last=self._drop_last)
        for batch, _ in zip(batches, walk, strict=True):
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Goes to the beginning of an epoch, unless the stream is in it already."""
        self.stream.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns where the loader is, as plain values."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Lets the next pass go on from a state.

        Raises:
            LaionError: it is the state of another stream.
        """
        self.stream.load_state_dict(state)


class _NextPass:
    """The batches of the next pass, as a `batch_sampler`."""

    def __init__(self, stream: SplitStream, batch_size: int, drop_last: bool) -> None:
        self._stream = stream
        self._batch_size, self._drop_last = batch_size, drop_last

    def __iter__(self) -> Iterator[range]:
        return iter(self._stream.plan(self._batch_size, drop_last=self._drop_last))

    def __len__(self) -> int:
        return len(self._stream.plan(self._batch_size, drop_last=self._drop_last))


class _Threads:
    """Batches that threads read and collate, some ahead, in their order."""

    def __init__(
        self,
        stream: SplitStream,
        batches: _NextPass,
        collate_fn: Callable[[RowBatch], Any],
        count: int,
    ) -> None:
        self._stream, self._batches, self._collate = stream, batches, collate_fn
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        pool = ThreadPoolExecutor(self._count)
        waiting: deque[Future[Any]] = deque()
        try:
            for numbers in self._batches:
                waiting.append(pool.submit(self._read, numbers))
                if len(waiting) > READ_AHEAD * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return len(self._batches)

    def _read(self, numbers: range) -> Any:
        return self._collate(self._stream.__getitems__(numbers))


def _to_tensors(value: Any) -> Any:
    import numpy as np
    import torch

    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {name: _to_tensors(one) for name, one in value.items()}
    return value
