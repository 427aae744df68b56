"""Files of values that somebody made elsewhere: parquet, CSV or Lance, on this machine."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.errors import LaionError, first_line
from laion_assets.stores.sql import load_sql, quote_identifier, quote_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lance
    import pyarrow as pa

# The lines of a file, as `ValueFile.show` lets an engine see them.
LINES = "lines"
# What is written within so many seconds may be written again without that its time shows it.
FRESH_S = 2


class ValueFileError(LaionError):
    """A file of values that is not there or cannot be read."""


@dataclass(frozen=True)
class ValueFile:
    """A file with a value for each key.

    Attributes:
        path: where it is; a folder, if it is Lance.
        kind: parquet, csv or lance.
    """

    path: Path
    kind: str

    def list_columns(self, engine: duckdb.DuckDBPyConnection) -> list[str]:
        """Returns the names of its columns.

        Raises:
            ValueFileError: it cannot be read.
        """
        if self.kind == "lance":
            return list(self._open_lance().schema.names)
        query = load_sql(f"stores/list_columns_of_{self.kind}")
        rows = self._ask(engine, query.format(path=quote_path(str(self.path)))).fetchall()
        return [str(name) for name, *_ in rows]

    def find_type(self, engine: duckdb.DuckDBPyConnection, column: str) -> str:
        """Returns the DuckDB type of a column; of CSV, the one that all of its values have."""
        if self.kind == "csv":
            query = load_sql("stores/describe_csv").format(
                path=quote_path(str(self.path)), column=quote_identifier(column)
            )
        else:
            self.show(engine, column, column)
            query = load_sql("stores/describe_lines")
        ((_, kind, *_),) = self._ask(engine, query).fetchall()
        return str(kind)

    def show(self, engine: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
        """Lets an engine see the file as `lines`: key, value and number of each line.

        Of CSV, all are texts. The next query may read them, once.

        Args:
            engine: may open files.
            key: column of the keys.
            value: column of the values.
        """
        if self.kind == "lance":
            engine.register(LINES, self._read_lance(key, value))
            return
        query = load_sql(f"stores/view_lines_of_{self.kind}").format(
            path=quote_path(str(self.path)),
            key=quote_identifier(key),
            value=quote_identifier(value),
        )
        self._ask(engine, query)

    def digest(self) -> str:
        """Returns a digest of its content: another content, another digest.

        Of Lance it is made of the names of the data files, which are never written again.

        Raises:
            ValueFileError: it cannot be read.
        """
        if self.kind == "lance":
            dataset = self._open_lance()
            files = [
                [f.path for f in fragment.data_files()] + [str(fragment.deletion_file())]
                for fragment in dataset.get_fragments()
            ]
            text = json.dumps([str(dataset.schema), files])
            return hashlib.sha256(text.encode()).hexdigest()
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise self._unreadable(error) from error

    def _open_lance(self) -> lance.LanceDataset:
        import lance

        if not any(self.path.glob("_versions/*.manifest")):
            raise ValueFileError(
                f"{self.path}: there is no Lance table", code="value-file-no-lance"
            )
        try:
            return lance.dataset(str(self.path))
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def _read_lance(self, key: str, value: str) -> pa.RecordBatchReader:
        import pyarrow as pa

        dataset = self._open_lance()
        batches = dataset.scanner(
            columns=list(dict.fromkeys([key, value])),
            scan_in_order=True,
            batch_size=8192,
            batch_readahead=2,
        ).to_batches()
        types = [dataset.schema.field(key).type, dataset.schema.field(value).type, pa.int64()]
        schema = pa.schema(list(zip(("key", "value", "line"), types, strict=True)))

        def number() -> Iterator[pa.RecordBatch]:
            line = 0
            for batch in batches:
                lines = pa.array(range(line, line + len(batch)), pa.int64())
                line += len(batch)
                yield pa.RecordBatch.from_arrays([batch[key], batch[value], lines], schema=schema)

        return pa.RecordBatchReader.from_batches(schema, number())

    def _ask(self, engine: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
        try:
            return engine.execute(query)
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ValueFileError:
        reason = getattr(error, "strerror", None) or first_line(error)
        return ValueFileError(
            f"{self.path}: cannot be read ({reason}); put the file there, or correct its name",
            code="value-file-unreadable",
        )


class FileDigests:
    """Digests of files, kept so that a large file is read again only after a change.

    A file is taken for the same while its size and its time are.

    Args:
        path: where they are kept. Without them, all are made again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, file: ValueFile) -> str:
        """Returns the digest of a file.

        Raises:
            ValueFileError: it cannot be read.
        """
        if file.kind == "lance":
            return file.digest()
        try:
            facts = file.path.stat()
        except OSError:
            return file.digest()
        mark = [facts.st_size, facts.st_mtime_ns]
        known = self._read()
        entry = known.get(str(file.path))
        if isinstance(entry, list) and entry[:2] == mark:
            return str(entry[2])
        digest = file.digest()
        if time.time() - facts.st_mtime > FRESH_S:
            self._write({**known, str(file.path): [*mark, digest]})
        return digest

    def _read(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, list[object]]) -> None:
        # Of two processes at once one is lost, and its file is read again another time.
        unfinished = self._path.with_name(f".{self._path.name}.{time.time_ns()}")
        try:
            unfinished.write_text(json.dumps(known), encoding="utf-8")
            unfinished.replace(self._path)
        except OSError:
            # Who may not write reads again.
            unfinished.unlink(missing_ok=True)
