"""What `laion status` says where something cannot be read."""

import pytest

from laion_assets.operations.status_report import read_status
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import ingest, refresh


@pytest.mark.exhaustive
def test_a_curation_file_that_cannot_be_read_is_named_beside_the_rest(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings, "one")
    settings.curation_file.write_text('[columns.is_wide]\nsql = "width > 512"\n', encoding="utf-8")
    assert read_status(settings, None).problems == ()

    settings.curation_file.write_text("[columns.", encoding="utf-8")
    status = read_status(settings, None)

    assert not status.is_sound
    assert [problem.startswith(f"{settings.curation_file}:") for problem in status.problems] == [
        True
    ]
    assert [shard.shard for shard in status.shards] == ["a"]
    assert status.release is not None
    assert not status.is_release_behind
