"""What was fetched or computed for a shard and is not committed yet, chunk by chunk in a bucket.

The caches are files of the machine that a run is on. If it dies, another machine goes on from these
objects: a chunk is lost at most, and no server is asked twice. They are removed once the shard is
committed. With tables in a folder there are none.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from laion_assets.stores.locks import name_digest
from laion_assets.stores.object_store import ObjectStore

if TYPE_CHECKING:
    from laion_assets.stores.lance_store import LanceStore

FOLDER = "unfinished"
# Objects that are read at a time: some megabytes each.
_AT_ONCE = 16


@dataclass(frozen=True)
class ShardChunks:
    """The chunks of one kind for one shard.

    Attributes:
        objects: the bucket.
        shard: partition key.
        kind: `pictures` or `vectors`.
        variant: size of the pictures, or digest of the encoder: those of another one do not count.
    """

    objects: ObjectStore
    shard: str
    kind: str
    variant: str
    _seen: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def of(cls, store: LanceStore, shard: str, kind: str, variant: str) -> ShardChunks | None:
        """Returns the chunks beside the tables; None if these are in a folder."""
        objects = store.objects
        return None if objects is None else cls(objects, shard, kind, variant)

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Writes a chunk: all of these rows or none."""
        import pyarrow as pa

        table = pa.Table.from_pylist(list(rows))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        name = f"{uuid.uuid4()}.arrow"
        self.objects.write(f"{self._prefix}{name}", sink.getvalue().to_pybytes())
        self._seen.add(name)

    def read_new(self) -> Iterator[list[dict[str, Any]]]:
        """Yields the rows of each chunk that was neither written nor read here, the oldest first.

        A chunk that is removed meanwhile is left out.
        """
        times = self.objects.list_times(self._prefix)
        names = sorted(times.keys() - self._seen, key=lambda name: (times[name], name))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start in range(0, len(names), _AT_ONCE):
                part = names[start : start + _AT_ONCE]
                contents = pool.map(self.objects.read, (f"{self._prefix}{name}" for name in part))
                for name, content in zip(part, contents, strict=True):
                    self._seen.add(name)
                    if content is not None:
                        yield _decode(content)

    @property
    def _prefix(self) -> str:
        return f"{_name_folder(self.shard)}{self.kind}/{self.variant}/"


def remove_chunks(store: LanceStore, shards: Collection[str], kind: str | None = None) -> None:
    """Removes the chunks of shards, of one kind or of all, whatever their variant."""
    if objects := store.objects:
        for shard in shards:
            prefix = _name_folder(shard) + (f"{kind}/" if kind else "")
            objects.remove_all([f"{prefix}{name}" for name in objects.list_names(prefix)])


def remove_old_chunks(store: LanceStore, since: float) -> None:
    """Removes the chunks that were written before then, in seconds since 1970."""
    if objects := store.objects:
        moment = datetime.fromtimestamp(since, UTC)
        times = objects.list_times(f"{FOLDER}/")
        objects.remove_all([f"{FOLDER}/{name}" for name, at in times.items() if at <= moment])


def _name_folder(shard: str) -> str:
    return f"{FOLDER}/{name_digest(shard)}/"


def _decode(content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa

    with pa.ipc.open_stream(content) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return rows
