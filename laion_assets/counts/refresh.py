"""Refreshes the tables of counts: images of each domain, captions that match each name.

Both are counted once for each shard: the images of its domains as it is loaded, in `shard_domains`,
and the captions of each name in `caption_matches`, so that a refresh scans only what is missing and
adds up. Loading a shard removes its rows there. Each refresh notes the snapshot, a digest of the
loads of all shards, that its table tells of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import duckdb

from laion_assets.counts.captions import Folding, caption_filter, count_phrases
from laion_assets.errors import StaleTableError
from laion_assets.images.load import count_domains
from laion_assets.settings import Settings
from laion_assets.stores.database import Database, stream
from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import pyarrow as pa

# The tables of counts, and all that a refresh of them changes.
COUNTS = ("domain_counts", "site_counts", "entity_counts")
COUNT_TABLES = (*COUNTS, "refreshes")
# Every round counts what was loaded during the one before; a shard loads slower than it is counted.
ROUNDS = 10
# The automaton of the names is built for each batch, which is worth it for a large one; and some
# batches and their copies are in memory at once, some 10 MB each.
BATCH_ROWS = 131_072
# Few captions are left where few names are looked for: small batches give every core some.
LIKELY_ROWS = 16_384
# After so many shards what was counted is kept, whatever becomes of the rest.
KEPT_SHARDS = 64


@dataclass
class CountReport:
    """What a refresh of the name counts had to do.

    Attributes:
        scanned_captions: captions read to count something new.
        counted_pairs: pairs of shard and phrase counted now.
        reused_pairs: pairs known from before.
    """

    scanned_captions: int = 0
    counted_pairs: int = 0
    reused_pairs: int = 0


@dataclass(frozen=True)
class Gap:
    """The phrases not yet counted for a load of a shard."""

    shard: str
    load_id: str
    phrases: list[str]


@dataclass(frozen=True)
class CountedGap:
    """How many captions hold each of the phrases that were missing.

    Attributes:
        gap: the phrases, and the load.
        image_counts: captions of the load that hold each phrase.
        caption_count: captions that were read for it.
    """

    gap: Gap
    image_counts: Mapping[str, int]
    caption_count: int


@dataclass(frozen=True)
class _Names:
    """The names of all kinds, as rows of kind, position, name and phrase."""

    rows: list[tuple[str, int, str, str]]
    digest: str
    folding: Folding

    @property
    def phrases(self) -> list[str]:
        return sorted({phrase for *_, phrase in self.rows if phrase})


def refresh_domain_counts(database: Database) -> None:
    """Adds up the images of each domain."""
    _refresh_of_domains(database, "domain_counts")


def refresh_site_counts(database: Database) -> None:
    """Adds up the images and hosts of each registered domain."""
    _refresh_of_domains(database, "site_counts")


def refresh_entity_counts(
    database: Database, kinds: Iterable[str], *, is_shared: bool = False
) -> CountReport:
    """Counts for each name of these kinds the images whose caption matches it.

    Args:
        database: has the names and the captions.
        kinds: the kinds.
        is_shared: whether free nodes of Ray count some of the shards.

    Raises:
        StaleTableError: a kind has no table yet, or shards were replaced faster than counted.
    """
    kinds = tuple(kinds)
    report = CountReport()
    for _ in range(ROUNDS):
        with database.read() as connection:
            lists = _read_lists(connection, kinds)
            if "entity_counts" in _select_fresh(connection, _digest(lists)):
                ((report.reused_pairs,),) = connection.execute(
                    load_sql("counts/count_pairs")
                ).fetchall()
                report.reused_pairs -= report.counted_pairs
                return report
            names = _fold_names(lists)
            gaps = select_gaps(connection, names.phrases)
        for start in range(0, len(gaps) or 1, KEPT_SHARDS):
            some = gaps[start : start + KEPT_SHARDS]
            found = _count_gaps(database, names.folding, some, is_shared=is_shared)
            report.counted_pairs += sum(len(counted.image_counts) for counted in found)
            report.scanned_captions += sum(counted.caption_count for counted in found)
            _store(database, names, found, is_last=start + KEPT_SHARDS >= len(gaps))
    raise StaleTableError(
        "shards kept changing during the count; refresh the counts again",
        is_passing=True,
        code="counts-overtaken",
    )


def count_names_of_shard(database: Database, shard: str) -> None:
    """Counts the names in a shard, unless they are counted there already.

    So a refresh, which is one run for all shards, has only to add up. It counts the names of lists
    that were never counted before.
    """
    with database.read() as connection:
        try:
            names = _fold_names(_read_lists(connection, _list_counted_kinds(connection)))
        except StaleTableError:
            return
        gaps = select_gaps(connection, names.phrases, shard)
        found = [_count_captions(connection, names.folding, gap) for gap in gaps]
    if found:
        with database.write("caption_matches", shards=[shard]) as connection:
            _insert_all(connection, found)


def recount(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes all counts anew from `images` and `shards` as this connection sees them.

    It is for a reader with tables of its own before those of the file. The names are those of the
    file that are counted there.
    """
    names = _fold_names(_read_lists(connection, _list_counted_kinds(connection)))
    count_domains(connection, _list_uncounted(connection))
    for table in ("domain_counts", "site_counts"):
        _replace_counts(connection, table)
    gaps = select_gaps(connection, names.phrases)
    _insert_all(connection, [_count_captions(connection, names.folding, gap) for gap in gaps])
    _replace_entity_counts(connection, names)


def clear_counts(connection: duckdb.DuckDBPyConnection) -> None:
    """Empties the tables of counts where no shard is left to count."""
    for table in COUNTS:
        connection.execute(load_sql(f"counts/delete_{table}"))
        connection.execute(load_sql("counts/delete_refresh"), {"table_name": table})


def list_fresh(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> set[str]:
    """Returns the tables of counts that tell of the shards as they are loaded now.

    `entity_counts` is one of them if it tells of the names of these kinds as they are now, too.
    """
    return _select_fresh(connection, _digest(_read_lists(connection, tuple(kinds))))


def select_gaps(
    connection: duckdb.DuckDBPyConnection, phrases: Sequence[str], shard: str | None = None
) -> list[Gap]:
    """Returns for each shard the phrases that are not counted for it, where there are any.

    Args:
        connection: open for reading.
        phrases: those that are looked for.
        shard: the only one to look at; None: all.
    """
    are_theirs = "true" if shard is None else select_shards([shard])
    query = load_sql("counts/select_gaps").format(are_theirs=are_theirs)
    rows = connection.execute(query, {"phrases": list(phrases)}).fetchall()
    return [Gap(*row) for row in rows]


def find_uncounted(database: Database, kinds: Iterable[str]) -> dict[str, int]:
    """Returns how many phrases are not counted, for each shard where there are any."""
    with database.read() as connection:
        phrases = sorted({p for p in read_phrases(connection, kinds).values() if p})
        return {gap.shard: len(gap.phrases) for gap in select_gaps(connection, phrases)}


def read_phrases(connection: duckdb.DuckDBPyConnection, kinds: Iterable[str]) -> dict[str, str]:
    """Returns the phrase of each name of these kinds, by name."""
    names = _fold_names(_read_lists(connection, tuple(kinds)))
    return {name: phrase for _, _, name, phrase in names.rows}


def _refresh_of_domains(database: Database, table: str) -> None:
    if database.exists():
        with database.read() as connection:
            uncounted = _list_uncounted(connection)
        # An older version of this project loaded them.
        for start in range(0, len(uncounted), KEPT_SHARDS):
            some = uncounted[start : start + KEPT_SHARDS]
            with database.write("shard_domains", shards=some) as connection:
                count_domains(connection, some)
    with database.write(table, "refreshes") as connection:
        _replace_counts(connection, table)


def _list_counted_kinds(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    kinds = connection.execute(load_sql("counts/select_counted_kinds")).fetchall()
    return tuple(kind for (kind,) in kinds)


def _list_uncounted(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(load_sql("counts/select_uncounted_shards")).fetchall()
    return [shard for (shard,) in rows]


def _read_lists(
    connection: duckdb.DuckDBPyConnection, kinds: tuple[str, ...]
) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for kind in kinds:
        query = load_sql("counts/select_names").format(table=quote_identifier(kind))
        try:
            lists[kind] = [name for (name,) in connection.execute(query).fetchall()]
        except duckdb.CatalogException:
            raise StaleTableError(
                f"no table of {kind} yet; materialize `{kind}` first", code="names-not-read"
            ) from None
    return lists


def _digest(lists: Mapping[str, list[str]]) -> str:
    return hashlib.sha256(json.dumps(lists).encode()).hexdigest()


def _select_fresh(connection: duckdb.DuckDBPyConnection, names_sha256: str) -> set[str]:
    parameters = {"names_sha256": names_sha256}
    fresh = connection.execute(load_sql("counts/select_fresh"), parameters).fetchall()
    return {table for (table,) in fresh}


def _fold_names(lists: Mapping[str, list[str]]) -> _Names:
    names = _Names([], _digest(lists), Folding())
    # SQLite is asked about all characters at once, which is most of the time that this takes.
    names.folding.learn("".join(chain.from_iterable(lists.values())))
    for kind, texts in lists.items():
        for position, name in enumerate(texts):
            names.rows.append((kind, position, name, names.folding.phrase(name)))
    return names


def _count_gaps(
    database: Database, folding: Folding, gaps: Sequence[Gap], *, is_shared: bool
) -> list[CountedGap]:
    if not is_shared or len(gaps) <= 1:
        return [_count_gap(database, folding, gap) for gap in gaps]
    from laion_assets.orchestration.other_nodes import make_each

    return make_each(_count_on_node, gaps, 1)


def _count_on_node(gaps: Sequence[Gap]) -> list[CountedGap]:
    """Counts on the node where it is unpickled, which may have another place for what it spills."""
    database = Database.of(Settings.from_environment())
    return [_count_gap(database, Folding(), gap) for gap in gaps]


def _count_gap(database: Database, folding: Folding, gap: Gap) -> CountedGap:
    with database.read() as connection:
        return _count_captions(connection, folding, gap)


def _count_captions(
    connection: duckdb.DuckDBPyConnection, folding: Folding, gap: Gap
) -> CountedGap:
    filter_ = caption_filter(gap.phrases)
    if filter_ is None:
        query, batch_rows, parameters = "counts/select_captions", BATCH_ROWS, {}
    else:
        query, batch_rows, parameters = (
            "counts/select_likely_captions",
            LIKELY_ROWS,
            {"filter": filter_},
        )
    parameters |= {"shard": gap.shard, "load_id": gap.load_id}
    with stream(connection, load_sql(query), parameters, batch_rows=batch_rows) as reader:
        row_counts: list[int] = []
        image_counts = count_phrases(_tally(reader, row_counts), gap.phrases, folding)
    return CountedGap(gap, image_counts, sum(row_counts))


def _tally(batches: Iterable[pa.RecordBatch], row_counts: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        row_counts.append(batch.num_rows)
        yield batch


def _store(
    database: Database, names: _Names, found: Sequence[CountedGap], *, is_last: bool
) -> None:
    """Stores what was counted; at last replaces `entity_counts`, unless a shard changed."""
    if found and (database.is_shared or not is_last):
        # Under the locks of these shards, and the sums, for which all wait, under the one of all.
        shards = [counted.gap.shard for counted in found]
        with database.write("caption_matches", shards=shards) as connection:
            _insert_all(connection, found)
        found = ()
    if not is_last:
        return
    with database.write("entity_counts", "refreshes") as connection:
        _insert_all(connection, found)
        if not select_gaps(connection, names.phrases):
            _replace_entity_counts(connection, names)


def _insert_all(connection: duckdb.DuckDBPyConnection, found: Sequence[CountedGap]) -> None:
    for counted in found:
        _insert_matches(connection, counted.gap, counted.image_counts)


def _insert_matches(
    connection: duckdb.DuckDBPyConnection, gap: Gap, counts: Mapping[str, int]
) -> None:
    parameters = {
        "load_id": gap.load_id,
        "phrases": list(counts),
        "image_counts": list(counts.values()),
    }
    connection.execute(load_sql("counts/insert_caption_matches"), parameters)


def _replace_counts(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(load_sql(f"counts/delete_{table}"))
    connection.execute(load_sql(f"counts/insert_{table}"))
    _note_refresh(connection, table, None)


def _replace_entity_counts(connection: duckdb.DuckDBPyConnection, names: _Names) -> None:
    kinds, positions, texts, phrases = zip(*names.rows, strict=True) if names.rows else ((),) * 4
    parameters = {
        "kinds": list(kinds),
        "positions": list(positions),
        "names": list(texts),
        "phrases": list(phrases),
    }
    connection.execute(load_sql("counts/delete_entity_counts"))
    connection.execute(load_sql("counts/insert_entity_counts"), parameters)
    _note_refresh(connection, "entity_counts", names.digest)


def _note_refresh(
    connection: duckdb.DuckDBPyConnection, table: str, names_sha256: str | None
) -> None:
    connection.execute(load_sql("counts/delete_refresh"), {"table_name": table})
    parameters = {"table_name": table, "names_sha256": names_sha256}
    connection.execute(load_sql("counts/insert_refresh"), parameters)
