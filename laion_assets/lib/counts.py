"""Refreshes the tables of counts: images of each domain, captions that match each name.

What a name's captions are is counted once for each shard and kept in `caption_matches`, so that a
refresh scans only what is missing. Loading a shard removes its rows there. Each refresh notes the
snapshot, a digest of the loads of all shards, that its table tells of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import duckdb

from laion_assets.lib.captions import Folding, count_phrases
from laion_assets.lib.database import Database, stream
from laion_assets.lib.errors import StaleTableError
from laion_assets.lib.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import pyarrow as pa

# Every round counts what was loaded during the one before; a shard loads slower than it is counted.
ROUNDS = 10


@dataclass
class CountReport:
    """What a refresh of the name counts had to do.

    Attributes:
        scanned_captions: captions read, a shard's once for each round.
        counted_pairs: pairs of shard and phrase counted now.
        reused_pairs: pairs known from before.
    """

    scanned_captions: int = 0
    counted_pairs: int = 0
    reused_pairs: int = 0


@dataclass(frozen=True)
class _Names:
    """The names of all kinds, as rows of kind, position, name and phrase."""

    rows: list[tuple[str, int, str, str]]
    folding: Folding = field(default_factory=Folding)

    @property
    def phrases(self) -> list[str]:
        return sorted({phrase for *_, phrase in self.rows if phrase})


@dataclass(frozen=True)
class _Gap:
    """The phrases not yet counted for a load of a shard."""

    shard: str
    load_id: str
    phrases: list[str]


def refresh_domain_counts(database: Database) -> None:
    """Counts the images of each domain anew."""
    with database.write() as connection:
        connection.execute(load_sql("delete_domain_counts"))
        connection.execute(load_sql("insert_domain_counts"))
        _note_refresh(connection, "domain_counts")


def refresh_entity_counts(database: Database, kinds: Iterable[str]) -> CountReport:
    """Counts for each name of these kinds the images whose caption matches it.

    Raises:
        StaleTableError: shards were replaced faster than they could be counted.
    """
    kinds = tuple(kinds)
    report = CountReport()
    for _ in range(ROUNDS):
        names, gaps = _find_gaps(database, kinds)
        found = [_count_gap(database, names, gap, report) for gap in gaps]
        if _publish(database, names, found, report):
            return report
    raise StaleTableError("shards kept changing during the count; refresh the counts again")


def _find_gaps(database: Database, kinds: tuple[str, ...]) -> tuple[_Names, list[_Gap]]:
    with database.read() as connection:
        names = _read_names(connection, kinds)
        return names, _select_gaps(connection, names)


def _read_names(connection: duckdb.DuckDBPyConnection, kinds: tuple[str, ...]) -> _Names:
    lists: dict[str, list[str]] = {}
    for kind in kinds:
        query = load_sql("select_names").format(table=quote_identifier(kind))
        lists[kind] = [name for (name,) in connection.execute(query).fetchall()]
    names = _Names([])
    # SQLite is asked about all characters at once, which is most of the time that this takes.
    names.folding.learn("".join(chain.from_iterable(lists.values())))
    for kind, texts in lists.items():
        for position, name in enumerate(texts):
            names.rows.append((kind, position, name, names.folding.phrase(name)))
    return names


def _select_gaps(connection: duckdb.DuckDBPyConnection, names: _Names) -> list[_Gap]:
    parameters = {"phrases": names.phrases}
    rows = connection.execute(load_sql("select_gaps"), parameters).fetchall()
    return [_Gap(*row) for row in rows]


def _count_gap(
    database: Database, names: _Names, gap: _Gap, report: CountReport
) -> tuple[_Gap, Mapping[str, int]]:
    with (
        database.read() as connection,
        stream(connection, load_sql("select_captions"), {"load_id": gap.load_id}) as reader,
    ):

        def batches() -> Iterable[pa.RecordBatch]:
            for batch in reader:
                report.scanned_captions += batch.num_rows
                yield batch

        counts = count_phrases(batches(), gap.phrases, names.folding)
    return gap, counts


def _publish(
    database: Database,
    names: _Names,
    found: list[tuple[_Gap, Mapping[str, int]]],
    report: CountReport,
) -> bool:
    """Stores what was counted; refreshes `entity_counts` if that leaves no gap."""
    with database.write() as connection:
        for gap, counts in found:
            parameters = {
                "load_id": gap.load_id,
                "phrases": list(counts),
                "image_counts": list(counts.values()),
            }
            connection.execute(load_sql("insert_caption_matches"), parameters)
            report.counted_pairs += len(counts)
        if _select_gaps(connection, names):
            return False
        _replace_entity_counts(connection, names)
        ((pairs,),) = connection.execute(
            load_sql("count_pairs"), {"phrases": names.phrases}
        ).fetchall()
        report.reused_pairs = max(0, pairs - report.counted_pairs)
        return True


def _replace_entity_counts(connection: duckdb.DuckDBPyConnection, names: _Names) -> None:
    kinds, positions, texts, phrases = zip(*names.rows, strict=True) if names.rows else ((),) * 4
    parameters = {
        "kinds": list(kinds),
        "positions": list(positions),
        "names": list(texts),
        "phrases": list(phrases),
    }
    connection.execute(load_sql("delete_entity_counts"))
    connection.execute(load_sql("insert_entity_counts"), parameters)
    _note_refresh(connection, "entity_counts")


def _note_refresh(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(load_sql("delete_refresh"), {"table_name": table})
    connection.execute(load_sql("insert_refresh"), {"table_name": table})
