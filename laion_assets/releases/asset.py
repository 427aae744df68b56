"""One tag for a version of all Lance tables."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from laion_assets.curation.resource import CurationFile
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import DAILY, show_table
from laion_assets.orchestration.overtaken import is_overtaken, warn_overtaken
from laion_assets.stores.resources import LanceResource, Warehouse

if TYPE_CHECKING:
    from laion_assets.releases.manifest import Manifest, ReleasedVectors
    from laion_assets.releases.publish import Publication

# A page with thousands of lines is no page; `laion release show` has them all.
MAX_SHARDS_SHOWN = 200


class ReleaseConfig(dg.Config):
    """How a run makes its release."""

    name: str | None = Field(
        default=None,
        description="The tag, if there is something new; by default the day in UTC, with .2, .3.",
    )
    keep_days: float = Field(
        default=7, ge=0, description="Older Lance versions are removed, unless a tag holds them."
    )


def build_release_asset(kinds: Iterable[str]) -> dg.AssetsDefinition:
    """Returns the asset that releases the counts of these kinds."""
    kinds = tuple(kinds)

    @laion_asset(
        holds="urls-and-captions",
        deps=[
            "lance_images",
            "pictures",
            "embeddings",
            "declared_columns",
            "domain_counts",
            "site_counts",
            "entity_counts",
            "removals",
        ],
        group_name="release",
        kinds={"lance"},
        code_version="2",
        output_required=False,
        freshness_policy=DAILY,
    )
    def release(
        context: dg.AssetExecutionContext,
        config: ReleaseConfig,
        warehouse: Warehouse,
        lance_store: LanceResource,
        curation_file: CurationFile,
    ) -> Iterator[dg.MaterializeResult[None]]:
        """One tag for a version of the Lance tables `images` and those of the counts.

        Its indices cover every row: full text of `caption`, and `domain`, `registered_domain`,
        `shard`, `aesthetic`, and the vectors, if there are 4,096 or more. The tag is the
        day in UTC, with `.2`, `.3` for more on one day, or the name in the run's config. It is
        refused while the counts and what they count differ; if a shard is loaded meanwhile, nothing
        is released, and the next refresh does it.
        A shard whose copy to Lance failed holds nothing back: the release has the rows that the
        one before had of it, or none, and says so.
        While a shard holds rows that are to be removed, nothing is released.
        A declared column that a shard lacks holds nothing back either, and the record names the
        shard. Columns that are declared no more are dropped.
        If nothing changed, the release before stays the newest. `laion release show` prints the
        record of it.

        ```python
        images = lancedb.connect("data/lance").open_table("images")
        images.checkout("2026-11-20")  # a tag, as `laion release list` names them
        ```
        """
        from laion_assets.errors import RemovalsPendingError, StaleTableError
        from laion_assets.releases.publish import ReleaseOrder, publish_release

        order = ReleaseOrder(
            context.run.run_id,
            config.name,
            config.keep_days,
            curation=curation_file.read(),
            is_shared=lance_store.is_shared,
        )
        stores = warehouse.database, lance_store.store
        try:
            published = publish_release(*stores, kinds, order)
        except RemovalsPendingError as error:
            # They are due, and the refresh after them releases.
            context.log.warning(str(error))
            return
        except StaleTableError:
            if is_overtaken(context.instance, context.run.run_id):
                warn_overtaken()
                return
            published = publish_release(*stores, kinds, replace(order, is_partial=True))
        for column in published.manifest.declared:
            if gap := column.describe_gap():
                context.log.warning(gap)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(_name_content(published.manifest)),
            metadata=_describe(published),
        )

    return release


def _name_content(manifest: "Manifest") -> str:
    pictures = f"+{manifest.columns_sha256}" if manifest.columns_sha256 else ""
    return manifest.content_sha256 + pictures


def _describe(published: "Publication") -> dict[str, Any]:
    """Returns what the page shows of a release, in the order in which it does."""
    manifest = published.manifest
    shards = [shard.model_dump(mode="json") for shard in manifest.shards]
    sheets = [sheet.model_dump(mode="json") for sheet in manifest.sheets]
    return {
        "tag": manifest.release,
        "is_new": published.is_new,
        "dagster/row_count": manifest.row_counts["images"],
        "shards": len(shards),
        "shards_outdated": len(manifest.outdated),
        "rows_removed": manifest.removed_count,
        "lance_version": manifest.lance_versions["images"],
        "content_sha256": manifest.content_sha256,
        "columns_sha256": manifest.columns_sha256 or "none",
        "pictures": manifest.picture_count,
        "picture_bytes": manifest.picture_bytes,
        **_describe_vectors(manifest.vectors),
        "columns_behind": sum(bool(column.shards_behind) for column in manifest.declared),
        "versions_removed": published.cleaning.version_count,
        "freed_bytes": published.cleaning.freed_bytes,
        "fragments_saved": published.fragments_saved,
        # Tables take the most room.
        "shards_held": show_table(
            shards[:MAX_SHARDS_SHOWN],
            ("shard", "image_count", "rejected_count", "sha256", "source"),
        ),
        "outdated": show_table(
            [shard.model_dump(mode="json") for shard in manifest.outdated[:MAX_SHARDS_SHOWN]],
            ("shard", "is_carried", "sha256", "loaded_at"),
        ),
        "declared": show_table(
            [
                {**column.model_dump(), "shards_behind": len(column.shards_behind)}
                for column in manifest.declared
            ],
            ("column", "type", "definition", "value_count", "shards_behind"),
        ),
        "sheets_held": show_table(sheets, ("kind", "name_count", "sha256", "location")),
        "made_with": show_table(
            [{"what": what, "version": found} for what, found in manifest.versions.items()],
            ("what", "version"),
        ),
    }


def _describe_vectors(vectors: "ReleasedVectors | None") -> dict[str, Any]:
    return {
        "vectors": vectors.vector_count if vectors else 0,
        "vector_dimension": vectors.dimension if vectors else 0,
        "vector_index": vectors.index if vectors else "none, there are no vectors",
        "vector_nprobes": vectors.nprobes if vectors else 0,
        "vector_recall_at_10": vectors.recall_at_10 if vectors else "nothing to measure",
    }
