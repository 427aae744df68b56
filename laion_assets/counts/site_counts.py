"""Images of each registered domain."""

import dagster as dg

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_table, preview
from laion_assets.schemas import SITE_COUNTS
from laion_assets.stores.resources import Warehouse


@laion_asset(
    holds="counts",
    deps=["images"],
    group_name="counts",
    kinds={"duckdb", "sql"},
    code_version="1",
    metadata=describe_table("site_counts", SITE_COUNTS),
)
def site_counts(warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """How many images and hosts each registered domain has, the largest first.

    `i.pinimg.com` and `media.pinimg.com` both count for `pinimg.com`. The public suffix list says
    which part of a host somebody registered; a host without such a part counts for itself.

    ```sql
    SELECT * FROM site_counts LIMIT 20
    ```
    """
    from laion_assets.counts.refresh import refresh_site_counts
    from laion_assets.stores.sql import load_sql

    refresh_site_counts(warehouse.database)
    with warehouse.database.read() as connection:
        ((site_count, image_count),) = connection.execute(
            load_sql("counts/summarize_site_counts")
        ).fetchall()
        top = preview(connection.execute(load_sql("counts/top_sites")))
    return dg.MaterializeResult(
        metadata={
            "top_sites": top,
            "dagster/row_count": site_count,
            "images": image_count,
        },
    )
