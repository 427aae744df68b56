"""What must hold of the vectors."""

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.orchestration.metadata import show_table
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse


@laion_check(asset="embeddings")
def vectors_have_unit_length(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.AssetCheckResult:
    """Each shard has as many vectors as was noted, and a hundred of them have the length 1."""
    from laion_assets.embeddings.broken_vectors import find_broken

    count, broken = find_broken(warehouse.database, lance_store.store)
    return dg.AssetCheckResult(
        passed=not broken or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "vectors_looked_at": count,
            "broken": show_table([vars(one) for one in broken], ("shard", "what")),
            "if_it_fails": "Materialize `embeddings` of these shards. If a shard brings no vectors "
            "any more, remove it (`laion remove`) and load it again.",
        },
    )
