"""What each client asks of all processes of the search page together: how often, how much at once.

The table has a fixed size, and holds digests instead of addresses. A process counts in a column of
its own, which is emptied if it dies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple, Self

from laion_assets.stores.shared_block import SharedBlock

# Clients that are remembered; one who asked long ago makes room for another.
SLOTS = 2**14
# Places where one client may stand, one after the other.
PROBED = 8
KEY_BYTES, NUMBER_BYTES = 16, 8
# The locks of the block: for the table, and for lines of the log.
TABLE, LOG = 0, 1


class Client(NamedTuple):
    """What is known of a client.

    Attributes:
        place: in the table.
        used_until: when it has used up what it is allowed.
        waiting: requests of it that are worked on or wait.
    """

    place: int
    used_until: float
    waiting: int


class ClientTable:
    """The clients of some processes; for the event loop of each."""

    def __init__(self, block: SharedBlock, columns: int, column: int = 0) -> None:
        """Takes a block that `measure` has the size of.

        Args:
            block: shared by the processes.
            columns: how many processes there are.
            column: of this process, from 0.
        """
        self._block, self._columns, self._column = block, columns, column
        memory = block.memory
        numbers = memory[KEY_BYTES:].cast("q")
        self._key = bytes(memory[:KEY_BYTES])
        self._process_ids, rest = numbers[:columns], numbers[columns:]
        self._totals, rest = rest[:columns], rest[columns:]
        self._digests, rest = rest[:SLOTS], rest[SLOTS:]
        self._used_until, rest = rest[:SLOTS].cast("B").cast("d"), rest[SLOTS:]
        self._counts = [rest[n * SLOTS : (n + 1) * SLOTS] for n in range(columns)]

    @classmethod
    def own(cls) -> Self:
        """Returns the table of a process that shares it with none."""
        return cls(_fill(SharedBlock(measure(1))), 1)

    @staticmethod
    def share(columns: int) -> SharedBlock:
        """Returns the block of a new table for so many processes."""
        return _fill(SharedBlock.create(measure(columns)))

    @property
    def process_ids(self) -> list[int]:
        """The processes that have begun, by column; 0 where there is none."""
        return self._process_ids.tolist()

    @property
    def total(self) -> int:
        """Requests of all clients that are worked on or wait."""
        return sum(self._totals)

    @property
    def is_shared(self) -> bool:
        """Whether there are other processes."""
        return self._columns > 1

    def begin(self, process_id: int) -> None:
        """Empties the column, and says whose it is now; 0: nobody's."""
        with self.lock():
            self._process_ids[self._column] = process_id
            self._totals[self._column] = 0
            counts = self._counts[self._column].cast("B")
            counts[:] = bytes(len(counts))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes out while something is looked up and changed."""
        with self._block.lock(TABLE):
            yield

    @contextmanager
    def lock_log(self) -> Iterator[None]:
        """Keeps other processes from writing into the log."""
        with self._block.lock(LOG):
            yield

    def look_up(self, name: str) -> Client | None:
        """Returns a client, with the lock held; None if there is no room for it."""
        digest = int.from_bytes(
            blake2b(name.encode(), digest_size=NUMBER_BYTES, key=self._key).digest(), signed=True
        )
        # No digest is 0: that is an empty place.
        digest = digest or 1
        places = [(digest + step) % SLOTS for step in range(PROBED)]
        for place in places:
            if self._digests[place] == digest:
                return Client(place, self._used_until[place], self._sum(place))
        free = [place for place in places if not self._sum(place)]
        if not free:
            return None
        place = min(free, key=self._used_until.__getitem__)
        self._digests[place], self._used_until[place] = digest, 0
        return Client(place, 0, 0)

    def use(self, client: Client, until: float) -> None:
        """Notes when a client has used up what it is allowed."""
        self._used_until[client.place] = until

    def add(self, client: Client, count: int) -> None:
        """Notes that so many more of its requests are worked on or wait; fewer if negative."""
        self._counts[self._column][client.place] += count
        self._totals[self._column] += count

    def _sum(self, place: int) -> int:
        return sum(counts[place] for counts in self._counts)


def measure(columns: int) -> int:
    """Returns how many bytes the table of so many processes takes."""
    return KEY_BYTES + NUMBER_BYTES * (2 * columns + (2 + columns) * SLOTS)


def _fill(block: SharedBlock) -> SharedBlock:
    # So that nobody can choose addresses that take each other's places.
    block.memory[:KEY_BYTES] = os.urandom(KEY_BYTES)
    return block
