"""What must hold of the pictures."""

import dagster as dg

from laion_assets.orchestration.failures import explain_failures
from laion_assets.orchestration.metadata import show_rows, show_table
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse

# A few pictures of a shard may be turned, or have wrong sizes in the source.
MOST_OTHER_PERCENT = 5


@dg.asset_check(asset="pictures")
@explain_failures
def pictures_decode(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.AssetCheckResult:
    """Twenty pictures of each shard can be decoded, and are what the table `pictures` says."""
    from laion_assets.pictures.broken_pictures import find_broken

    count, broken = find_broken(warehouse.database, lance_store.store)
    columns = ("shard", "row_index", "what")
    return dg.AssetCheckResult(
        passed=not broken or is_overtaken(context.instance, context.run.run_id),
        metadata={
            "pictures_looked_at": count,
            "broken_pictures": len(broken),
            "broken": show_table([vars(one) for one in broken], columns),
            "if_it_fails": "Materialize `pictures` of these shards: `laion backfill --pictures`.",
        },
    )


@dg.asset_check(asset="pictures")
@explain_failures
def picture_sizes_agree(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Pictures have the shape that `width` and `height` say, but for 5 % of each shard.

    If not, a warning: they may have been cropped, or belong to other rows.
    """
    from laion_assets.pictures.broken_pictures import find_other_shapes

    shapes = find_other_shapes(warehouse.database)
    other = [r for r in shapes.records if float(str(r["other_percent"])) > MOST_OTHER_PERCENT]
    return dg.AssetCheckResult(
        passed=not other,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "shards_with_other_shapes": len(other),
            "shapes": show_rows(shapes),
            "if_it_fails": "Compare some pictures of the shard with their captions. Pictures that "
            "were cropped to a square are all right; others may belong to other rows.",
        },
    )
