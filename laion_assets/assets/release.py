"""A version of everything that people can cite."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from laion_assets.failures import RETRIES, explain_failures
from laion_assets.page import OWNERS, show_table
from laion_assets.resources import LanceStore, Warehouse


def build_release_asset(kinds: Iterable[str]) -> dg.AssetsDefinition:
    """Returns the asset that releases the images and the counts of these kinds."""
    kinds = tuple(kinds)

    @dg.asset(
        deps=["lance_images", "domain_counts", "entity_counts"],
        group_name="release",
        kinds={"lance"},
        code_version="1",
        owners=OWNERS,
        retry_policy=RETRIES,
        tags={"holds": "urls-and-captions"},
    )
    @explain_failures
    def release(warehouse: Warehouse, lance_store: LanceStore) -> dg.MaterializeResult[None]:
        """One tag for a version of the Lance tables `images`, `domain_counts` and `entity_counts`.

        The full-text index on `caption` covers every row of it. The tag is the day in UTC, with
        `.2`, `.3` for more on one day. It is refused while Lance and DuckDB, or the counts and what
        they count, differ; if nothing changed, the release before stays the newest.

        ```python
        lancedb.connect("data/lance").open_table("images", version="2026-11-20")
        ```
        """
        from laion_assets.lib.release import publish_release

        started = time.monotonic()
        published = publish_release(
            warehouse.database, Path(lance_store.path), kinds, datetime.now(tz=UTC).date()
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(published.content_sha256),
            metadata={
                "tag": published.tag,
                "is_new": published.is_new,
                "dagster/row_count": published.image_count,
                "shards": published.shard_count,
                "shards_held": show_table(
                    [{"shard": s, "images": count} for s, count in published.shards.items()],
                    ("shard", "images"),
                ),
                "lance_version": published.version,
                "content_sha256": published.content_sha256,
                "duration_s": round(time.monotonic() - started, 3),
            },
        )

    return release
