"""The asset checks of one shard, whose results come with its materialization.

A check that is part of the asset's step knows the shard and sees the very rows that were written,
where a step of its own would look at whatever is there by then; and it costs less. So a shard that
fails is stopped, and no other. Each check adds some 25 ms to each run, so there are but two; what
tells of all shards together is in `table_checks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from laion_assets.lib.soundness import RowAccount

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


def check_rows_accounted(shard: str, account: RowAccount) -> dg.AssetCheckResult:
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
