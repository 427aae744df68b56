"""A process that is killed while it makes a subset leaves a whole table: the old one or the new."""

import random
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pytest

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.subset_record import find_made, read_record
from laion_assets_tests.integration.test_crashes import kill_in_the_middle
from laion_assets_tests.subsets.shards import COLUMNS, bring_all, declare, make, make_rows, release

pytestmark = pytest.mark.slow

CHOSEN = ("shard", "row_index", "caption", "image", "img_emb", "ratio")
SUBSETS = [
    DeclaredSubset("lemurs", where=condition, columns=CHOSEN) for condition in ("is_wide", "true")
]
# Few show it in each run of the tests; `make test-exhaustive` looks for a moment that is worse.
in_many_moments = pytest.mark.parametrize(
    "moment_count", [3, pytest.param(20, marks=pytest.mark.exhaustive)]
)


def make_forever(folder: Path, _sources: list[Path], ready: Connection) -> None:
    """Makes the one subset and the other under the same name, until it is killed."""
    settings = Settings.default(folder)
    ready.send("ready")
    while True:
        for subset in SUBSETS:
            make(settings, subset, "ratio")


@in_many_moments
def test_a_killed_process_leaves_the_old_table_or_the_new_one(
    settings: Settings, moment_count: int
) -> None:
    curation = declare(settings, COLUMNS)
    bring_all(settings, "a", make_rows("a", 300), curation)
    release(settings, curation)
    store = LanceStore(settings.lance_dir)
    whole: list[pa.Table] = []
    records = []
    for subset in SUBSETS:
        records.append(make(settings, subset, "ratio").record)
        whole.append(store.open("lemurs").to_table())
    rng = random.Random(moment_count)  # noqa: S311
    for _ in range(moment_count):
        kill_in_the_middle(make_forever, settings.data_dir, [], rng.uniform(0, 0.6))
        dataset = store.open("lemurs")
        record = read_record(dataset)
        assert record is not None
        # The record came with its rows.
        place = [each.definition_sha256 for each in records].index(record.definition_sha256)
        assert record.digest == records[place].digest
        assert dataset.to_table() == whole[place]
        # What has the tag has its indices, too.
        tagged = store.open("lemurs", record.release)
        assert {index.name for index in tagged.describe_indices()} >= {"caption_idx", "ratio_idx"}
        assert tagged.to_table() in whole
    for subset, rows in zip(SUBSETS, whole, strict=True):
        made = make(settings, subset, "ratio")
        assert find_made(store, "lemurs") == made.record
        assert store.open("lemurs", made.record.release).to_table() == rows
