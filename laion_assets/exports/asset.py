"""A release as one SQLite file for Datasette."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from laion_assets.exports.resource import ExportFiles
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_place
from laion_assets.stores.resources import LanceResource


class DatasetteConfig(dg.Config):
    """What a run exports."""

    release: str | None = Field(default=None, description="The tag; by default the newest.")
    without_unsafe: bool = Field(
        default=False, description="Leave out the images that the search page hides as unsafe."
    )


@laion_asset(
    holds="urls-and-captions",
    deps=["release"],
    group_name="exports",
    kinds={"sqlite"},
    code_version="1",
)
def datasette(
    config: DatasetteConfig, lance_store: LanceResource, export_files: ExportFiles
) -> dg.MaterializeResult[None]:
    """A release as one SQLite file with full-text search, for Datasette.

    `images` has the rows, `domain` the hosts, `images_fts` the index of the captions, and one table
    a kind its names, all with `image_counts`. `metadata.yaml` beside the file says what Datasette
    shows of it, and `inspect.json` saves it the counting. The file is checked before it
    replaces the one before. No job makes it: materialize it when a site is to be renewed.

    ```sh
    datasette serve -i data/datasette/laion.db -m data/datasette/metadata.yaml
    ```
    """
    from laion_assets.exports.datasette import export_datasette

    export = export_datasette(
        lance_store.store,
        Path(export_files.datasette),
        config.release,
        is_safe=config.without_unsafe,
    )
    return dg.MaterializeResult(
        metadata={
            "release": export.release,
            "dagster/row_count": export.image_count,
            "hidden": export.hidden_count,
            "domains": export.domain_count,
            "names": export.name_count,
            "bytes": export.file_bytes,
            "sha256": export.sha256,
            "content_sha256": export.content_sha256,
            "file": describe_place(str(export.path)),
        },
    )
