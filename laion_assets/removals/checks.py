"""What must hold of the list of removals."""

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.stores.resources import LanceResource


@laion_check(asset="removals")
def entries_kept(lance_store: LanceResource) -> dg.AssetCheckResult:
    """The list has not lost more than half of its entries with its last change."""
    removals = lance_store.store.removals.read()
    now, before = len(removals.entries), removals.previous_count or 0
    return dg.AssetCheckResult(
        passed=2 * now >= before,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "entries": now,
            "entries_before": before,
            "if_it_fails": "Look at the list: were so many entries meant to go?",
        },
    )
