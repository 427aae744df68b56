"""One asset for each subset that `curation.toml` declares."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from laion_assets.curation.resource import CurationFile
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.orchestration.assets import Holding, laion_asset
from laion_assets.orchestration.metadata import show_missing, show_table
from laion_assets.stores.resources import LanceResource

if TYPE_CHECKING:
    from laion_assets.stores.lance_store import LanceStore
    from laion_assets.subsets.make_subset import MadeSubset

PREVIEW_ROWS = 10
# What no table of a page can show.
LARGE = frozenset({"image", "img_emb"})


class SubsetConfig(dg.Config):
    """Of which release a run makes a subset."""

    release: str | None = Field(default=None, description="The tag; by default the newest.")


def build_subset_asset(subset: DeclaredSubset) -> dg.AssetsDefinition:
    """Returns the asset of a subset."""

    @laion_asset(
        holds=_name_holding(subset),
        name=subset.name,
        description=_describe_asset(subset),
        deps=["release"],
        group_name="subsets",
        kinds={"lance"},
        code_version="1",
        metadata={"dagster/table_name": subset.name},
        output_required=False,
    )
    def make(
        context: dg.AssetExecutionContext,
        config: SubsetConfig,
        lance_store: LanceResource,
        curation_file: CurationFile,
        embedding_rules: EmbeddingRules,
    ) -> Iterator[dg.MaterializeResult[None]]:
        from laion_assets.subsets.check_subsets import check_subsets
        from laion_assets.subsets.make_subset import SubsetOrder, make_subset

        # As the file is now: a change needs no restart.
        curation = curation_file.read()
        declared = {each.name: each for each in curation.subsets}
        if subset.name not in declared:
            context.log.info(f"{curation_file.path} does not declare {subset.name} any more")
            return
        check_subsets(curation, ())
        order = SubsetOrder(
            declared[subset.name],
            context.run.run_id,
            tuple(column.name for column in curation.columns),
            config.release,
        )
        made = make_subset(lance_store.store, order, embedding_rules.find_encoder)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(made.record.digest),
            metadata=_describe(lance_store.store, made),
        )

    return make


def _name_holding(subset: DeclaredSubset) -> Holding:
    columns = subset.columns or LARGE
    if "image" in columns:
        return "pictures"
    return "vectors" if "img_emb" in columns else "urls-and-captions"


def _describe_asset(subset: DeclaredSubset) -> str:
    """Returns what the page says of the asset, in Markdown."""
    terms = {
        "where": "rows for which the condition `{}` is true",
        "search": "captions that match the search `{}`",
        "like": "pictures by how near they are to `{}`",
        "limit": "at most {} rows",
    }
    wanted = [terms[key].format(value) for key, value in subset.describe().items() if key in terms]
    lines = "\n".join(f"* {line}" for line in wanted) or "* all rows"
    return (
        f"A part of the newest release, in the Lance table `{subset.name}`, as `curation.toml` "
        f"declares it:\n\n{lines}\n\nThe rows stand by shard and place in its file. The tag is "
        "that of the release, and the record is in the metadata of the schema. It is made again "
        "after each release that changed.\n\n```python\n"
        f'rows = lancedb.connect("data/lance").open_table("{subset.name}")\n'
        'rows.checkout("2026-11-20")  # the tag of a release\n```\n'
    )


def _describe(store: "LanceStore", made: "MadeSubset") -> dict[str, Any]:
    """Returns what the page shows of a subset."""
    record = made.record
    dataset = store.open(record.subset, record.release)
    names = [name for name in dataset.schema.names if name not in LARGE]
    rows = dataset.to_table(names, limit=PREVIEW_ROWS).to_pylist() if names else []
    return {
        "release": record.release,
        "is_new": made.is_new,
        "dagster/row_count": record.row_count,
        "matching_rows": record.match_count,
        "pictures": record.picture_count,
        "vectors": record.vector_count,
        "bytes": record.data_bytes,
        "digest": record.digest,
        "definition": json.dumps(record.definition),
        "indices": ", ".join(sorted(index.name for index in dataset.describe_indices())) or "none",
        "preview": show_table(rows, names),
        "missing_values": show_missing(record.missing, record.row_count),
    }
