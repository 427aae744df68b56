from pathlib import Path

import pytest

from laion_assets.stores.raw_store import RawStore


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    """A store of verified files that has none yet."""
    return RawStore(tmp_path / "raw")
