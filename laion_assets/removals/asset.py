"""The list of what must not be shown or released."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from laion_assets.names.asset import LIST_READ, check_list_read
from laion_assets.names.resource import SheetSource
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import DAILY, describe_place, show_table
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.stores.resources import LanceResource, Warehouse

if TYPE_CHECKING:
    from laion_assets.removals.apply_list import Applied
    from laion_assets.stores.removal_file import Removals

ENTRIES_READ = "entries_read"
# A page with thousands of lines is no page.
MAX_UNMATCHED_SHOWN = 200


@laion_asset(
    holds="names",
    group_name="removals",
    kinds={"googlesheets", "file"},
    code_version="1",
    freshness_policy=DAILY,
    check_specs=[
        dg.AssetCheckSpec(
            LIST_READ,
            asset="removals",
            description=(
                "The list could be read with the last refresh. If not, the entries of before "
                "stay in force, and the sensor reads it again after a pause."
            ),
        ),
        dg.AssetCheckSpec(
            ENTRIES_READ,
            asset="removals",
            description="Every line of the list is an entry: a URL, a host, `*.host`, an "
            "`image_id`, or the MD5 or SHA-256 of a picture.",
        ),
    ],
)
def removals(
    sheets: SheetSource, shards: ShardSource, warehouse: Warehouse, lance_store: LanceResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster refuses [None] beside checks
    """What must not be shown or released: the list that `LAION_REMOVALS` names.

    Its entries are kept as digests beside the Lance tables, in `lance/removals.json`. The search
    page hides what is on it in every release within seconds. Shards that hold such rows are loaded
    again without them, and no release is made before. A list that cannot be read, or has no entry,
    is refused, and the one of before stays in force; so it does if `LAION_REMOVALS` is not set any
    more.

    ```text
    what
    https://example.com/picture.jpg
    *.example.org
    ```
    """
    from laion_assets.removals.apply_list import apply_list

    applied = apply_list(
        warehouse.database, lance_store.store, shards.store, sheets.removals, sheets.rules
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(applied.removals.digest),
        check_results=[check_list_read(applied.problem), _check_entries(applied.removals)],
        metadata=_describe(applied),
    )


def _describe(applied: "Applied") -> dict[str, Any]:
    """Returns what the page shows of a list, in the order in which it does."""
    removals, audit = applied.removals, applied.audit
    return {
        "entries": audit.entry_count,
        "rows_removed": audit.row_count,
        "shards_to_load": audit.shard_count,
        "entries_without_row": len(audit.unmatched),
        "rows_returning": sum(count for _, count in audit.returning),
        "lines_unread": len(removals.unread_lines),
        "sha256": removals.sha256 or "none",
        "source": describe_place(removals.location) if removals.location else "not set",
        "changed_at": removals.changed_at or "never",
        # Tables take the most room.
        "unmatched": show_table(
            [{"line": n, "digest": d} for n, d in audit.unmatched[:MAX_UNMATCHED_SHOWN]],
            ("line", "digest"),
        ),
    }


def _check_entries(removals: "Removals") -> dg.AssetCheckResult:
    unread = removals.unread_lines
    return dg.AssetCheckResult(
        check_name=ENTRIES_READ,
        passed=not unread,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "lines_unread": len(unread),
            **({"first_lines": ", ".join(map(str, unread[:20]))} if unread else {}),
            "if_it_fails": "Correct these lines of the list; the others are in force.",
        },
    )
