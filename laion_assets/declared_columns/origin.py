"""What declared columns are made from, and which shards do not have them so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from laion_assets.curation.curation_file import (
    Curation,
    DeclaredColumn,
    JoinedColumn,
    digest_definition,
    reads_pictures,
)
from laion_assets.declared_columns.join import find_file
from laion_assets.stores.columns import DECLARED, NotedColumns, drop_columns, read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.value_file import FileDigests, ValueFileError

# Raise it when the same definition gives other values than before.
RULES_VERSION = 1
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Wanted:
    """The declared columns, with the content of their files.

    Attributes:
        curation: what is declared.
        contents: digest of the file of each joined column; `UNREADABLE` where it cannot be read.
    """

    curation: Curation = field(default_factory=Curation)
    contents: Mapping[str, str] = field(default_factory=dict)

    def name_origin(self, column: DeclaredColumn, pictures: str | None) -> str:
        """Returns what a column of a shard is made from, as `shard_columns` notes it.

        Args:
            column: the column.
            pictures: digest of what Lance has of the shard's pictures, None if nothing.
        """
        definition = digest_definition(column)
        parts = [definition, f"rules {RULES_VERSION}"]
        if isinstance(column, JoinedColumn):
            parts.append(f"file {self.contents[column.name]}")
        if reads_pictures(column):
            parts.append(f"pictures {pictures}")
        return "|".join(parts)


def look_at_files(database: Database, curation: Curation) -> Wanted:
    """Returns what is wanted, after a look at the files."""
    digests = FileDigests(database.path.with_name("file-digests.json"))
    contents = {}
    for column in curation.columns:
        if not isinstance(column, JoinedColumn):
            continue
        try:
            contents[column.name] = digests.find(find_file(column))
        except ValueFileError:
            contents[column.name] = UNREADABLE
    return Wanted(curation, contents)


def find_behind(
    wanted: Wanted, notes: Iterable[NotedColumns], loads: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Returns for each loaded shard the columns that Lance does not have as they are declared.

    With each column stands what it is to be made from.

    Args:
        wanted: the declared columns.
        notes: what is noted of all columns.
        loads: the present load of each shard.
    """
    if not wanted.curation.columns:
        return {}
    known = {(n.shard, n.column_set): n for n in notes if n.lance_version is not None}
    behind: dict[str, dict[str, str]] = {}
    for shard, load_id in loads.items():
        pictures = known.get((shard, "pictures"))
        digest = pictures.digest if pictures else None
        for column in wanted.curation.columns:
            note = known.get((shard, DECLARED + column.name))
            origin = wanted.name_origin(column, digest)
            if note is None or (note.load_id, note.made_from) != (load_id, origin):
                behind.setdefault(shard, {})[column.name] = origin
    return behind


def name_work(load_id: str, origins: Mapping[str, str]) -> str:
    """Returns a word for what a load of a shard lacks; other columns have another word."""
    return hashlib.sha256("\n".join([load_id, *origins.values()]).encode()).hexdigest()


def list_dropped(database: Database, curation: Curation) -> str | None:
    """Returns a word for the columns that the next release drops; None if there are none."""
    if not database.exists():
        return None
    with database.read() as connection:
        names = list_undeclared(curation, read_notes(connection))
    return f"without {', '.join(names)}" if names else None


def drop_undeclared(database: Database, store: LanceStore, curation: Curation) -> list[str]:
    """Drops the columns that are declared no more; returns their names."""
    with database.read() as connection:
        names = list_undeclared(curation, read_notes(connection))
    for name in names:
        drop_columns(database, store, DECLARED + name, [name])
    return names


def list_undeclared(curation: Curation, notes: Iterable[NotedColumns]) -> list[str]:
    """Returns the names of columns that were declared once and are no more."""
    names = {
        n.column_set.removeprefix(DECLARED) for n in notes if n.column_set.startswith(DECLARED)
    }
    return sorted(names - curation.by_name.keys())
