"""The asset checks of one shard, whose results come with its materialization.

A check that is part of the asset's step knows the shard and sees the very rows that were written,
where a step of its own would look at whatever is there by then; and it costs less. So a shard that
fails is stopped, and no other. Each check adds some 25 ms to each run, so there is but one; what
tells of all shards together is in `table_checks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
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
