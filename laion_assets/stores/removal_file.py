"""Keeps the list of removals beside the Lance tables, where everything that reads them finds it.

The list itself lies elsewhere. What is kept of it are digests: they tell whether a row is on it,
and hold nothing of what was removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laion_assets.errors import LaionError
from laion_assets.stores.object_store import ObjectStore


@dataclass(frozen=True)
class Entry:
    """An entry of the list.

    Attributes:
        line: where it stands, from 1.
        kind: `url`, `host`, `below` (a host and all below it), `image_id` or `picture`.
        value: of a picture its MD5 or SHA-256, of an image its id; else the SHA-256 of the URL or
            host in its normal form (`removals/entries.py`), in hexadecimal.
        host: the SHA-256 of the host of a URL; None for the other kinds.
    """

    line: int
    kind: str
    value: str
    host: str | None = None


@dataclass(frozen=True)
class Audit:
    """What a refresh of the list found.

    Attributes:
        at: when; ISO 8601, UTC.
        sha256: of the list, in hexadecimal.
        entry_count: entries in it.
        row_count: rows that are or will be removed by them.
        shard_count: shards that hold them.
        unmatched: entries that no row matches: their line, and the first digits of their value.
        returning: shards of which rows were removed by entries that are no longer on the list, and
            how many. Only the shard's source brings them back.
    """

    at: str
    sha256: str
    entry_count: int
    row_count: int
    shard_count: int
    unmatched: tuple[tuple[int, str], ...] = ()
    returning: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Removals:
    """The list of removals as it was last read.

    Attributes:
        location: where it was read.
        sha256: of its bytes, in hexadecimal; empty if none was ever read.
        etag: the server's name for this content.
        changed_at: when this content was first read; ISO 8601, UTC.
        entries: in the order of the list, each once.
        previous_count: entries of the content before.
        unread_lines: lines that are no entry.
        found: ids of the images whose picture an entry names, by the value of the entry. They are
            kept, as a picture can be looked for only while it is there.
        pending: shards that hold rows on the list, and the load that has them. A shard of which
            another load is there was loaded with the list.
        audits: what each refresh found that changed anything, the last first.
        taken_out_at: when rows that were loaded came onto the list the last time; ISO 8601, UTC.
            What was made of the tables before may have words of theirs.
    """

    location: str = ""
    sha256: str = ""
    etag: str | None = None
    changed_at: str = ""
    entries: tuple[Entry, ...] = ()
    previous_count: int | None = None
    unread_lines: tuple[int, ...] = ()
    found: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pending: Mapping[str, str] = field(default_factory=dict)
    audits: tuple[Audit, ...] = ()
    taken_out_at: str = ""

    @property
    def digest(self) -> str:
        """Names the rows that are on the list: another one may have others on it."""
        values = sorted((entry.kind, entry.value) for entry in self.entries)
        content = [values, sorted((value, sorted(ids)) for value, ids in self.found.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True)
class RemovalFile:
    """Where the list is kept.

    Attributes:
        path: the file.
        objects: the bucket that has it in place of the folder; None: it is in the folder.
    """

    path: Path
    objects: ObjectStore | None = None

    @property
    def _place(self) -> str:
        return f"{self.objects.uri}/{self.path.name}" if self.objects else str(self.path)

    def read(self) -> Removals:
        """Returns the list; an empty one if none was ever read.

        Raises:
            LaionError: the file is damaged. Nothing is shown then that may have to be hidden.
        """
        content = self._read_bytes()
        if content is None:
            return Removals()
        try:
            return _decode(json.loads(content))
        except (ValueError, TypeError, KeyError) as error:
            raise LaionError(
                f"{self._place}: the list of removals is damaged; restore it from a backup, or "
                "remove it and materialize `removals`",
                code="removals-damaged",
            ) from error

    def write(self, removals: Removals) -> None:
        """Replaces the list; whoever reads meanwhile gets the old one or the new one."""
        content = json.dumps(asdict(removals), indent=1)
        if self.objects:
            self.objects.write(self.path.name, content.encode())
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(f".{self.path.name}.unfinished")
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(self.path)

    @property
    def stamp(self) -> tuple[int | str, int]:
        """Changes with every write; it costs a look at the file alone."""
        if self.objects:
            return self.objects.find_stamp(self.path.name) or "", 0
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino

    def _read_bytes(self) -> bytes | None:
        if self.objects:
            return self.objects.read(self.path.name)
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None


def _decode(data: Mapping[str, Any]) -> Removals:
    return Removals(
        **{
            **data,
            "entries": tuple(Entry(**entry) for entry in data["entries"]),
            "unread_lines": tuple(data["unread_lines"]),
            "found": {value: tuple(ids) for value, ids in data["found"].items()},
            "audits": tuple(
                Audit(**{n: _freeze(value) for n, value in audit.items()})
                for audit in data["audits"]
            ),
        }
    )


def _freeze(value: Any) -> Any:
    return tuple(map(tuple, value)) if isinstance(value, list) else value
