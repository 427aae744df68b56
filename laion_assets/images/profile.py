"""Describes the rows of one shard, for the page of the asset and to compare it with other shards.

The rows are read a few times, column by column, which takes a fraction of their loading. What
shards are compared by is kept in `shard_figures`, so that nobody has to read the others again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from laion_assets.schemas import DUCKDB_IMAGES, SCORE_RANGES
from laion_assets.stores.rows import Rows, read_rows
from laion_assets.stores.sql import load_sql, quote_identifier

# What a source may lack.
OPTIONAL = tuple(c.name for c in DUCKDB_IMAGES if c.sources and not c.is_required)
# Bins in a unit of each score. LAION filters by similarity and aesthetic score, so that theirs are
# close together.
BINS_PER_UNIT = {"similarity": 50, "punsafe": 10, "pwatermark": 10, "aesthetic": 4}


@dataclass(frozen=True)
class CaptionLengths:
    """Exact quantiles of the captions' lengths in Unicode characters; 0 without captions."""

    p05: int
    median: int
    p95: int
    longest: int


@dataclass(frozen=True)
class ShardProfile:
    """What the rows of a shard are like.

    Attributes:
        image_count: rows in `images`.
        domain_count: different hosts.
        repeated: rows that repeat the URL and caption of an earlier one.
        non_ascii: rows whose caption has a character that is not ASCII.
        missing: rows without a value, for each column that a source may lack.
        out_of_range: rows whose score is none, for each score.
        caption_lengths: how long the captions are.
        score_histograms: for each score that the shard has, its images by bins.
        top_domains: the 20 domains with the most images.
        first_rows: the first rows.
        rejection_examples: up to three rejected rows of each reason.
    """

    image_count: int
    domain_count: int
    repeated: int
    non_ascii: int
    missing: Mapping[str, int]
    out_of_range: Mapping[str, int]
    caption_lengths: CaptionLengths
    score_histograms: Mapping[str, Rows]
    top_domains: Rows
    first_rows: Rows
    rejection_examples: Rows

    @property
    def figures(self) -> dict[str, int]:
        """What shards are compared by, as `shard_figures` has it."""
        return {
            "repeated": self.repeated,
            "non_ascii": self.non_ascii,
            **{f"missing_{column}": count for column, count in self.missing.items()},
            **{f"out_of_range_{score}": count for score, count in self.out_of_range.items()},
        }


def profile_shard(connection: duckdb.DuckDBPyConnection, shard: str) -> ShardProfile:
    """Describes the rows of a shard, and keeps the figures within the transaction of the caller."""
    profile = _profile(connection, shard)
    parameters = {
        "shard": shard,
        "figures": list(profile.figures),
        "row_counts": list(profile.figures.values()),
    }
    connection.execute(load_sql("images/delete_shard_figures"), {"shard": shard})
    connection.execute(load_sql("images/insert_shard_figures"), parameters)
    return profile


def _profile(connection: duckdb.DuckDBPyConnection, shard: str) -> ShardProfile:
    parameters = {"shard": shard}
    summary = load_sql("images/summarize_shard").format(counts=", ".join(_list_counts()))
    ((images, domains, repeated, *counts),) = connection.execute(summary, parameters).fetchall()
    missing = dict(zip(OPTIONAL, counts, strict=False))
    out_of_range = dict(zip(SCORE_RANGES, counts[len(OPTIONAL) :], strict=True))
    ((*lengths, non_ascii),) = connection.execute(
        load_sql("images/measure_captions"), parameters
    ).fetchall()
    return ShardProfile(
        image_count=images,
        domain_count=domains,
        repeated=repeated,
        non_ascii=non_ascii,
        missing=missing,
        out_of_range=out_of_range,
        caption_lengths=CaptionLengths(*(length or 0 for length in lengths)),
        score_histograms={
            score: _count_score(connection, shard, score)
            for score in SCORE_RANGES
            if missing[score] < images
        },
        top_domains=read_rows(connection, load_sql("images/top_domains_of_shard"), parameters),
        first_rows=read_rows(connection, load_sql("images/preview_images"), parameters),
        rejection_examples=read_rows(
            connection, load_sql("images/select_rejection_examples"), parameters
        ),
    )


def _list_counts() -> list[str]:
    return [
        *(f"count(*) - count({quote_identifier(column)})" for column in OPTIONAL),
        *(
            f"count(*) FILTER ({quote_identifier(score)} NOT BETWEEN {low} AND {high})"
            for score, (low, high) in SCORE_RANGES.items()
        ),
    ]


def _count_score(connection: duckdb.DuckDBPyConnection, shard: str, score: str) -> Rows:
    low, high = SCORE_RANGES[score]
    query = load_sql("images/count_scores").format(score=quote_identifier(score))
    parameters = {"shard": shard, "low": low, "high": high, "per_unit": BINS_PER_UNIT[score]}
    return read_rows(connection, query, parameters)
