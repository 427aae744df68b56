"""What must hold of the Lance table `images`."""

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.orchestration.metadata import show_table
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse


# Not blocking: `release` looks itself, and says which shard it is.
@laion_check(asset="lance_images")
def equals_duckdb(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.AssetCheckResult:
    """Lance has each shard's present load, as many rows as DuckDB, and the same sum of ids.

    If not, a release has an older load of the shard, or nothing of it, and says so. A shard that is
    loaded meanwhile may differ until it is copied.
    """
    from laion_assets.lance_images.copy import compare_shards

    dataset = lance_store.store.find("images")
    with warehouse.database.read() as connection:
        compared = compare_shards(connection, dataset)
    columns = ("shard", "duckdb_rows", "lance_rows", "has_same_ids", "is_noted")
    differing = [{name: getattr(c, name) for name in columns} for c in compared if not c.is_equal]
    return dg.AssetCheckResult(
        passed=not differing or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "differing_shards": len(differing),
            "shards": len(compared),
            "duckdb_rows": sum(c.duckdb_rows for c in compared),
            "lance_rows": sum(c.lance_rows for c in compared),
            "differing": show_table(differing, columns),
            "if_it_fails": "Materialize `lance_images` of these: `laion backfill --missing`.",
        },
    )
