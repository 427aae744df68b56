from dataclasses import replace
from pathlib import Path

import pytest

from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.stores.raw_store import RawStore


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    """A store of verified files that has none yet."""
    return RawStore(tmp_path / "raw")


@pytest.fixture
def rules(rules: SourceRules) -> SourceRules:
    """As everywhere, but no files of vectors are looked for, so that the requests are known."""
    return replace(rules, is_bringing_vectors=False)
