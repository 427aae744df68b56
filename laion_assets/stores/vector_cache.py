"""Keeps the vectors that encoders made, by picture, so that none is computed twice.

It survives what a shard goes through: a run that was cut off goes on where it was, and a new load
of the shard, or another shard with the same picture, finds its vector here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_assets.stores.cache_file import batch_keys, open_cache
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets.stores.sql import load_sql


@dataclass(frozen=True)
class VectorCache:
    """The vectors of one encoder, in a folder.

    Attributes:
        folder: holds the file; made when the first vector is kept.
        encoder: digest of the encoder.
        chunks: where other machines find what is kept here; None: nowhere.
    """

    folder: Path
    encoder: str
    chunks: ShardChunks | None = None

    def put(self, vectors: Mapping[str, bytes | None]) -> None:
        """Keeps vectors, all of them or none.

        Args:
            vectors: float16 numbers by the SHA-256 of the picture; None: it has none.
        """
        self._insert(vectors)
        self.share(vectors)

    def share(self, vectors: Mapping[str, bytes | None]) -> None:
        """Puts vectors where other machines find them, all of them or none."""
        if self.chunks is not None:
            self.chunks.add([{"picture": p, "vector": vector} for p, vector in vectors.items()])

    def take_chunks(self) -> Iterator[Mapping[str, bytes | None]]:
        """Keeps what other machines have put for the shard, and yields it, chunk by chunk."""
        if self.chunks is None:
            return
        for rows in self.chunks.read_new():
            vectors = {row["picture"]: row["vector"] for row in rows}
            self._insert(vectors)
            yield vectors

    def _insert(self, vectors: Mapping[str, bytes | None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open_cache(self._path, "stores/cache_create_vectors") as connection, connection:
            rows = [(self._digest(picture), vector) for picture, vector in vectors.items()]
            connection.executemany(load_sql("stores/cache_insert_vectors"), rows)

    def read(self, pictures: Iterable[str]) -> dict[str, bytes | None]:
        """Returns what is known, by the SHA-256 of the picture."""
        found: dict[str, bytes | None] = {}
        for batch in batch_keys(pictures):
            by_digest = {self._digest(picture): picture for picture in batch}
            for digest, vector in self._select("stores/cache_select_vectors", by_digest):
                found[by_digest[digest]] = vector
        return found

    def find_missing(self, pictures: Iterable[str]) -> Iterator[str]:
        """Yields the pictures of which nothing is known, in their order."""
        for batch in batch_keys(pictures):
            digests = {picture: self._digest(picture) for picture in batch}
            rows = self._select("stores/cache_select_vector_digests", digests.values())
            known = {digest for (digest,) in rows}
            yield from (picture for picture in batch if digests[picture] not in known)

    def _select(self, name: str, digests: Iterable[str]) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        with open_cache(self._path, "stores/cache_create_vectors") as connection:
            return connection.execute(load_sql(name), (json.dumps(list(digests)),)).fetchall()

    @property
    def _path(self) -> Path:
        return self.folder / "vectors.sqlite"

    def _digest(self, picture: str) -> str:
        return hashlib.sha256(f"{self.encoder} {picture}".encode()).hexdigest()[:32]
