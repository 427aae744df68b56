"""Has other nodes of Ray do a share of what a run has to do.

They are those with a free slot. Their share takes no slot: a run starts beside it, and it never
waits for one to end. So nobody helps in a cluster that is full of runs, and each run does all by
itself. What a node makes comes through the bucket, chunk by chunk; of one that dies the others do
what it had not put there.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from laion_assets.errors import first_line

LOGGER = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
# As Ray's dashboard and the list of processes name a share.
TASK = "share_of_a_shard"
# How often what the others have made is looked for.
LOOK_INTERVAL_S = 2
# If none has made anything for so long, none will: a slow node needs half of it for a chunk.
SILENCE_S = 1800
# Threads that wait for one node each.
MAX_HELPERS = 1_000


@dataclass(frozen=True)
class SharedWork(Generic[Item]):
    """Work that can be cut into shares.

    Attributes:
        here: does a share in this process, to its end.
        there: does one on another node, where it is unpickled, and puts what it makes into the
            bucket.
        split: cuts what there is to do into shares, not more than this number.
        take: takes what others have put into the bucket since; returns how much it was.
        find_left: returns what of a share is not done.
        takes_gpu: whether nodes with a free GPU help, each with one, where there are any GPUs.
    """

    here: Callable[[Sequence[Item]], None]
    there: Callable[[Sequence[Item]], None]
    split: Callable[[Sequence[Item], int], list[Sequence[Item]]]
    take: Callable[[], int]
    find_left: Callable[[Sequence[Item]], Sequence[Item]]
    takes_gpu: bool = False


def share_work(work: SharedWork[Item], items: Sequence[Item]) -> None:
    """Does work here and on the nodes that are free, until all of it is done.

    What a node has not done, as it died, is shared out anew, to others.
    """
    with _connect() as is_connected:
        given_up: set[str] = set()
        while items:
            nodes, has_gpus = _find_free(given_up, work.takes_gpu) if is_connected else ([], False)
            # A processor would hold up what a GPU does a hundred times as fast.
            shares = work.split(items, len(nodes) + (not has_gpus))
            own, others = ([], shares) if has_gpus else (shares[0], shares[1:])
            if not others:
                work.here(own)
                return
            _do_shares(work, own, dict(zip(nodes, others, strict=False)), gpus=int(has_gpus))
            for node, share in zip(nodes, others, strict=False):
                if work.find_left(share):
                    given_up.add(node)
            items = work.find_left(items)


def make_each(
    make: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], at_once: int
) -> list[Result]:
    """Makes something of each item, here and on the nodes that are free; returns it in their order.

    What a node fails at is made here.

    Args:
        make: makes something of some items; on another node, where it is unpickled, of one.
        items: what is given to it.
        at_once: how many it is given here.
    """
    making = _Making[Any, Any](deque(enumerate(items)))
    # The connection ends first, which ends what the threads wait for.
    with ThreadPoolExecutor(MAX_HELPERS) as pool, _connect() as is_connected:
        nodes = _find_free((), False)[0] if is_connected else []
        helping = [pool.submit(making.make_there, make, _bind(node)) for node in nodes]
        LOGGER.info("%d other nodes help", len(helping))
        making.make_here(make, at_once)
        while helping:
            helping.pop().result()
            making.make_here(make, at_once)
    return [making.made[number] for number in range(len(items))]


@dataclass
class _Making(Generic[Item, Result]):
    """What is made of items, by several at once.

    Attributes:
        waiting: the items that nobody has picked, with their numbers.
        made: what was made, by number.
    """

    waiting: deque[tuple[int, Item]]
    made: dict[int, Result] = field(default_factory=dict)

    def make_here(self, make: Callable[[Sequence[Item]], list[Result]], at_once: int) -> None:
        """Makes some at a time, until none is waiting."""
        while picked := self._pick(at_once):
            self.made.update(zip(picked, make([*picked.values()]), strict=True))

    def make_there(
        self, make: Callable[[Sequence[Item]], list[Result]], ask: Callable[..., Any]
    ) -> None:
        """Has a node make one at a time, until none is waiting, or one fails, which waits again."""
        import ray

        while picked := self._pick(1):
            ((number, item),) = picked.items()
            try:
                (self.made[number],) = ray.get(ask(make, [item]))
            except Exception as error:  # noqa: BLE001 - it is made here, where it is raised
                self.waiting.appendleft((number, item))
                LOGGER.warning("a node that helped failed: %s", first_line(error))
                return

    def _pick(self, count: int) -> dict[int, Item]:
        picked = {}
        # Another thread may take the last one.
        with suppress(IndexError):
            for _ in range(count):
                number, item = self.waiting.popleft()
                picked[number] = item
        return picked


def _do_shares(
    work: SharedWork[Item],
    own: Sequence[Item],
    others: dict[str, Sequence[Item]],
    *,
    gpus: int,
) -> None:
    """Does a share here and the others on their nodes, as far as these get."""
    import ray

    LOGGER.info("other nodes that do a share: %d", len(others))
    pending = [_bind(node, gpus)(work.there, share) for node, share in others.items()]
    try:
        if own:
            work.here(own)
        heard_at = time.monotonic()
        while pending and time.monotonic() < heard_at + SILENCE_S:
            ended, pending = ray.wait(pending, timeout=LOOK_INTERVAL_S)
            # What it has made is in the bucket before it ends.
            if work.take() > 0 or ended:
                heard_at = time.monotonic()
            for share in ended:
                try:
                    ray.get(share)
                except ray.exceptions.RayError as error:
                    reason = first_line(getattr(error, "cause", None) or error)
                    reason, _, _ = reason.partition(". ")
                    LOGGER.warning("another node did not do its share: %s", reason)
    finally:
        for share in pending:
            ray.cancel(share, force=True)


def _bind(node: str, gpus: int = 0) -> Callable[..., Any]:
    """Returns what has a node call a function with an argument, and takes no slot for it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # What fails is done by another node, not by the same one again.
    call: Any = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(_call)
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    asking: Callable[..., Any] = call.options(name=TASK, scheduling_strategy=where).remote
    return asking


def _call(function: Callable[[Item], Result], argument: Item) -> Result:
    return function(argument)


@contextmanager
def _connect() -> Iterator[bool]:
    """Connects with the cluster that this run is a job of; yields whether there is one."""
    import ray

    # Ray would take over what a cancelled run hears.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(
            "auto", log_to_driver=False, configure_logging=False, logging_level=logging.WARNING
        )
    except ConnectionError:
        yield False
        return
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield True
    finally:
        ray.shutdown()


def _find_free(given_up: Collection[str], takes_gpu: bool) -> tuple[list[str], bool]:
    """Returns the other nodes with a free slot, or all with a free GPU, and which of both."""
    import ray
    from ray._private.state import available_resources_per_node

    own = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    resources = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
    known = resources.keys() - given_up
    needs_gpu = takes_gpu and any(resources[node].get("GPU") for node in known)
    free = available_resources_per_node()  # type: ignore[no-untyped-call]
    needed = "GPU" if needs_gpu else "CPU"
    found = [node for node in sorted(known & free.keys()) if free[node].get(needed, 0) >= 1]
    if needs_gpu:
        return found, bool(found)
    return [node for node in found if node != own], False
