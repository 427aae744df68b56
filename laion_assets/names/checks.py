"""What must hold of the lists of names."""

import dagster as dg

from laion_assets.orchestration.check_steps import Check, laion_check
from laion_assets.stores.resources import Warehouse


def build_names_kept(kind: str) -> Check:
    """Returns the check that a list of names has not lost most of them."""

    @laion_check(
        asset=kind,
        description="The sheet has not lost more than half of its names with its last change.",
    )
    def names_kept(warehouse: Warehouse) -> dg.AssetCheckResult:
        from laion_assets.names.sheets import read_record

        record = read_record(warehouse.database, kind)
        now = record.name_count if record else 0
        before = (record.previous_count if record else None) or 0
        return dg.AssetCheckResult(
            passed=2 * now >= before,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "names": now,
                "names_before": before,
                "if_it_fails": "Look at the sheet: were so many names meant to go?",
            },
        )

    return names_kept
