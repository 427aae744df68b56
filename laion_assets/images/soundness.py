"""Looks for what must not be in the tables, and for what somebody should look at.

What is said of one shard reads its rows; what is said of all shards reads what was noted of each as
it was loaded, and costs the same however many rows there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from laion_assets.schemas import SCORE_RANGES, TABLES
from laion_assets.stores.database import Database
from laion_assets.stores.rows import Rows, read_rows
from laion_assets.stores.sql import load_sql, quote_identifier, quote_literal

# LAION's releases repeat about one in a hundred pairs within a shard.
MOST_REPEATED_SHARE = 0.05
# When the share of rejected or missing values of a shard stands out from the median of the others:
# far from it; or not so far, but some times as much. A few rows of a small shard do not count.
ODD_SHARES = {"far": 0.10, "near": 0.01, "times": 3, "least_rows": 10, "least_others": 3}
# Examples are for a person to look at.
MAX_EXAMPLES = 20


@dataclass(frozen=True)
class RowAccount:
    """Where the rows of a shard's file are."""

    file_rows: int
    image_count: int
    rejected_count: int

    @property
    def unaccounted(self) -> int:
        """Rows of the file that are nowhere; negative if there are too many."""
        return self.file_rows - self.image_count - self.rejected_count


@dataclass(frozen=True)
class DomainAccount:
    """Whether the counts of the domains add up.

    Attributes:
        counted: the sum of `domain_counts`.
        images: the rows of `images`.
        loaded: the rows that were noted as they were loaded.
        unaccounted: the shards whose tables have other rows than their file, or other images than
            their domains.
    """

    counted: int
    images: int
    loaded: int
    unaccounted: Rows

    @property
    def is_sound(self) -> bool:
        """Whether all say the same."""
        return self.counted == self.images == self.loaded and not self.unaccounted.records


def account_shard(connection: duckdb.DuckDBPyConnection, shard: str, file_rows: int) -> RowAccount:
    """Counts the rows of a shard in `images` and `rejected_images`."""
    query = load_sql("images/count_shard_rows")
    ((images, rejected),) = connection.execute(query, {"shard": shard}).fetchall()
    return RowAccount(file_rows, images, rejected)


def account_domains(connection: duckdb.DuckDBPyConnection) -> DomainAccount:
    """Adds up the counts of the domains, and the rows of all shards."""
    ((counted, images, loaded),) = connection.execute(
        load_sql("images/sum_domain_counts")
    ).fetchall()
    unaccounted = read_rows(connection, load_sql("images/compare_row_counts"), {})
    return DomainAccount(counted, images, loaded, unaccounted)


def find_wrong_columns(database: Database, table: str) -> list[str]:
    """Returns what is wrong with the columns of a table, by what `schemas.py` says of them."""
    expected = {c.name: _say_type(c.type, is_nullable=not c.is_required) for c in TABLES[table]}
    found = {
        name: _say_type(type_, is_nullable=is_nullable)
        for name, type_, is_nullable in database.list_columns(table)
    }
    return [
        f"{name} is {found.get(name, 'missing')}, and should be {expected.get(name, 'absent')}"
        for name in [*expected, *sorted(found.keys() - expected)]
        if found.get(name) != expected.get(name)
    ]


def find_scores_out_of_range(connection: duckdb.DuckDBPyConnection) -> tuple[Rows, Rows]:
    """Returns the shards with scores out of range and how many, and examples of the first ones."""
    shards = read_rows(connection, load_sql("images/select_out_of_range"), {})
    examples: list[Mapping[str, object]] = []
    for record in shards.records:
        if len(examples) >= MAX_EXAMPLES:
            break
        score = str(record["score"])
        low, high = SCORE_RANGES[score]
        query = load_sql("images/select_score_examples").format(
            score=quote_identifier(score), name=quote_literal(score)
        )
        parameters = {"shard": record["shard"], "low": low, "high": high}
        rows = read_rows(connection, query, parameters)
        examples += [
            {"score": score, "value": r.pop("score"), **r} for r in map(dict, rows.records)
        ]
    return shards, Rows(("score", "value", "shard", "row_index", "caption"), examples)


def find_repeated(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Returns the shards of whose images too many repeat an earlier one."""
    parameters = {"most_share": MOST_REPEATED_SHARE}
    return read_rows(connection, load_sql("images/select_repeated"), parameters)


def find_same_files(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Returns the files that several shards have."""
    return read_rows(connection, load_sql("images/select_same_files"), {})


def summarize_shares(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Returns between what the shares of all shards lie, those that differ most first."""
    return read_rows(connection, load_sql("images/summarize_shares"), {})


def find_odd_shares(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Returns the shards that miss or lost a share of their rows unlike the others."""
    return read_rows(connection, load_sql("images/select_odd_shares"), ODD_SHARES)


def _say_type(type_: str, *, is_nullable: bool) -> str:
    return type_ if is_nullable else f"{type_} NOT NULL"
