"""Images whose caption matches each name."""

from collections.abc import Iterable, Iterator

import dagster as dg

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_table, preview
from laion_assets.orchestration.overtaken import is_overtaken, warn_overtaken
from laion_assets.schemas import ENTITY_COUNTS
from laion_assets.stores.resources import Warehouse


def build_entity_counts_asset(kinds: Iterable[str]) -> dg.AssetsDefinition:
    """Returns the asset that counts the names of these kinds."""
    kinds = tuple(kinds)

    @laion_asset(
        holds="counts",
        deps=["images", *kinds],
        group_name="counts",
        kinds={"duckdb", "polars"},
        code_version="1",
        output_required=False,
        metadata=describe_table("entity_counts", ENTITY_COUNTS),
    )
    def entity_counts(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> Iterator[dg.MaterializeResult[None]]:
        """How many images of all shards have a caption that matches each name of the sheets.

        A caption matches if it has the words of the name one after the other, in any case and with
        or without accents: exactly what SQLite FTS5 answers for the name as a phrase. What is known
        of a shard and a name is kept, so a refresh scans new shards and new names only.

        ```sql
        SELECT * FROM entity_counts WHERE kind = 'artists' ORDER BY image_count DESC LIMIT 20
        ```
        """
        from laion_assets.counts.refresh import refresh_entity_counts
        from laion_assets.errors import StaleTableError
        from laion_assets.stores.sql import load_sql

        try:
            report = refresh_entity_counts(
                warehouse.database, kinds, is_shared=warehouse.shares_counts
            )
        except StaleTableError as error:
            if not (error.is_passing and is_overtaken(context.instance, context.run.run_id)):
                raise
            warn_overtaken()
            return
        with warehouse.database.read() as connection:
            summary = connection.execute(load_sql("counts/summarize_entity_counts")).fetchall()
            tops = {
                f"top_{kind}": preview(
                    connection.execute(load_sql("counts/top_names"), {"kind": kind})
                )
                for kind in kinds
            }
        yield dg.MaterializeResult(
            metadata={
                **tops,
                **{f"{kind}_without_match": unmatched for kind, _, unmatched in summary},
                "dagster/row_count": sum(names for _, names, _ in summary),
                "scanned_captions": report.scanned_captions,
                "counted_pairs": report.counted_pairs,
                "reused_pairs": report.reused_pairs,
            },
        )

    return entity_counts
