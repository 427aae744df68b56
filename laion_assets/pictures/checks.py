"""What must hold of the pictures."""

import dagster as dg

from laion_assets.orchestration.check_steps import laion_check
from laion_assets.orchestration.metadata import show_rows, show_table
from laion_assets.orchestration.overtaken import is_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse

# A few pictures of a shard may be turned, or have wrong sizes in the source.
MOST_OTHER_PERCENT = 5


@laion_check(asset="pictures")
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


@laion_check(asset="pictures")
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


@laion_check(asset="pictures")
def pictures_came_as_of_other_shards(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The share of pictures that came is not far below that of the other shards.

    It is if it is more than 20 percentage points below the median of the others, and ten rows or
    more make the difference: then a warning. With fewer than three others nothing is compared, and
    shards that neither bring pictures nor were asked for any do not count.
    """
    from laion_assets.pictures.broken_pictures import find_low_shares

    low = find_low_shares(warehouse.database)
    return dg.AssetCheckResult(
        passed=not low.records,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "shards_with_few_pictures": len(low.records),
            "shares": show_rows(low),
            "if_it_fails": "Look at the statuses and reasons on the shard's page of `pictures`: an "
            "archive may be cut off, or a server was down; then run `laion pictures retry`.",
        },
    )


@laion_check(asset="pictures")
def picture_md5_agree(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.AssetCheckResult:
    """Twenty given pictures of each shard have the MD5 that the source says, where it says one.

    A shard of which more than half have another is left out: its MD5 are of other files, such as
    the pictures before they were resized. If not, a warning.
    """
    from laion_assets.pictures.broken_pictures import find_other_md5

    agreeing, other = find_other_md5(warehouse.database, lance_store.store)
    columns = ("shard", "row_index", "what")
    return dg.AssetCheckResult(
        passed=not other or is_overtaken(context.instance, context.run.run_id),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "pictures_that_agree": agreeing,
            "pictures_that_differ": len(other),
            "differing": show_table([vars(one) for one in other], columns),
            "if_it_fails": "Compare these pictures with their captions: they may belong to other "
            "rows, or were changed after the source was written.",
        },
    )
