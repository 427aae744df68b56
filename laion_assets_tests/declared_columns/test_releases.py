"""Declared columns in releases: described, compared, and dropped when they are declared no more."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from laion_assets.curation.curation_file import Curation
from laion_assets.releases.catalog import open_released
from laion_assets.releases.diff import compare_releases
from laion_assets.releases.manifest import Manifest
from laion_assets.releases.publish import Publication, ReleaseOrder, publish_release
from laion_assets.runs.due import Due, Wishes, compare_stages, read_chain
from laion_assets.settings import Settings
from laion_assets.stores.columns import DECLARED, read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.declared_columns.test_add_declared import (
    RATIO,
    add,
    declare,
    join,
    list_behind,
    make_rows,
    read,
    write,
)
from laion_assets_tests.pipeline import bring, count

pytestmark = pytest.mark.slow


def release(settings: Settings, curation: Curation) -> Publication:
    count(settings)
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    order = ReleaseOrder("run", curation=curation)
    return publish_release(*stores, tuple(settings.sheets), order)


def find_due(settings: Settings, curation: Curation) -> Due:
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    raws = RawStore(settings.raw_dir).find_all(["a", "b"])
    wishes = Wishes(curation=curation)
    return compare_stages(read_chain(*stores, tuple(settings.sheets), raws, {}, wishes=wishes))


def list_sets(settings: Settings) -> list[str]:
    with Database(settings.database).read() as connection:
        return sorted({note.column_set for note in read_notes(connection)})


def find_gaps(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    return {column.column: column.shards_behind for column in manifest.declared}


@pytest.mark.exhaustive
def test_a_release_has_the_declared_columns_and_says_what_it_lacks(settings: Settings) -> None:
    bring(settings, "a", make_rows(6))
    bring(settings, "b", make_rows(5))
    plain = release(settings, Curation()).manifest
    assert (plain.columns_sha256, plain.declared) == (None, ())

    write(settings.data_dir / "x.csv", pa.table({"url": ["https://a.test/1.jpg"], "score": [3]}))
    curation = declare(settings, RATIO + join("x.csv"))
    add(settings, curation, "a")
    assert list(find_due(settings, curation).steps) == ["b"]
    first = release(settings, curation).manifest
    assert first.content_sha256 == plain.content_sha256
    assert first.columns_sha256 is not None
    assert find_gaps(first) == {"ratio": ("b",), "mine": ("b",)}
    ratio, mine = first.declared
    assert (ratio.type, ratio.value_count, mine.value_count) == ("double", 3, 1)
    assert dict(ratio.definition) == {"sql": "CAST(width AS DOUBLE) / height"}
    assert (ratio.file_digest, len(mine.file_digest or "")) == (None, 64)
    assert "column ratio: not as it is declared in b" in str(ratio.describe_gap())
    # The record of a release from before has none.
    old = json.loads(first.model_dump_json())
    del old["declared"]
    assert Manifest.model_validate(old).declared == ()

    add(settings, curation, "b")
    second = release(settings, curation)
    assert second.is_new
    assert find_gaps(second.manifest) == {"ratio": (), "mine": ()}
    assert not release(settings, curation).is_new
    assert not find_due(settings, curation).is_behind

    store = LanceStore(settings.lance_dir)
    changes = compare_releases(store, plain.release, second.manifest.release).columns_changed
    assert [c.describe() for c in changes] == [
        "column mine: added, values 0 -> 2",
        "column ratio: added, values 0 -> 6",
    ]
    changes = compare_releases(store, first.release, second.manifest.release).columns_changed
    assert [c.what for c in changes] == ["other values"] * 2


def test_a_column_that_is_declared_no_more_is_dropped_at_the_next_release(
    settings: Settings,
) -> None:
    bring(settings, "a", make_rows(6))
    text = '[columns.other]\nsql = "width + 1"\n'
    both = declare(settings, RATIO + text)
    add(settings, both)
    first = release(settings, both).manifest
    fewer = declare(settings, text)
    assert find_due(settings, fewer).refresh is not None
    second = release(settings, fewer)
    assert second.is_new
    assert [c.column for c in second.manifest.declared] == ["other"]
    store = LanceStore(settings.lance_dir)
    assert "ratio" not in store.open("images").schema.names
    assert list_sets(settings) == [DECLARED + "other"]
    assert read(settings, "other")[1] == 11
    assert find_due(settings, fewer).refresh is None
    # The release before still has it.
    assert "ratio" in open_released(store, first, "images").schema.names
    diff = compare_releases(store, first.release, second.manifest.release)
    assert [c.describe() for c in diff.columns_changed] == ["column ratio: removed, values 3 -> 0"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_drop_that_was_cut_off_is_done_again(settings: Settings, moment: str) -> None:
    bring(settings, "a", make_rows(6))
    curation = declare(settings, RATIO)
    add(settings, curation)
    with Database(settings.database).write() as connection:
        connection.execute("UPDATE shard_columns SET lance_version = NULL")
    if moment == "after":
        LanceStore(settings.lance_dir).open("images").drop_columns(["ratio"])
    manifest = release(settings, replace(curation, columns=())).manifest
    assert (manifest.columns_sha256, manifest.declared) == (None, ())
    assert list_sets(settings) == []
    assert "ratio" not in LanceStore(settings.lance_dir).open("images").schema.names


@pytest.mark.exhaustive
def test_a_commit_that_nobody_noted_is_measured(settings: Settings) -> None:
    bring(settings, "a", make_rows(6))
    curation = declare(settings, RATIO)
    add(settings, curation)
    first = release(settings, curation).manifest
    with Database(settings.database).write() as connection:
        connection.execute("UPDATE shard_columns SET lance_version = NULL, digest = 'other'")
    assert list_behind(settings, curation) == {"a": ["ratio"]}
    assert not release(settings, curation).is_new
    assert first.columns[0].value_count == 3
