"""Images of each domain."""

import dagster as dg

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_table, preview
from laion_assets.schemas import DOMAIN_COUNTS
from laion_assets.stores.resources import Warehouse


@laion_asset(
    holds="counts",
    deps=["images"],
    group_name="counts",
    kinds={"duckdb", "sql"},
    code_version="1",
    metadata=describe_table("domain_counts", DOMAIN_COUNTS),
)
def domain_counts(warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """How many images of all shards come from each domain, the largest first.

    The domain is the whole host of the image's URL: `cdn.example.com` and `example.com` are two.

    ```sql
    SELECT * FROM domain_counts LIMIT 20
    ```
    """
    from laion_assets.counts.refresh import refresh_domain_counts
    from laion_assets.stores.sql import load_sql

    refresh_domain_counts(warehouse.database)
    with warehouse.database.read() as connection:
        ((domain_count, image_count),) = connection.execute(
            load_sql("counts/summarize_domain_counts")
        ).fetchall()
        top = preview(connection.execute(load_sql("counts/top_domains")))
    return dg.MaterializeResult(
        metadata={
            "top_domains": top,
            "dagster/row_count": domain_count,
            "images": image_count,
        },
    )
