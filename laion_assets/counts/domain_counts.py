"""Images of each domain."""

import time

import dagster as dg

from laion_assets.orchestration.failures import explain_failures
from laion_assets.orchestration.metadata import OWNERS, describe_table, preview
from laion_assets.schemas import DOMAIN_COUNTS
from laion_assets.stores.resources import Warehouse


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
    from laion_assets.counts.refresh import refresh_domain_counts
    from laion_assets.stores.sql import load_sql

    started = time.monotonic()
    refresh_domain_counts(warehouse.database)
    with warehouse.database.read() as connection:
        ((domain_count, image_count),) = connection.execute(
            load_sql("counts/summarize_domain_counts")
        ).fetchall()
        top = preview(connection.execute(load_sql("counts/top_domains")))
    return dg.MaterializeResult(
        metadata={
            "counts/top_domains": top,
            "dagster/row_count": domain_count,
            "images": image_count,
            "duration_s": round(time.monotonic() - started, 3),
        },
    )
