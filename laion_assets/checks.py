"""Asset checks: what must hold, with figures and what to do if it does not.

Here are those of the names and their counts; `table_checks.py` has those of the other tables, and
`shard_checks.py` the one that comes with each shard.
"""

from collections.abc import Iterable

import dagster as dg

from laion_assets.failures import explain_failures
from laion_assets.overtaken import is_overtaken
from laion_assets.resources import Warehouse


def build_checks(kinds: Iterable[str]) -> list[dg.AssetChecksDefinition]:
    """Returns the checks of the names and their counts."""
    kinds = tuple(kinds)
    return [
        _build_every_name_counted(kinds),
        _build_equals_fts5(kinds),
        *(_build_names_kept(kind) for kind in kinds),
    ]


def _build_every_name_counted(kinds: tuple[str, ...]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset="entity_counts",
        description="Every name of every sheet is counted for every shard.",
    )
    @explain_failures
    def every_name_counted(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse
    ) -> dg.AssetCheckResult:
        from laion_assets.lib.counts import find_uncounted

        uncounted = find_uncounted(warehouse.database, kinds)
        return dg.AssetCheckResult(
            passed=not uncounted or is_overtaken(context.instance, context.run.run_id),
            metadata={
                "uncounted_pairs": sum(uncounted.values()),
                "shards": ", ".join(list(uncounted)[:20]),
                "if_it_fails": "Materialize entity_counts again.",
            },
        )

    return every_name_counted


def _build_equals_fts5(kinds: tuple[str, ...]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset="entity_counts",
        description=(
            "On a sample of 200 names and one shard, the counts are those of SQLite FTS5, whose "
            "index is built for this. Each state of the tables has a sample of its own."
        ),
    )
    @explain_failures
    def equals_fts5(warehouse: Warehouse) -> dg.AssetCheckResult:
        from laion_assets.lib.fts5_sample import compare_with_fts5

        comparison = compare_with_fts5(warehouse.database, kinds)
        first = [
            f"{name}: {ours}, FTS5 {theirs}"
            for name, (ours, theirs) in list(comparison.differing.items())[:20]
        ]
        return dg.AssetCheckResult(
            passed=not comparison.differing,
            metadata={
                "names": comparison.name_count,
                "captions": comparison.caption_count,
                "shard": comparison.shard or "none yet",
                "differing": len(comparison.differing),
                "differing_names": "; ".join(first),
                "if_it_fails": "Report it with the names: this would be a bug.",
            },
        )

    return equals_fts5


def _build_names_kept(kind: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=kind,
        name="names_kept",
        description="The sheet has not lost more than half of its names with its last change.",
    )
    @explain_failures
    def names_kept(warehouse: Warehouse) -> dg.AssetCheckResult:
        from laion_assets.lib.sheets import read_record

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
