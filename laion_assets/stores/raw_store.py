"""The verified parquet files: the only place that knows where they are and what lies beside them.

Everything else asks a `RawStore` for a shard by name, so that the files can lie in another place
than a local folder without a change outside this package.

Of a shard there are `<shard>.parquet` and its record in JSON, `<shard>.json`. Files that are not
whole yet have hidden names, which begin with a dot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from laion_assets.errors import ShardError
from laion_assets.stores.disk_space import check_space
from laion_assets.stores.locks import lock_shard
from laion_assets.stores.part import Part
from laion_assets.stores.reasons import find_system_reason
from laion_assets.stores.rewriting import remove_from_parquet, remove_members, remove_vectors

if TYPE_CHECKING:
    from filelock import FileLock

_NAME = re.compile(
    r"([^.].*)\.(?:parquet|json)|\.(.+)\.(?:part|part-origin|link|record)", flags=re.DOTALL
)


@dataclass(frozen=True)
class RawShard:
    """The record of one verified parquet file.

    Attributes:
        shard: partition key.
        source: where the file came from.
        sha256: of the content, in hexadecimal.
        file_bytes: size.
        file_rows: rows, by the footer.
        modified_ns: time of the last change; another one means another content.
        is_utf8: whether its texts are UTF-8; if not they are repaired as they are loaded.
        version: what the source called this content; None if it has no word for it.
        fetched_at: when it came, or was found unchanged in another place; ISO 8601, UTC.
        has_pictures: whether it brings pictures, in a column or in an archive beside it.
        archive_sha256: of the archive beside it; None if there is none.
        archive_version: what the source called the content of the archive.
        has_vectors: whether it brings vectors, in a column or in a file beside it.
        vectors_sha256: of the file of vectors beside it; None if there is none.
        vectors_version: what the source called the content of that file.
        vectors_sought: SHA-256 of the parquet file beside which it was looked for on a server;
            None if it was not.
        removed_rows: positions of the rows that were removed from the file here, by the entry of
            the list of removals. They are still rows, of nothing but NULL, so that the others keep
            their places.
        kept_sha256: of the file here, if rows were removed from it; `sha256` is then that of the
            file at the source, by which it is known.
        is_wanted_whole: whether the next fetch is to bring the file of the source anew: an entry by
            which rows were removed is no longer on the list.
    """

    shard: str
    source: str
    sha256: str
    file_bytes: int
    file_rows: int
    modified_ns: int
    is_utf8: bool = True
    version: str | None = None
    fetched_at: str = field(default="", compare=False)
    has_pictures: bool = False
    archive_sha256: str | None = None
    archive_version: str | None = None
    has_vectors: bool = False
    vectors_sha256: str | None = None
    vectors_version: str | None = None
    vectors_sought: str | None = None
    removed_rows: Mapping[str, list[int]] = field(default_factory=dict, hash=False)
    kept_sha256: str | None = None
    is_wanted_whole: bool = False

    @property
    def file_sha256(self) -> str:
        """SHA-256 of the file that is here, in hexadecimal."""
        return self.kept_sha256 or self.sha256

    def list_removed(self) -> list[int]:
        """Returns the positions of the rows that were removed, ascending."""
        return sorted({row for rows in self.removed_rows.values() for row in rows})


@dataclass(frozen=True)
class RawStore:
    """The verified files of the project, one a shard.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def path(self, shard: str) -> Path:
        """Returns where the file of a shard is, whether or not it is there."""
        return self.folder / f"{shard}.parquet"

    def archive_path(self, shard: str) -> Path:
        """Returns where the archive of pictures beside a shard is, whether or not it is there."""
        return self.archives.folder / f"{shard}.tar"

    @property
    def archives(self) -> RawStore:
        """The folder of the archives, for links and parts on their way."""
        return RawStore(self.folder / "archives")

    def vectors_path(self, shard: str) -> Path:
        """Returns where the file of vectors beside a shard is, whether or not it is there."""
        return self.vectors.folder / f"{shard}.npy"

    @property
    def vectors(self) -> RawStore:
        """The folder of the files of vectors, for links and parts on their way."""
        return RawStore(self.folder / "vectors")

    def find(self, shard: str) -> RawShard | None:
        """Returns the record of a shard; None if there is no such file as it describes.

        The content is not read: a file with another time counts as another one.
        """
        try:
            record, is_same = self._read_record(shard)
        except ShardError:
            return None
        return record if is_same else None

    def is_here(self, shard: str) -> bool:
        """Returns whether a shard has a file and a record; its content is not looked at."""
        return self.path(shard).exists() and self._record_path(shard).exists()

    def find_all(self, shards: Iterable[str]) -> dict[str, RawShard]:
        """Returns the records of those of these shards whose file is there and can be read."""
        found = {}
        for shard in shards:
            # Whoever fetches the shard says why it, or its folder, cannot be used.
            try:
                record, is_same = self._read_record(shard)
            except (ShardError, OSError):
                continue
            if is_same:
                found[shard] = record
        return found

    def read(self, shard: str) -> RawShard:
        """Returns the record of a shard.

        A file that was copied without its time has the same content still: then the record gets the
        new time.

        Raises:
            ShardError: the shard was not fetched, or its file has changed since.
        """
        record, is_same = self._read_record(shard)
        if is_same:
            return record
        path = self.path(shard)
        status = path.stat()
        if status.st_size != record.file_bytes or hash_file(path) != record.file_sha256:
            raise ShardError(
                f"{path}: changed after it was verified; materialize `raw_shards` again",
                code="raw-file-changed",
            )
        record = replace(record, modified_ns=status.st_mtime_ns)
        # Whoever may only read compares the content again the next time.
        with suppress(OSError):
            self.write_record(record)
        return record

    def is_as_recorded(self, shard: str, *, is_hashing: bool) -> bool:
        """Returns whether a file is the one of its record; writes nothing.

        Args:
            shard: partition key.
            is_hashing: whether to read the content even if size and time are the same.
        """
        try:
            record, is_same = self._read_record(shard)
        except ShardError:
            return False
        if is_same and not is_hashing:
            return True
        path = self.path(shard)
        return path.stat().st_size == record.file_bytes and hash_file(path) == record.file_sha256

    def find_whole(self, shard: str) -> RawShard | None:
        """Reads the content, and returns the record if it still is what was verified."""
        try:
            known = self.read(shard)
        except ShardError:
            return None
        return known if hash_file(self.path(shard)) == known.file_sha256 else None

    def check_unchanged(self, raw: RawShard) -> None:
        """Checks that the file is still the one of the record, after it was read.

        Raises:
            ShardError: another file was fetched meanwhile.
        """
        if self.read(raw.shard).file_sha256 != raw.file_sha256:
            raise ShardError(
                f"{raw.source}: the file was replaced while it was loaded; "
                "materialize `images` again",
                code="raw-file-replaced",
            )

    def lock(self, shard: str) -> FileLock:
        """Returns the lock of those who write the files of one shard; makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return lock_shard(self.folder, shard)

    def part(self, shard: str) -> Part:
        """Returns the unfinished download of a shard, of which there may be nothing yet."""
        return Part(self.folder, shard)

    @contextmanager
    def link(self, shard: str, origin: Path) -> Iterator[Path]:
        """Yields a hard link to a file, or a copy where the file system allows none.

        It has a hidden name, and is gone after the block unless it was put in place.

        Raises:
            DiskSpaceError: it has to be copied, and the disk has no room for it.
            OSError: the file cannot be read, or the disk is full.
        """
        temporary = self._hidden(shard, "link")
        try:
            temporary.unlink(missing_ok=True)
            try:
                os.link(origin, temporary)
            except FileNotFoundError:
                raise
            except OSError:
                check_space(self.folder, origin.stat().st_size, f"copying {origin}")
                shutil.copyfile(origin, temporary)
            yield temporary
        finally:
            # A rename onto another link of the same file does nothing, and leaves the first name.
            temporary.unlink(missing_ok=True)

    def put_in_place(self, record: RawShard, path: Path) -> None:
        """Makes a verified file, a link or a whole part, the file of its shard."""
        # First what may fail on a full disk; then two renames.
        temporary = self._write_new_record(record)
        path.replace(self.path(record.shard))
        temporary.replace(self._record_path(record.shard))

    def remove_rows(
        self, raw: RawShard, rows: Mapping[str, Iterable[int]], keys: Collection[str] = ()
    ) -> RawShard:
        """Removes rows from the files of a shard for good, and returns its record.

        They stay as rows without any value. The files at the source are not touched.

        Args:
            raw: the record of the file.
            rows: positions of rows, by the entry of the list of removals.
            keys: by which an archive beside the file names what is theirs.

        Raises:
            ShardError: another file was fetched meanwhile.
            OSError: the files cannot be written.
        """
        with self.lock(raw.shard):
            self.check_unchanged(raw)
            added = {v: sorted({*raw.removed_rows.get(v, ()), *rows[v]}) for v in rows}
            record = replace(raw, removed_rows={**raw.removed_rows, **added})
            places = record.list_removed()
            path = self.path(raw.shard)
            # What lies beside it first: the file is the last that says what belongs to its rows.
            remove_members(self.archive_path(raw.shard), keys)
            remove_vectors(self.vectors_path(raw.shard), places)
            unfinished = self._hidden(raw.shard, "link")
            try:
                remove_from_parquet(path, unfinished, places)
                status = unfinished.stat()
                record = replace(
                    record,
                    kept_sha256=hash_file(unfinished),
                    file_bytes=status.st_size,
                    modified_ns=status.st_mtime_ns,
                )
                self.put_in_place(record, unfinished)
            finally:
                unfinished.unlink(missing_ok=True)
        return record

    def want_whole(self, shard: str, *, is_wanted: bool) -> None:
        """Notes whether the next fetch of a shard is to bring the file of its source anew.

        A shard that another process fetches or rewrites now is left as it is.
        """
        with suppress(Timeout), self.lock(shard).acquire(blocking=False):
            raw = self.find(shard)
            if raw is not None and raw.is_wanted_whole != is_wanted:
                self.write_record(replace(raw, is_wanted_whole=is_wanted))

    def write_record(self, record: RawShard) -> Path:
        """Writes the record of a file that is there, and returns where it is."""
        return self._write_new_record(record).replace(self._record_path(record.shard))

    def list_shards(self) -> set[str]:
        """Returns the shards of which a file, a record or a part of a download is there."""
        names = (path.name for path in self.folder.glob("*"))
        return {match[1] or match[2] for match in map(_NAME.fullmatch, names) if match}

    def list_unfinished(self) -> set[str]:
        """Returns the shards of which a file is there that is not whole."""
        names = (path.name for path in self.folder.glob(".*"))
        return {match[2] for match in map(_NAME.fullmatch, names) if match and match[2]}

    def list_unfinished_files(self, shard: str) -> list[Path]:
        """Returns the files of a shard that are not whole, where they are."""
        kinds = ("part", "part-origin", "link", "record")
        return [path for kind in kinds if (path := self._hidden(shard, kind)).exists()]

    def remove(self, shard: str) -> None:
        """Removes the file of a shard, its record, and what there is of a download."""
        if not self.folder.exists():
            return
        with self.lock(shard):
            self.part(shard).remove()
            for kind in ("link", "record"):
                self._hidden(shard, kind).unlink(missing_ok=True)
            for beside in (self.archives, self.vectors):
                beside.part(shard).remove()
                beside._hidden(shard, "link").unlink(missing_ok=True)
            self.archive_path(shard).unlink(missing_ok=True)
            self.vectors_path(shard).unlink(missing_ok=True)
            # The file is the last that goes: it alone says whether it is a sample.
            self._record_path(shard).unlink(missing_ok=True)
            self.path(shard).unlink(missing_ok=True)

    def find_reason(self, error: OSError) -> str | None:
        """Returns what the system refuses here and what to do, as `find_system_reason`.

        A file on its way has a hidden name, which nobody knows: the folder is named instead.
        """
        reason = find_system_reason(error, self.folder)
        if reason is not None:
            for hidden in {str(name) for name in (error.filename, error.filename2) if name}:
                if Path(hidden).parent == self.folder:
                    reason = reason.replace(hidden, str(self.folder), 1)
        return reason

    def _read_record(self, shard: str) -> tuple[RawShard, bool]:
        """Returns the record of a file, and whether its size and time are those of the record."""
        # Text: with thousands of shards, to make paths takes longer than to look at the files.
        path = f"{self.folder}/{shard}.parquet"
        try:
            record = _read_record(f"{self.folder}/{shard}.json")
            status = os.stat(path)  # noqa: PTH116 - see above
        except FileNotFoundError:
            raise ShardError(
                f"{path}: not fetched yet; materialize `raw_shards` first", code="raw-file-missing"
            ) from None
        except (ValueError, TypeError):
            reason = "its record cannot be read"
            raise ShardError(
                f"{path}: {reason}; materialize `raw_shards` again", code="raw-record-unreadable"
            ) from None
        is_same = (status.st_size, status.st_mtime_ns) == (record.file_bytes, record.modified_ns)
        return record, is_same

    def _record_path(self, shard: str) -> Path:
        return self.folder / f"{shard}.json"

    def _hidden(self, shard: str, kind: str) -> Path:
        return self.folder / f".{shard}.{kind}"

    def _write_new_record(self, record: RawShard) -> Path:
        temporary = self._hidden(record.shard, "record")
        temporary.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
        return temporary


def _read_record(path: str) -> RawShard:
    status = os.stat(path)  # noqa: PTH116 - as above
    return _parse_record(path, status.st_ino, status.st_mtime_ns, status.st_size)


# A tick looks at all shards, every half minute in one process. A record is never written into: a
# new one takes its place.
@lru_cache(maxsize=10_000)
def _parse_record(path: str, *_stamp: int) -> RawShard:
    return RawShard(**json.loads(Path(path).read_text(encoding="utf-8")))


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
