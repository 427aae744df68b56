"""The vectors of each shard, in Lance."""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import dagster as dg

from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import percent
from laion_assets.partitions import SHARDS
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.stores.resources import LanceResource, Warehouse

# To it the command line listens, too.
LOGGER = logging.getLogger(__name__)


def build_embeddings_asset(*, is_computing: bool) -> dg.AssetsDefinition:
    """Returns the asset; it comes after the pictures where vectors are computed from them."""

    @laion_asset(
        holds="vectors",
        deps=["lance_images", *(["pictures"] if is_computing else [])],
        partitions_def=SHARDS,
        group_name="shards",
        kinds={"lance"},
        code_version="1",
        metadata={"partition_expr": "shard"},
        output_required=False,
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        shards: ShardSource,
        warehouse: Warehouse,
        lance_store: LanceResource,
        embedding_rules: EmbeddingRules,
    ) -> Iterator[dg.MaterializeResult[None]]:
        """The vectors of pictures, in the column `img_emb` of the Lance table `images`.

        The shard brings them in a column `img_emb`, `image_embedding` or `image_emb` of the parquet
        file, or in a `.npy` file that has one for each of its rows: `<shard>.npy` beside it, or as
        clip-retrieval and PD12M have it. Each becomes float16 of unit length; one that is zero or
        not finite is left out. A column of such a name and another type is not read, and a warning
        says so. With `LAION_EMBEDDINGS=compute`, `LAION_ENCODER` makes the others
        from the pictures that are in the table; they are kept in a cache, so that no picture is
        encoded twice. All have one dimension in the whole table. They come in one commit, which
        leaves the other columns and the indices as they are. A shard that brings none keeps those
        that it had.

        ```python
        images = lance.dataset("data/lance/images.lance")
        images.take([0, 1, 2], columns=["caption", "img_emb"])
        ```
        """
        from laion_assets.embeddings.add_embeddings import add_embeddings
        from laion_assets.embeddings.vector_rows import REASONS
        from laion_assets.images.raw_elsewhere import bring_if_elsewhere
        from laion_assets.raw_shards.vector_files import read_oddity
        from laion_assets.stores.cache_file import use_caches
        from laion_assets.stores.raw_store import RawStore
        from laion_assets.stores.shard_chunks import remove_chunks

        shard, raws = context.partition_key, RawStore(Path(shards.raw_dir))
        if embedding_rules.mode == "none":
            context.log.info("LAION_EMBEDDINGS is `none`, so no vectors are kept")
            return
        database, run_id = warehouse.database, context.run.run_id
        bring_if_elsewhere(shards, database, lance_store.store, shard)
        if oddity := read_oddity(raws.path(shard)):
            LOGGER.warning("%s: %s", shard, oddity)

        def tell(how_far: str) -> None:
            LOGGER.info("%s: %s", shard, how_far)

        computing = embedding_rules.start_computing(tell)
        with use_caches(computing.cache_dir) if computing else nullcontext():
            made = add_embeddings(database, lance_store.store, raws, shard, run_id, computing)
        if made is None:
            context.log.info(f"{shard} brings no vectors, and has no pictures to compute them from")
            return
        remove_chunks(lance_store.store, [shard], "vectors")
        note, left_out = made
        rows = note.value_count + left_out.total()
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(note.digest),
            metadata={
                "dagster/partition_row_count": rows,
                "vectors": note.value_count,
                "percent_with_vector": percent(note.value_count, rows),
                **{f"without_vector_{reason}": left_out[reason] for reason in REASONS},
                "lance_version": note.lance_version,
                "bytes": note.data_bytes,
                "made_from": note.made_from,
                "encoder": note.encoder or "none",
            },
        )

    return embeddings
