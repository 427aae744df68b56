"""What must hold of `images` and `rejected_images`, of all shards at once.

A check here reports on every shard, because Dagster shows only the latest result of a check: a
warning stays until its shard is repaired, whichever shards were loaded since.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.orchestration.metadata import show_rows
from laion_assets.stores.resources import Warehouse

if TYPE_CHECKING:
    from laion_assets.images.soundness import RowAccount

WARN = dg.AssetCheckSeverity.WARN


@laion_check(asset="images", blocking=True)
def columns_as_documented(warehouse: Warehouse) -> dg.AssetCheckResult:
    """`images` and `rejected_images` have the columns and types that this version writes.

    If not, nothing is counted or released.
    """
    from laion_assets.images.soundness import find_wrong_columns

    wrong = [
        f"{table}.{text}"
        for table in ("images", "rejected_images")
        for text in find_wrong_columns(warehouse.database, table)
    ]
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "wrong_columns": len(wrong),
            "first_wrong": "; ".join(wrong[:5]) or "none",
            "if_it_fails": "Undo the change, or move `laion.duckdb` away and load all again.",
        },
    )


@laion_check(asset="images")
def scores_in_range(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Scores are in their range.

    That is 0 to 1 for punsafe and pwatermark, -1 to 1 for similarity, 0 to 10 for aesthetic. The
    rows stay as the source has them.
    """
    from laion_assets.images.soundness import find_scores_out_of_range

    with warehouse.database.read() as connection:
        shards, examples = find_scores_out_of_range(connection)
    return dg.AssetCheckResult(
        passed=not shards.records,
        severity=WARN,
        metadata={
            "out_of_range": sum(int(str(record["row_count"])) for record in shards.records),
            "shards": show_rows(shards),
            "examples": show_rows(examples),
            "if_it_fails": "Look at the source of these shards; leave the rows out by their score.",
        },
    )


@laion_check(asset="images")
def shares_like_other_shards(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No shard stands out by its rejected rows, or by the values that it lacks.

    It does if the share of rejected rows, or of rows without a value in a column, is more than 10
    percentage points from the median of the other shards; or more than 1 point over it and three
    times as much. Differences of less than ten rows do not count, and with fewer than three others
    nothing is compared.
    """
    from laion_assets.images.soundness import find_odd_shares, summarize_shares

    with warehouse.database.read() as connection:
        odd = find_odd_shares(connection)
        summary = summarize_shares(connection)
    return dg.AssetCheckResult(
        passed=not odd.records,
        severity=WARN,
        metadata={
            "odd_shards": len({record["shard"] for record in odd.records}),
            "odd_shares": len(odd.records),
            "shares": show_rows(odd),
            "of_all_shards": show_rows(summary),
            "if_it_fails": (
                "Compare the columns on the pages of `raw_shards`: is one named otherwise, or is "
                "the shard of another release?"
            ),
        },
    )


@laion_check(asset="images")
def few_repeats(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No shard repeats more than 5 % of its pairs of URL and caption, and no file is there twice.

    Repeats stay.
    """
    from laion_assets.images.soundness import find_repeated, find_same_files

    with warehouse.database.read() as connection:
        repeated = find_repeated(connection)
        same_files = find_same_files(connection)
    return dg.AssetCheckResult(
        passed=not (repeated.records or same_files.records),
        severity=WARN,
        metadata={
            "repeating_shards": len(repeated.records),
            "repeated": sum(int(str(record["repeated"])) for record in repeated.records),
            "shards": show_rows(repeated),
            "same_files": show_rows(same_files),
            "if_it_fails": "Take each `image_id` once, or leave one of the files out.",
        },
    )


ROWS_ACCOUNTED = dg.AssetCheckSpec(
    "rows_accounted",
    asset="images",
    blocking=True,
    description=(
        "Every row of the shard's file is in `images` or in `rejected_images`, as counted there "
        "after loading. If not, the shard goes no further. Failed without figures: the last shard "
        "failed before it was loaded."
    ),
)


MOSTLY_ACCEPTED = dg.AssetCheckSpec(
    "mostly_accepted",
    asset="images",
    description=(
        "No more than half of the shard's rows are rejected for one reason. If it warns, a column "
        "was probably misread: the shard stays loaded without those rows."
    ),
)


def find_main_reason(rejected: Mapping[str, int], file_rows: int) -> str | None:
    """Returns the reason for which more than half of a shard's rows are rejected, if any."""
    return next((reason for reason, count in rejected.items() if 2 * count > file_rows), None)


def check_mostly_accepted(
    shard: str, rejected: Mapping[str, int], file_rows: int
) -> dg.AssetCheckResult:
    """Returns what Dagster shows of a shard's rejected rows: a warning, which stops nothing."""
    reason = find_main_reason(rejected, file_rows)
    return dg.AssetCheckResult(
        check_name=MOSTLY_ACCEPTED.name,
        passed=reason is None,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "shard": shard,
            "main_reason": reason or "none",
            "rejected": rejected[reason] if reason else 0,
            "file_rows": file_rows,
            "if_it_fails": "Compare the columns on the page of `raw_shards` with the source.",
        },
    )


def check_rows_accounted(shard: str, account: "RowAccount") -> dg.AssetCheckResult:
    """Returns what Dagster shows of a shard's rows."""
    return dg.AssetCheckResult(
        check_name=ROWS_ACCOUNTED.name,
        passed=account.unaccounted == 0,
        metadata={
            "shard": shard,
            "unaccounted": account.unaccounted,
            "file_rows": account.file_rows,
            "images": account.image_count,
            "rejected": account.rejected_count,
            "if_it_fails": "Materialize `images` of it again; if that fails too, report it.",
        },
    )
