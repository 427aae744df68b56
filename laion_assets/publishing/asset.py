"""Each release as a dataset for everybody, where `LAION_PUBLISH` says."""

import dagster as dg
from pydantic import Field

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_place
from laion_assets.publishing.resource import PublishRules
from laion_assets.stores.resources import LanceResource


class PublishConfig(dg.Config):
    """What a run publishes."""

    release: str | None = Field(default=None, description="The tag; by default the newest.")


@laion_asset(
    holds="urls-and-captions",
    deps=["release"],
    group_name="release",
    kinds={"lance", "huggingface"},
    code_version="1",
)
def published(
    config: PublishConfig, lance_store: LanceResource, publish_rules: PublishRules
) -> dg.MaterializeResult[None]:
    """A release as a dataset with a card, in a folder or on the Hugging Face Hub.

    It has the layout of laion-1m: the Lance tables `train`, `domain_counts` and `entity_counts` in
    `data`, `README.md` and `release.json`. Its files are those of the release; the record is
    without paths of this machine and links to sheets. A reader sees the release before or this one,
    never half of it. What is there already is not sent again.
    """
    from laion_assets.publishing.publication import publish_dataset

    made = publish_dataset(
        lance_store.store, publish_rules.open_target(), publish_rules.order(config.release)
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(made.manifest.release),
        metadata={
            "release": made.manifest.release,
            "is_new": made.is_new,
            "dagster/row_count": made.manifest.row_counts["images"],
            "files_sent": made.sent_files,
            "bytes_sent": made.sent_bytes,
            "files_kept": made.kept_files,
            "content_sha256": made.manifest.content_sha256,
            "missing_in_card": ", ".join(made.missing) or "nothing",
            "place": describe_place(made.place),
        },
    )
