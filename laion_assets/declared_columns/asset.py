"""The columns that a user declares, in Lance."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from laion_assets.curation.resource import CurationFile
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import show_table
from laion_assets.partitions import SHARDS
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.stores.resources import LanceResource, Warehouse


def build_declared_columns_asset(*, is_reading_pictures: bool) -> dg.AssetsDefinition:
    """Returns the asset.

    Args:
        is_reading_pictures: whether a column reads what is known of pictures, and has to come after
            them. Dagster's pages would else ask whether that is meant at each load.
    """

    @laion_asset(
        holds="urls-and-captions",
        # Not after `embeddings`: where a shard brings none, Dagster leaves out what comes after.
        deps=["lance_images", *(["pictures"] if is_reading_pictures else [])],
        partitions_def=SHARDS,
        group_name="shards",
        kinds={"lance", "duckdb"},
        code_version="1",
        metadata={"partition_expr": "shard"},
        output_required=False,
    )
    def declared_columns(
        context: dg.AssetExecutionContext,
        shards: ShardSource,
        warehouse: Warehouse,
        lance_store: LanceResource,
        curation_file: CurationFile,
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The columns that `curation.toml` declares, in the Lance table `images`.

        Each is computed by an SQL expression over the other columns, joined from a parquet, CSV or
        Lance file, or kept from the shard's own file. Only those are made whose definition, file or
        shard has changed. Each comes in one commit, which leaves the other columns and the indices
        as they are.

        ```python
        images = lance.dataset("data/lance/images.lance")
        images.to_table(["url", "aspect_ratio"], filter="aspect_ratio > 2")
        ```
        """
        from pathlib import Path

        from laion_assets.curation.curation_file import KeptColumn
        from laion_assets.declared_columns.add_declared import add_declared, find_notes
        from laion_assets.images.raw_elsewhere import bring_if_elsewhere
        from laion_assets.stores.raw_store import RawStore

        shard, curation = context.partition_key, curation_file.read()
        if not curation.columns:
            context.log.info(f"{curation_file.path} declares no columns")
            return
        stores = warehouse.database, lance_store.store
        if any(isinstance(column, KeptColumn) for column in curation.columns):
            bring_if_elsewhere(shards, *stores, shard)
        raws = RawStore(Path(shards.raw_dir))
        made = add_declared(*stores, curation, shard, context.run.run_id, raws)
        oddities = [f"`{name}`: {c.oddities}" for name, c in made.items() if c.oddities]
        for line in oddities:
            context.log.warning(line)
        notes = find_notes(warehouse.database, curation, shard)
        records: list[dict[str, Any]] = [
            {
                "column": name,
                "values": note.value_count,
                "is_new": name in made,
                "oddities": made[name].oddities if name in made else "",
                "made_from": note.made_from,
            }
            for name, note in notes.items()
        ]
        columns = ("column", "values", "is_new", "oddities", "made_from")
        yield dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": _count_rows(warehouse, shard),
                "columns_made": len(made),
                "declared": show_table(records, columns),
                "oddities": " | ".join(oddities) or "none",
                "bytes": sum(note.data_bytes for note in notes.values()),
            }
        )

    return declared_columns


def _count_rows(warehouse: Warehouse, shard: str) -> int:
    from laion_assets.stores.loads import read_load

    with warehouse.database.read() as connection:
        load = read_load(connection, shard)
    assert load is not None
    return load.image_count
