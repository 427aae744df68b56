"""Seven shards with pictures, vectors, declared columns and subsets: one is loaded again."""

from typing import Any

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.releases.diff import compare_releases
from laion_assets.runs.backfill import Outcome, discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.subsets.shards import COLUMNS, bring_all, declare, make_rows

pytestmark = pytest.mark.slow

SHARDS = tuple("abcdefg")
SUBSETS = """
[subsets.wide]
where = "is_wide"
columns = ["shard", "row_index", "caption", "image", "img_emb", "ratio", "is_wide"]
[subsets.lemurs]
search = "lemur"
limit = 40
"""


class Project:
    """Runs the jobs of a project, as its daemon does."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.defs = build_defs(settings)

    def run(self, job: str, shard: str | None = None) -> Outcome:
        outcome = run_job(self.defs.resolve_job_def(job), self.instance, shard)
        assert outcome.reason is None
        return outcome

    def bring(self, shard: str) -> None:
        self.run("ingest_shards", shard)
        self.run("add_pictures", shard)


def read_shard(store: LanceStore, tag: str, table: str, shard: str) -> list[dict[str, Any]]:
    rows = store.open(table, tag).to_table(filter=f"shard = '{shard}'").to_pylist()
    return sorted(rows, key=lambda row: int(row["row_index"]))


def list_data_files(store: LanceStore, tag: str, shard: str) -> set[str]:
    dataset = store.open("images", tag)
    return {
        file.path
        for fragment in dataset.get_fragments()
        if fragment.count_rows(f"shard = '{shard}'")
        for file in fragment.data_files()
    }


def test_a_shard_that_is_loaded_again_has_everything_again_and_no_other_is_touched(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    curation = declare(settings, COLUMNS + SUBSETS)
    for shard in SHARDS:
        bring_all(settings, shard, make_rows(shard, 12), curation)
    discover_shards(settings, instance)
    project = Project(settings, instance)
    store = LanceStore(settings.lance_dir)
    before = str(project.run("refresh_counts").metadata["release"]["tag"])

    table = make_rows("c", 15, seed=1)
    write_shard("c", **{name: table[name].combine_chunks() for name in table.column_names})
    project.bring("c")
    made = project.run("refresh_counts").metadata
    after = str(made["release"]["tag"])
    assert after != before
    assert made["lemurs"]["release"] == made["wide"]["release"] == after

    rows = read_shard(store, after, "images", "c")
    source = make_rows("c", 15, seed=1).to_pylist()
    assert [row["caption"] for row in rows] == [row["caption"] for row in source]
    for row, given in zip(rows, source, strict=True):
        assert (row["image"], row["is_wide"]) == (given["image"], given["width"] > 320)
        assert row["ratio"] == given["width"] / given["height"]
        assert (row["img_emb"] is None) == (given["img_emb"] is None)
    wide = read_shard(store, after, "wide", "c")
    chosen = store.open("wide").schema.names
    assert wide == [{name: row[name] for name in chosen} for row in rows if row["is_wide"]]
    assert all(
        "lemur" in row["caption"].lower().replace("é", "e")
        for row in store.open("lemurs", after).to_table().to_pylist()
    )

    # Of the others nothing was written again, and their part of the subsets is the same.
    for shard in set(SHARDS) - {"c"}:
        assert list_data_files(store, after, shard) == list_data_files(store, before, shard)
        assert read_shard(store, after, "wide", shard) == read_shard(store, before, "wide", shard)
    diff = compare_releases(store, before, after)
    assert diff.shards_changed == ("c",)
    assert {change.column: change.what for change in diff.columns_changed} == {
        "ratio": "other values",
        "is_wide": "other values",
    }
