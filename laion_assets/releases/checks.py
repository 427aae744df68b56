"""What must hold of the newest release."""

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.orchestration.metadata import show_table
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse

LEAST_RECALL = 0.95


@laion_check(asset="release")
def indices_cover_every_row(lance_store: LanceResource) -> dg.AssetCheckResult:
    """Each index of the released tables has every row, so that a search misses none."""
    from laion_assets.releases.catalog import newest_release
    from laion_assets.releases.coverage import measure_coverage

    store = lance_store.store
    newest = newest_release(store)
    coverage = measure_coverage(store, newest) if newest else []
    columns = ("table", "index", "indexed_rows", "unindexed_rows")
    unindexed = sum(c.unindexed_rows for c in coverage)
    return dg.AssetCheckResult(
        passed=bool(coverage) and not unindexed,
        metadata={
            "release": newest.release if newest else "none yet",
            "unindexed_rows": unindexed,
            "indices": show_table([vars(c) for c in coverage], columns),
            "if_it_fails": "Materialize `release` again.",
        },
    )


@laion_check(asset="release")
def counts_equal_duckdb(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.AssetCheckResult:
    """The released tables of counts are those of DuckDB, row for row."""
    from laion_assets.releases.catalog import newest_release
    from laion_assets.releases.coverage import compare_counts

    store = lance_store.store
    newest = newest_release(store)
    differing = compare_counts(warehouse.database, store, newest) if newest else {}
    return dg.AssetCheckResult(
        passed=newest is not None
        and (not any(differing.values()) or is_overtaken(context.instance, context.run.run_id)),
        metadata={
            "release": newest.release if newest else "none yet",
            **{f"differing_{table}": count for table, count in differing.items()},
            "if_it_fails": "Materialize `release`: the counts were refreshed or changed since.",
        },
    )


@laion_check(asset="release")
def nearest_vectors_are_found(lance_store: LanceResource) -> dg.AssetCheckResult:
    """The index finds 95 % of the ten nearest vectors of each of 200 rows, as measured then."""
    from laion_assets.releases.catalog import newest_release

    newest = newest_release(lance_store.store)
    vectors = newest.vectors if newest else None
    return dg.AssetCheckResult(
        passed=vectors is None or vectors.recall_at_10 >= LEAST_RECALL,
        metadata={
            "release": newest.release if newest else "none yet",
            "vectors": vectors.vector_count if vectors else 0,
            "index": vectors.index if vectors else "none, there are no vectors",
            "recall_at_10": vectors.recall_at_10 if vectors else "nothing to measure",
            "rows_measured": vectors.sample_count if vectors else 0,
            "if_it_fails": "Searches by meaning miss near images. Please report it with the record "
            "of the release (`laion release show`).",
        },
    )
