"""A release to publish, made once."""

from pathlib import Path

import pytest

from laion_assets.settings import Settings
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.publishing.released import bring_whole


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A release of two shards, `first`."""
    settings = make_settings(tmp_path_factory.mktemp("made"), artists=["fox"])
    for number, shard in enumerate(("a", "b")):
        bring_whole(settings, shard, number)
    refresh(settings, "first")
    return settings


@pytest.fixture
def data(made: Settings, settings: Settings) -> Settings:
    """A copy of it to change."""
    return copy_made(made, settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is published."""
    return tmp_path / "laion-demo"
