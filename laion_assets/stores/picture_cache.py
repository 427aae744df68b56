"""Keeps what became of each URL that was asked for a picture, so that nobody is asked twice.

One SQLite file, by the digest of URL and size: rows of a shard that is loaded again, and rows of
other shards with the same URL, find their pictures here. SQLite writes 10,000 pictures of 11 kB a
second and reads 48,000 in any order, far more than a fetch brings, and takes each batch whole or
not at all.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from laion_assets.stores.cache_file import batch_keys, open_cache, use_caches
from laion_assets.stores.locks import lock
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets.stores.sql import load_sql
from laion_assets.stores.sqlite_file import rewrite_sqlite

_Parameters = Sequence[object] | Mapping[str, object]


@dataclass(frozen=True)
class FetchedPicture:
    """What became of one URL.

    Attributes:
        url: as it was asked for.
        status: `success`, `failed_to_download` or `failed_to_resize`, as img2dataset has them.
        reason: why there is no picture, a word of the asset `pictures`; None if there is one.
        message: the same as a sentence.
        is_passing: whether to try again another time.
        http_status: of the last answer; None if there was none.
        final_url: where the last answer came from; None if there was none.
        seconds: from the first request to the end.
        received_bytes: of the picture as it came.
        fetched_at: ISO 8601, UTC.
        md5: of the bytes that came, in hexadecimal.
        picture: JPEG bytes, or those that came.
        width, height: of the picture, in pixels.
        original_width, original_height: of what came, upright.
        exif: of what came, as JSON.
    """

    url: str
    status: str
    reason: str | None = None
    message: str | None = None
    is_passing: bool = False
    http_status: int | None = None
    final_url: str | None = None
    seconds: float = 0
    received_bytes: int = 0
    fetched_at: str = ""
    md5: str | None = None
    picture: bytes | None = None
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    exif: str | None = None


_NAMES = {column.name for column in fields(FetchedPicture)}


@dataclass(frozen=True)
class PictureCache:
    """The cache in a folder.

    Attributes:
        folder: holds the file; made when the first picture is kept.
        size_name: a word for mode, size and quality: another one means another picture.
        chunks: where other machines find what is kept here; None: nowhere.
    """

    folder: Path
    size_name: str
    chunks: ShardChunks | None = None

    def lock_fetch(self) -> FileLock:
        """Returns the lock of whoever fetches: limits per host hold for one process at a time."""
        return lock(self.folder, "fetch")

    def use(self) -> AbstractContextManager[None]:
        """Keeps what is in the cache while the block runs."""
        return use_caches(self.folder)

    def put(self, results: Sequence[FetchedPicture]) -> None:
        """Keeps results, all of them or none; a newer one of a URL replaces the older."""
        self._insert(results)
        self.share(results)

    def share(self, results: Sequence[FetchedPicture]) -> None:
        """Puts results where other machines find them, all of them or none."""
        if self.chunks is not None:
            self.chunks.add([vars(result) for result in results])

    def take_chunks(self) -> Iterator[list[FetchedPicture]]:
        """Keeps what other machines have put for the shard, and yields it, chunk by chunk.

        A picture that is known here stays as it is.
        """
        if self.chunks is None:
            return
        for rows in self.chunks.read_new():
            # Another version of this project may have written it.
            results = [FetchedPicture(**{n: row[n] for n in _NAMES & row.keys()}) for row in rows]
            unknown = set(self.find_missing((r.url for r in results), is_retry=True))
            self._insert([result for result in results if result.url in unknown])
            yield results

    def _insert(self, results: Sequence[FetchedPicture]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._open() as connection, connection:
            rows = [(self._digest(result.url), *astuple(result)) for result in results]
            connection.executemany(load_sql("stores/cache_insert_fetched"), rows)

    def find_missing(self, urls: Iterable[str], *, is_retry: bool = False) -> Iterator[str]:
        """Yields the URLs of which nothing is known, in their order.

        Args:
            urls: in any number.
            is_retry: whether what may pass counts as unknown.
        """
        for batch in batch_keys(urls):
            parameters = {"digests": self._digest_all(batch), "is_retry": is_retry}
            known = {url for (url,) in self._select("stores/cache_select_known", parameters)}
            yield from (url for url in batch if url not in known)

    def read(self, urls: Iterable[str]) -> dict[str, FetchedPicture]:
        """Returns what is known, by URL."""
        found = {}
        for batch in batch_keys(urls):
            for row in self._select("stores/cache_select_fetched", (self._digest_all(batch),)):
                picture = FetchedPicture(*row)
                found[picture.url] = replace(picture, is_passing=bool(picture.is_passing))
        return found

    def measure(self, urls: Iterable[str]) -> int:
        """Returns the bytes of the pictures that are known of these URLs, each named once."""
        total = 0
        for batch in batch_keys(urls):
            for (size,) in self._select("stores/cache_sum_pictures", (self._digest_all(batch),)):
                total += size
        return total

    def forget(self, is_removed: Callable[[str], bool], md5s: Collection[str]) -> int:
        """Forgets what was fetched of some URLs, and writes the file anew without it.

        Args:
            is_removed: of a URL that was asked for, or to which another led.
            md5s: of pictures as they came, in hexadecimal.

        Returns:
            How many were forgotten.
        """
        digests = [
            digest
            for digest, url, final_url, md5 in self._select("stores/cache_select_urls", ())
            if md5 in md5s or is_removed(url) or (final_url is not None and is_removed(final_url))
        ]
        rewrite_sqlite(self._path, [load_sql("stores/cache_forget_fetched")], digests)
        return len(digests)

    def _select(self, name: str, parameters: _Parameters) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        with self._open() as connection:
            return connection.execute(load_sql(name), parameters).fetchall()

    @property
    def _path(self) -> Path:
        return self.folder / "fetched.sqlite"

    def _digest(self, url: str) -> str:
        return hashlib.sha256(f"{self.size_name} {url}".encode()).hexdigest()[:32]

    def _digest_all(self, urls: Iterable[str]) -> str:
        return json.dumps([self._digest(url) for url in urls])

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return open_cache(self._path, "stores/cache_create_fetched")
