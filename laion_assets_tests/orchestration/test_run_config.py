"""What a run's configuration leaves out of a resource is as the settings say."""

from typing import Any

import dagster as dg
import pytest

from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.pictures.resource import PictureRules
from laion_assets.settings import Settings


@pytest.mark.parametrize(
    ("rules", "config"),
    [(PictureRules, {"size": 512}), (EmbeddingRules, {"chunk_rows": 7})],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_field_of_a_resource_can_be_set_alone(
    settings: Settings, rules: type[PictureRules] | type[EmbeddingRules], config: dict[str, Any]
) -> None:
    resource = rules.build(settings)
    found: dict[str, Any] = {}

    @dg.op(required_resource_keys={"rules"})
    def look(context: dg.OpExecutionContext) -> None:
        found.update(context.resources.rules.model_dump())

    @dg.job(resource_defs={"rules": resource})
    def job() -> None:
        look()

    job.execute_in_process(run_config={"resources": {"rules": {"config": config}}})

    assert found == resource.model_dump() | config
    assert found["cache_dir"] == str(settings.picture_cache_dir)
