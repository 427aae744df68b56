"""Seven shards with pictures, vectors, declared columns and subsets: one is loaded again."""

import multiprocessing
import random
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from laion_assets.curation.curation_file import Curation, read_curation
from laion_assets.definitions import build_defs
from laion_assets.releases.catalog import find_release, list_releases
from laion_assets.releases.diff import compare_releases
from laion_assets.runs.backfill import Outcome, discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.subset_record import SubsetRecord, find_made
from laion_assets_tests.conftest import WriteShard, make_settings
from laion_assets_tests.integration.test_crashes import kill_in_the_middle
from laion_assets_tests.subsets.shards import (
    COLUMNS,
    bring_all,
    declare,
    make,
    make_rows,
    release,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

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


@pytest.mark.exhaustive
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
        "lemur" in fold(row["caption"])
        for row in store.open("lemurs", after).to_table().to_pylist()
    )

    # Of the others nothing was written again, and their part of the subsets is the same.
    for shard in set(SHARDS) - {"c"}:
        assert list_data_files(store, after, shard) == list_data_files(store, before, shard)
        assert read_shard(store, after, "wide", shard) == read_shard(store, before, "wide", shard)
    loads = [
        {shard.shard: shard.loaded_at for shard in find_release(store, tag).shards}
        for tag in (before, after)
    ]
    assert [shard for shard in SHARDS if loads[0][shard] != loads[1][shard]] == ["c"]
    diff = compare_releases(store, before, after)
    assert diff.shards_changed == ("c",)
    assert {change.column: change.what for change in diff.columns_changed} == {
        "ratio": "other values",
        "is_wide": "other values",
    }


# Two contents of the shard that is loaded again and again.
CONTENTS = tuple(make_rows("c", 12 + 3 * seed, seed=seed) for seed in range(2))


def refresh(settings: Settings, curation: Curation) -> list[SubsetRecord]:
    """Releases, and makes the subsets; returns their records."""
    release(settings, curation)
    return [make(settings, each, "ratio", "is_wide").record for each in curation.subsets]


def reload_forever(folder: Path, _sources: list[Path], ready: Connection) -> None:
    """Loads the shard with the one content and the other, and refreshes, until it is killed."""
    settings = make_settings(folder.parent)
    curation = read_curation(settings.curation_file)
    ready.send("ready")
    while True:
        for rows in CONTENTS:
            bring_all(settings, "c", rows, curation)
            refresh(settings, curation)


def find_content(rows: list[dict[str, Any]]) -> int:
    """Returns which content these rows of the shard are, after it was checked that all is there."""
    captions = [row["caption"] for row in rows]
    (place,) = [n for n, table in enumerate(CONTENTS) if table["caption"].to_pylist() == captions]
    for row, given in zip(rows, CONTENTS[place].to_pylist(), strict=True):
        assert (row["image"], row["is_wide"]) == (given["image"], given["width"] > 320)
        assert row["ratio"] == given["width"] / given["height"]
        assert (row["img_emb"] is None) == (given["img_emb"] is None)
    return place


def check_release(store: LanceStore, tag: str, others: dict[str, list[dict[str, Any]]]) -> int:
    """Checks that a release has one content of the shard as a whole, and the others as before."""
    for shard, rows in others.items():
        assert read_shard(store, tag, "images", shard) == rows
    return find_content(read_shard(store, tag, "images", "c"))


def is_wanted(row: dict[str, Any], subset: str) -> bool:
    """Returns whether a subset is to have a row."""
    is_wide: bool | None = row["is_wide"]
    return bool(is_wide) if subset == "wide" else "lemur" in fold(row["caption"])


def fold(caption: str) -> str:
    """Returns a caption as the search reads it."""
    return caption.lower().replace("é", "e")


def check_subsets(store: LanceStore, names: list[str]) -> None:
    """Checks that what has the tag of a release has exactly the rows of it that are wanted."""
    for name in names:
        record = find_made(store, name)
        if record is None:
            continue
        made = store.open(name, record.release)
        columns = made.schema.names
        every = store.open("images", record.release).to_table().to_pylist()
        every.sort(key=lambda row: (row["shard"], row["row_index"]))
        found = made.to_table().to_pylist()
        assert found == [
            {column: row[column] for column in columns} for row in every if is_wanted(row, name)
        ]
        assert record.row_count == len(found)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "moment_count", [2, pytest.param(20, marks=pytest.mark.exhaustive)], ids=str
)
def test_a_killed_reload_leaves_releases_and_subsets_whole(
    settings: Settings, moment_count: int
) -> None:
    multiprocessing.set_forkserver_preload([__name__])
    curation = declare(settings, COLUMNS + SUBSETS.replace("limit = 40", ""))
    for shard in SHARDS:
        rows = CONTENTS[0] if shard == "c" else make_rows(shard, 12)
        bring_all(settings, shard, rows, curation)
    store = LanceStore(settings.lance_dir)
    names = [each.name for each in curation.subsets]
    first = refresh(settings, curation)
    tag = find_release(store).release
    others = {s: read_shard(store, tag, "images", s) for s in SHARDS if s != "c"}
    assert check_release(store, tag, others) == 0
    check_subsets(store, names)

    checked = {tag}
    chance = random.Random(moment_count)  # noqa: S311
    for _ in range(moment_count):
        kill_in_the_middle(reload_forever, settings.data_dir, [], chance.uniform(0, 4))
        # The newest version has one content or the other, with its columns or not yet.
        newest = store.open("images").to_table(["caption"], filter="shard = 'c'")
        assert newest.num_rows in {table.num_rows for table in CONTENTS}
        for manifest in list_releases(store):
            if manifest.release not in checked:
                check_release(store, manifest.release, others)
                checked.add(manifest.release)
        check_subsets(store, names)

    bring_all(settings, "c", CONTENTS[1], curation)
    second = refresh(settings, curation)
    assert check_release(store, find_release(store).release, others) == 1
    check_subsets(store, names)
    # The content of before gives the digests of before, whatever was killed on the way.
    bring_all(settings, "c", CONTENTS[0], curation)
    third = refresh(settings, curation)
    assert [each.digest for each in third] == [each.digest for each in first]
    assert all(a.digest != b.digest for a, b in zip(second, third, strict=True))
