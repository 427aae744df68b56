"""Finds the rows that are on the list of removals, in DuckDB and in a version of the Lance table.

Hosts are compared one by one, by digest; there are far fewer of them than rows. What is then read
are the rows of those hosts, by their column or its index, and no other text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.removals.matching import Matcher
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# What tells whether a row is on the list; a table with both never fails to tell.
TELLING = frozenset({"url", "image_id"})
# What has the MD5 or the SHA-256 of a picture.
PICTURE_DIGESTS = ("md5", "picture_sha256")
BATCH_ROWS = 100_000
# Values in one condition of Lance.
MAX_VALUES = 10_000


@dataclass(frozen=True)
class FoundRows:
    """Rows of DuckDB that are on the list.

    Attributes:
        load_ids: shards that have some, and their load.
        row_count: how many they are.
        values: the values of the entries by which they are on it.
    """

    load_ids: dict[str, str]
    row_count: int
    values: frozenset[str]


def find_loaded(connection: duckdb.DuckDBPyConnection, matcher: Matcher) -> FoundRows:
    """Finds the rows of `images` and `rejected_images` that are on the list.

    Args:
        connection: open for reading.
        matcher: the list.
    """
    domains = [domain for (domain,) in _select(connection, "select_domains")]
    removed, suspected = matcher.match_hosts(domains)
    counts: Counter[str] = Counter()
    values: set[str] = set()
    of_domains = {"domains": list(removed)}
    for shard, domain, row_count in _select(connection, "count_rows_of_domains", of_domains):
        counts[shard] += row_count
        values.add(removed[domain])
    rows: dict[tuple[str, int], str] = {}
    of_ids = {"image_ids": list(matcher.image_ids), **of_domains}
    for shard, row_index, image_id in _select(connection, "select_rows_of_ids", of_ids):
        rows[shard, row_index] = matcher.image_ids[image_id]
        values.add(matcher.image_ids[image_id])
    urls = _select(connection, "select_urls_of_domains", {"domains": suspected})
    for shard, row_index, url in [*urls, *_select(connection, "select_rejected_urls")]:
        if (value := matcher.match_url(url)) is not None:
            rows[shard, row_index] = value
            values.add(value)
    counts.update(shard for shard, _ in rows)
    load_ids = dict(_select(connection, "select_load_ids"))
    return FoundRows(
        {shard: load_ids[shard] for shard in sorted(counts)}, counts.total(), frozenset(values)
    )


def find_pictures(dataset: lance.LanceDataset, digests: Collection[str]) -> dict[str, set[int]]:
    """Returns the ids of the images with these pictures, by MD5 or SHA-256 in hexadecimal."""
    found: dict[str, set[int]] = {}
    for column in _list_digest_columns(dataset):
        for condition in _list_conditions(column, _in_any_case(digests)):
            scanner = dataset.scanner(columns=["image_id", column], filter=condition)
            for row in scanner.to_table().to_pylist():
                found.setdefault(row[column].lower(), set()).add(row["image_id"])
    return found


def find_row_ids(
    dataset: lance.LanceDataset, matcher: Matcher, domains: Iterable[str] | None = None
) -> Numbers:
    """Returns the ids of the rows of a table that are on the list, ascending.

    Whoever shows, exports or streams rows of a table asks this function which to leave out.

    Args:
        dataset: a version of `images`, or of a table with some rows and columns of it.
        matcher: the list.
        domains: all domains in it; read from it if they are not given.

    Raises:
        LaionError: the table lacks the columns that tell.
    """
    import numpy as np

    ids = [np.zeros(0, np.uint64)]
    if not matcher.is_empty:
        _check_columns(dataset, matcher)
        conditions = _list_conditions("image_id", matcher.image_ids)
        for column in _list_digest_columns(dataset):
            conditions += _list_conditions(column, _in_any_case(matcher.pictures))
        suspected: list[str | None] = []
        if "domain" in dataset.schema.names:
            hosts = matcher.match_hosts(_read_domains(dataset) if domains is None else domains)
            conditions += _list_conditions("domain", hosts.removed)
            suspected += _list_conditions("domain", hosts.suspected)
        elif matcher.hosts or matcher.urls:
            suspected.append(None)
        for condition in conditions:
            found = dataset.scanner(columns=[], filter=condition, with_row_id=True).to_table()
            ids.append(found["_rowid"].to_numpy())
        for only in suspected:
            scanner = dataset.scanner(columns=["url"], filter=only, with_row_id=True)
            for batch in scanner.to_batches():
                is_on = [matcher.match_url(url) is not None for url in batch["url"].to_pylist()]
                ids.append(batch["_rowid"].to_numpy()[np.array(is_on, np.bool_)])
    return np.unique(np.concatenate(ids))


def _check_columns(dataset: lance.LanceDataset, matcher: Matcher) -> None:
    needs = {"url": matcher.hosts or matcher.urls, "image_id": matcher.image_ids}
    for column, is_needed in needs.items():
        if is_needed and column not in dataset.schema.names:
            raise LaionError(
                f"{dataset.uri}: it has no column `{column}`, so nobody can tell which of its rows "
                "are on the list of removals; make it again (a subset: `laion backfill --missing`)",
                code="removals-untold",
            )


def _select(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    if parameters is not None and not any(parameters.values()):
        return []
    return connection.execute(load_sql(f"removals/{name}"), parameters).fetchall()


def _read_domains(dataset: lance.LanceDataset) -> set[str]:
    domains: set[str] = set()
    for batch in dataset.scanner(columns=["domain"], batch_size=BATCH_ROWS).to_batches():
        domains.update(batch["domain"].unique().to_pylist())
    return domains


def _list_digest_columns(dataset: lance.LanceDataset) -> list[str]:
    return [column for column in PICTURE_DIGESTS if column in dataset.schema.names]


def _in_any_case(digests: Iterable[str]) -> list[str]:
    """Sources write an MD5 in small letters or in capitals."""
    return [form for digest in digests for form in dict.fromkeys((digest, digest.upper()))]


def _list_conditions(column: str, values: Iterable[str | int]) -> list[str]:
    """Returns conditions that are true for these values, some thousands of them each."""
    # Some hosts have a NUL, which is nothing to Lance.
    quoted = ["'" + v.replace("'", "''") + "'" if isinstance(v, str) else str(v) for v in values]
    starts = range(0, len(quoted), MAX_VALUES)
    return [f"{column} IN ({', '.join(quoted[n : n + MAX_VALUES])})" for n in starts]
