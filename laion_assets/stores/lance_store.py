"""The LanceDB database: the only place that knows where its tables are and how they are opened.

Everything else asks a `LanceStore` for a table by name, so that the tables can lie in another place
than a local folder without a change outside this package.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import Timeout

from laion_assets.errors import LaionError
from laion_assets.schemas import SCHEMA_VERSION
from laion_assets.settings import find_catalog, hush_lance
from laion_assets.stores.disk_space import check_space
from laion_assets.stores.locks import Lock, lock, name_digest
from laion_assets.stores.migration import check_not_newer, read_lance_version
from laion_assets.stores.object_store import (
    ObjectStore,
    check_safe,
    find_lance_options,
    open_in_bucket,
)
from laion_assets.stores.postgres import CatalogLock, check_locks
from laion_assets.stores.removal_file import RemovalFile
from laion_assets.stores.version_files import link_files, parse_version

if TYPE_CHECKING:
    import lance
    import pyarrow as pa
    from lance.fragment import FragmentMetadata
    from lance.lance import _Session

    from laion_assets.settings import Settings

# Format 2.2, the default, keeps a column with one value a fragment, as `shard` is, so that reading
# one row of it makes all of them: 3 ms a fragment, not 0.1. The other columns are the same in both.
FORMAT: Literal["2.1"] = "2.1"
# Of a store that remembers what it read.
_INDEX_CACHE_BYTES = 64 << 20
_METADATA_CACHE_BYTES = 128 << 20


@dataclass(frozen=True)
class LanceStore:
    """The Lance tables of the project.

    Attributes:
        folder: the LanceDB database; with a bucket, its unfinished files and locks.
        known_schema: the newest version of the schema that can be opened.
        bucket: where the LanceDB database is, `s3://<bucket>/<prefix>`; None: in the folder.
        session: remembers what was read of them; None: nothing is.
    """

    folder: Path
    known_schema: int = SCHEMA_VERSION
    bucket: str | None = None
    session: _Session | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns the tables of a project."""
        return cls(settings.lance_dir, bucket=settings.lance_bucket)

    def remember(self) -> LanceStore:
        """Returns the same tables, for work in which they are opened time and again.

        The manifest of a version is read once then: one of thousands of shards has a megabyte. Not
        for longer than a table lives, as another in its place would have the same versions.
        """
        from lance.lance import _Session

        # Each dataset has caches of gigabytes else, but not for long.
        return replace(self, session=_Session(_INDEX_CACHE_BYTES, _METADATA_CACHE_BYTES))

    def __post_init__(self) -> None:
        """Sets what Lance writes to the terminal, before it is imported for the first time."""
        hush_lance()

    def uri(self, table: str) -> str:
        """Returns where a table is."""
        return f"{self.place}/{table}.lance"

    @property
    def place(self) -> str:
        """Where the LanceDB database is."""
        return self.bucket or str(self.folder)

    @property
    def objects(self) -> ObjectStore | None:
        """The objects of the LanceDB database; None: it is in a folder."""
        return ObjectStore(self.bucket) if self.bucket else None

    @property
    def _options(self) -> dict[str, str] | None:
        """How Lance asks for the tables."""
        return find_lance_options() if self.bucket else None

    def _prepare_write(self) -> None:
        """Checks that what is written will be there, and that no other process has its locks.

        Raises:
            LaionError: the bucket cannot take commits of several writers, or a lock was lost.
        """
        check_locks()
        if self.bucket:
            check_safe(self.bucket)

    @property
    def removals(self) -> RemovalFile:
        """The list of removals, which whoever reads a table has to leave out."""
        return RemovalFile(self.folder / "removals.json", self.objects)

    @classmethod
    def beside(cls, uri: str) -> LanceStore | None:
        """Returns the store that a table is in; None if it is in no folder and no bucket."""
        if uri.startswith("s3://"):
            return cls(Path(), bucket=uri.rpartition("/")[0])
        path = uri.removeprefix("file://")
        return None if "://" in path else cls(Path(path).expanduser().parent)

    def list_versions_before(self, table: str, moment: datetime) -> set[int]:
        """Returns the versions of a table that were written before a moment; reads none of them."""
        if objects := self.objects:
            times = objects.list_times(f"{table}.lance/_versions/")
        else:
            with os.scandir(Path(self.uri(table)) / "_versions") as files:
                times = {f.name: datetime.fromtimestamp(f.stat().st_mtime, UTC) for f in files}
        versions = (parse_version(f"_versions/{name}") for name, at in times.items() if at < moment)
        return {version for version in versions if version is not None}

    def list_tables(self) -> list[str]:
        """Returns the names of the tables, those without a version included."""
        if objects := self.objects:
            folders = objects.list_folders()
            return sorted(n.removesuffix(".lance") for n in folders if n.endswith(".lance"))
        return sorted(path.stem for path in self.folder.glob("*.lance"))

    def find(self, table: str) -> lance.LanceDataset | None:
        """Opens the newest version of a table; None if it has none.

        A folder may be there without a version, if a process was killed while it made the first.

        Raises:
            LaionError: a newer version of this project has written it.
        """
        import lance

        uri = self.uri(table)
        if self.bucket:
            dataset = open_in_bucket(uri, self.session)
        else:
            is_there = any(Path(uri).glob("_versions/*.manifest"))
            dataset = lance.dataset(uri, session=self.session) if is_there else None
        if dataset is None:
            return None
        check_not_newer(uri, read_lance_version(dataset), self.known_schema)
        return dataset

    def open(self, table: str, version: int | str | None = None) -> lance.LanceDataset:
        """Opens a table, at its newest version or at another by number or tag.

        Raises:
            LaionError: the table has no version yet.
        """
        import lance

        if version is None:
            if (dataset := self.find(table)) is None:
                raise LaionError(
                    f"{self.uri(table)}: no table yet; run `laion backfill --all` first",
                    code="lance-table-missing",
                )
            return dataset
        return lance.dataset(
            self.uri(table), version=version, storage_options=self._options, session=self.session
        )

    def ensure(self, table: str, schema: pa.Schema) -> bool:
        """Creates a table, empty, unless it is there; returns whether it did.

        Safe from several processes at once.
        """
        if self.find(table) is None:
            with self.lock(table):
                if self.find(table) is None:
                    self.create(table, schema.empty_table())
                    return True
        return False

    def create(self, table: str, rows: pa.Table) -> None:
        """Creates a table with these rows.

        Raises:
            OSError: it is there already.
        """
        import lance

        self._prepare_write()
        lance.write_dataset(
            rows,
            self.uri(table),
            mode="create",
            data_storage_version=FORMAT,
            storage_options=self._options,
        )

    def overwrite(self, table: str, rows: pa.Table) -> lance.LanceDataset:
        """Writes a small table whole, as its next version."""
        import lance

        self._prepare_write()
        mode = "create" if self.find(table) is None else "overwrite"
        return lance.write_dataset(rows, self.uri(table), mode=mode, storage_options=self._options)

    def write_fragments(
        self, table: str, rows: pa.RecordBatchReader, max_rows: int
    ) -> list[FragmentMetadata]:
        """Writes rows into new fragments, which no version of the table has until a commit."""
        from lance.fragment import write_fragments

        self._prepare_write()
        return write_fragments(
            rows,
            self.uri(table) if self.session is None else self.open(table),
            schema=rows.schema,
            mode="append",
            max_rows_per_file=max_rows,
            storage_options=self._options,
        )

    def write_anew(
        self, table: str, rows: pa.RecordBatchReader, max_rows: int
    ) -> list[FragmentMetadata]:
        """Writes all rows of a table into new fragments, which nobody sees until `commit_anew`."""
        from lance.fragment import write_fragments

        self._prepare_write()
        return write_fragments(
            rows,
            self.uri(table),
            schema=rows.schema,
            mode="create" if self.find(table) is None else "overwrite",
            max_rows_per_file=max_rows,
            data_storage_version=FORMAT,
            storage_options=self._options,
        )

    def commit_anew(
        self, table: str, schema: pa.Schema, fragments: list[FragmentMetadata]
    ) -> lance.LanceDataset:
        """Puts fragments in place of all that a table has, in one commit; makes it if need be."""
        import lance

        dataset = self.find(table)
        operation = lance.LanceOperation.Overwrite(schema, fragments)
        read_version = 0 if dataset is None else dataset.version
        return self.commit(table, lance.Transaction(read_version, operation))

    def commit(
        self, table: str, transaction: Any, base: lance.LanceDataset | None = None
    ) -> lance.LanceDataset:
        """Commits a transaction; Lance puts it on top of what others have committed meanwhile.

        Args:
            table: its name.
            transaction: what to commit.
            base: the table, if it is open: to open it reads what is known of all fragments.

        Raises:
            LaionError: a lock that this process took was lost.
        """
        import lance

        self._prepare_write()
        if base is None and self.session is not None:
            base = self.open(table)
        return lance.LanceDataset.commit(
            self.uri(table) if base is None else base,
            transaction,
            storage_options=self._options,
        )

    def create_tag(
        self, table: str, tag: str, version: int, dataset: lance.LanceDataset | None = None
    ) -> None:
        """Gives a version of a table a tag. Hold a lock meanwhile, and check that it is a new one.

        Lance's own `tags.create` writes a temporary file to the percent-encoded path: beside a
        folder `müller` it makes one named `m%C3%BCller`, or fails if it may not. Its `tags.update`
        does not.

        Args:
            table: its name.
            tag: its new tag.
            version: what gets it.
            dataset: the table, if it is open.
        """
        self._prepare_write()
        created_at = datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")
        note = json.dumps({"version": version, "createdAt": created_at, "manifestSize": 0})
        if objects := self.objects:
            objects.write(f"{table}.lance/_refs/tags/{tag}.json", note.encode())
        else:
            folder = Path(self.uri(table)) / "_refs" / "tags"
            folder.mkdir(parents=True, exist_ok=True)
            # Lance reads `*.json` alone, so nobody sees the tag before it is whole.
            unfinished = folder / f".{tag}.unfinished"
            unfinished.write_text(note, encoding="utf-8")
            unfinished.replace(folder / f"{tag}.json")
        (self.open(table) if dataset is None else dataset).tags.update(tag, version)

    def add_data_file(self, table: str, path: Path) -> str:
        """Moves a file among the data files of a table, which no version of it has until a commit.

        Returns:
            Its name there.
        """
        name = f"{uuid.uuid4()}.lance"
        if objects := self.objects:
            self._prepare_write()
            objects.upload(path, f"{table}.lance/data/{name}")
            path.unlink()
        else:
            path.replace(Path(self.uri(table)) / "data" / name)
        return name

    def rename_data_file(self, table: str, name: str, new_name: str) -> None:
        """Renames a data file of a table that no version of it has yet."""
        if objects := self.objects:
            self._prepare_write()
            objects.rename(f"{table}.lance/data/{name}", f"{table}.lance/data/{new_name}")
        else:
            folder = Path(self.uri(table)) / "data"
            (folder / name).rename(folder / new_name)

    def copy_files(self, table: str, names: Collection[str], target: Path) -> None:
        """Puts files of a table, under the same names, into a folder: links where it can."""
        if objects := self.objects:
            for name in names:
                objects.download(f"{table}.lance/{name}", target / name)
        else:
            link_files(Path(self.uri(table)), names, target)

    def has_files(self, table: str, names: Collection[str]) -> bool:
        """Returns whether all of these files of a table are there."""
        if objects := self.objects:
            return set(objects.list_names(f"{table}.lance/")) >= set(names)
        return all((Path(self.uri(table)) / name).is_file() for name in names)

    def check_space(self, needed_bytes: int, what: str) -> None:
        """Checks that there is room for rows or indices of a table; a bucket has it.

        Raises:
            DiskSpaceError: the disk has less.
        """
        if not self.bucket:
            check_space(self.folder, needed_bytes, what)

    def staging_folder(self, shard: str, name: str) -> Path:
        """Returns an empty folder for files of a shard that are not whole yet.

        It is on the disk of the tables. What a killed process left in it is removed, so hold the
        lock of those who write there.
        """
        folder = self._staging / f"{name_digest(shard)}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def remove_staging(self, folder: Path) -> None:
        """Removes such a folder, whatever is in it."""
        shutil.rmtree(folder, ignore_errors=True)

    def clear_staging(self) -> int:
        """Removes what killed processes left of files that were not whole; returns its bytes."""
        freed_bytes = 0
        for folder in self._staging.glob("*"):
            with suppress(Timeout), self.lock(folder.name).acquire(blocking=False):
                freed_bytes += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
                shutil.rmtree(folder, ignore_errors=True)
        return freed_bytes

    @property
    def _staging(self) -> Path:
        return self.folder / ".unfinished"

    def lock_columns(self, shard: str, name: str) -> Lock:
        """Returns the lock of those who write a set of columns of one shard."""
        return self.lock(f"{name_digest(shard)}-{name}")

    def lock(self, name: str) -> Lock:
        """Returns a lock between processes; it waits as long as it takes."""
        catalog = find_catalog()
        if catalog:
            return CatalogLock(catalog, self._name_lock(name))
        return lock(self.folder, name)

    def lock_shard(self, shard: str) -> Lock:
        """Returns the lock of those who write one shard."""
        return self.lock(name_digest(shard))

    @contextmanager
    def lock_shards(self, shards: Collection[str]) -> Iterator[None]:
        """Holds the locks of several shards, so that no commit of theirs comes in between."""
        # In one order, so that two processes do not wait for each other.
        names = [name_digest(shard) for shard in sorted(shards)]
        catalog = find_catalog()
        with ExitStack() as stack:
            if catalog and names:
                # One session for all: Postgres has few.
                stack.enter_context(CatalogLock(catalog, *map(self._name_lock, names)))
            else:
                for name in names:
                    stack.enter_context(lock(self.folder, name))
            yield

    def _name_lock(self, name: str) -> str:
        return f"{self.place}/{name}"
