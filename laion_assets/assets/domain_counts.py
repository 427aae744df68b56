"""Images of each domain."""

import time

import dagster as dg

from laion_assets.failures import explain_failures
from laion_assets.page import OWNERS, describe_table, preview
from laion_assets.resources import Warehouse
from laion_assets.schemas import DOMAIN_COUNTS


@dg.asset(
    deps=["images"],
    group_name="counts",
    kinds={"duckdb", "sql"},
    code_version="1",
    owners=OWNERS,
    tags={"holds": "counts"},
    metadata=describe_table("domain_counts", DOMAIN_COUNTS),
)
@explain_failures
def domain_counts(warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """How many images of all shards come from each domain, the largest first.

    The domain is the whole host of the image's URL: `cdn.example.com` and `example.com` are two.

    ```sql
    SELECT * FROM domain_counts LIMIT 20
    ```
    """
    from laion_assets.lib.counts import refresh_domain_counts
    from laion_assets.lib.sql import load_sql

    started = time.monotonic()
    refresh_domain_counts(warehouse.database)
    with warehouse.database.read() as connection:
        ((domain_count, image_count),) = connection.execute(
            load_sql("summarize_domain_counts")
        ).fetchall()
        top = preview(connection.execute(load_sql("top_domains")))
    return dg.MaterializeResult(
        metadata={
            "top_domains": top,
            "dagster/row_count": domain_count,
            "images": image_count,
            "duration_s": round(time.monotonic() - started, 3),
        },
    )
