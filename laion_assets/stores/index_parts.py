"""Builds indices, and parts of one, each in a process of its own.

Lance builds a part on one core, and two threads of one process wait for each other's memory. A
process gives all of its memory back when it ends, so a release of many shards needs no more than
one of a few.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from laion_assets.errors import LaionError

if TYPE_CHECKING:
    import lance
    from lance.dataset import Index


class Order(Protocol):
    """What a process is to build; it is pickled."""

    @property
    def column(self) -> str:
        """The column that is indexed."""

    def build(self) -> Any:
        """Builds it in this process."""


@dataclass(frozen=True)
class PartOrder:
    """A part of an index that is to be built.

    Attributes:
        uri: of the table.
        version: of the table.
        column: that is indexed.
        kind: of index, as Lance names it.
        name: of the index.
        fragments: whose rows the part covers.
        options: of the index.
        storage: how Lance asks for the table, where it is in a bucket.
    """

    uri: str
    version: int
    column: str
    kind: str
    name: str
    fragments: Sequence[int]
    options: Mapping[str, Any]
    storage: Mapping[str, str] | None = None

    def build(self) -> Index:
        """Builds the part in this process; nobody sees it before it is committed."""
        import lance

        storage = None if self.storage is None else dict(self.storage)
        return self.build_of(lance.dataset(self.uri, version=self.version, storage_options=storage))

    def build_of(self, dataset: lance.LanceDataset) -> Index:
        """Builds it of a table that is open at the version."""
        return dataset.create_index_uncommitted(
            self.column,
            self.kind,
            name=self.name,
            replace=True,
            fragment_ids=list(self.fragments),
            **self.options,
        )


def build_in_processes(orders: Sequence[PartOrder], workers: int) -> list[Index]:
    """Builds the parts, each in a process of its own; returns them in the same order.

    Args:
        orders: what is to be built.
        workers: how many processes there are at once.

    Raises:
        LaionError: a process died. What Lance raises is raised here, too.
    """
    parts: list[Index] = []
    for first in range(0, len(orders), workers):
        with start_building(orders[first : first + workers]) as building:
            parts += [part.result() for part in building]
    return parts


@contextmanager
def start_building(
    orders: Sequence[Order], variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[Future[Any]]]:
    """Builds each order in a process of its own, meanwhile; yields what they will have built.

    A process that is not done at the end of the block is killed.

    Args:
        orders: what each builds.
        variables: of their environment, where it does not set them already.
    """
    with start_builders(len(orders), variables) as builders:
        yield [build(order) for build, order in zip(builders, orders, strict=True)]


@contextmanager
def start_builders(
    count: int, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[Callable[[Order], Future[Any]]]]:
    """Starts processes, and yields for each a function that has it build one order.

    A process imports Lance while the order is prepared. One that is not done at the end of the
    block is killed.

    Args:
        count: of the processes.
        variables: of their environment, where it does not set them already.
    """
    processes = [_start(variables) for _ in range(count)]
    try:
        with ThreadPoolExecutor(max(1, count)) as pool:
            try:
                yield [partial(_submit, pool, process) for process in processes]
            finally:
                for process in processes:
                    process.kill()
    finally:
        for process in processes:
            process.communicate()


def _start(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", __name__],
        env={**variables, **os.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _submit(
    pool: ThreadPoolExecutor, process: subprocess.Popen[bytes], order: Order
) -> Future[Any]:
    return pool.submit(_ask, process, order)


def _ask(process: subprocess.Popen[bytes], order: Order) -> Any:
    assert process.stdin
    assert process.stdout
    # One that died has said so at the end of its output.
    with suppress(BrokenPipeError):
        pickle.dump(order, process.stdin)
        process.stdin.flush()
    answer = process.stdout.read()
    if not answer:
        raise LaionError(
            f"the process that indexes `{order.column}` ended with {process.wait()}; "
            "check free memory, then try again",
            code="index-process-died",
        )
    result = pickle.loads(answer)  # noqa: S301 - from our own process
    if isinstance(result, Exception):
        raise result
    return result


def main() -> None:
    """Builds what standard input orders, and writes what came of it to standard output."""
    # Lance reads ahead in several fragments at once, which costs memory and saves nothing here.
    os.putenv("LANCE_DEFAULT_FRAGMENT_READAHEAD", "1")
    # Ctrl-C is the parent's to hear.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints is not the answer.
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)
        sys.meta_path.insert(0, _NoPandas())
        # Each order needs it, and may take a while to come.
        import lance  # noqa: F401

        order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process
        threading.Thread(target=_end_with_parent, daemon=True).start()
        result: object
        try:
            result = order.build()
        except Exception as error:  # noqa: BLE001 - it is raised in the parent
            result = error
        pickle.dump(result, answer)
    os._exit(0)


class _NoPandas(MetaPathFinder):
    """Lets an import of pandas fail as if it were not installed.

    pyarrow imports it where it is, which takes as long as Lance itself; no order needs it. It is
    for these processes alone: pyarrow then takes a pandas series for any other sequence.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: object = None,  # noqa: ARG002
    ) -> None:
        """Fails for pandas, and leaves the others to other finders."""
        if fullname == "pandas":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _end_with_parent() -> None:
    """Ends this process with the one that started it, which holds the pipe open until then."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
