"""Releases while Lance lacks the present load of a shard: what they have, and what they say."""

from collections import Counter

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.cli.output import print_manifest, print_status
from laion_assets.errors import StaleTableError
from laion_assets.lance_images.table import remove_shards
from laion_assets.operations.status_report import read_status
from laion_assets.partitions import SHARDS_NAME
from laion_assets.releases.catalog import COUNT_TABLES, newest_release, open_released
from laion_assets.releases.coverage import compare_counts, measure_coverage
from laion_assets.releases.manifest import Manifest
from laion_assets.releases.publish import Publication, ReleaseOrder, publish_release
from laion_assets.runs.due import Due, compare_stages, read_chain
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.subsets.subset_record import add_subsets
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.conftest import IN_BOTH_PLACES, WriteSheet
from laion_assets_tests.pipeline import copy, count, ingest, load, refresh
from laion_assets_tests.web.site import run_site

pytestmark = pytest.mark.slow


def load_only(settings: Settings, shard: str, *captions: str, domain: str = "new.test") -> None:
    """Brings a shard to DuckDB, as if its copy to Lance had failed."""
    source = settings.data_dir / "shards" / f"{shard}.parquet"
    source.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://{domain}/{row}.jpg" for row in range(len(captions))]
    pq.write_table(pa.table({"url": urls, "caption": list(captions)}), source)
    load(settings, shard, source)


def refresh_partly(settings: Settings) -> Publication:
    count(settings)
    order = ReleaseOrder("run", is_partial=True)
    stores = Database.of(settings), LanceStore.of(settings)
    return publish_release(*stores, tuple(settings.sheets), order)


def read_counts(settings: Settings, manifest: Manifest, table: str) -> list[tuple[object, ...]]:
    rows = open_released(LanceStore.of(settings), manifest, table).to_table().to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def find_due(settings: Settings) -> Due:
    database, store = Database.of(settings), LanceStore.of(settings)
    raws = RawStore(settings.raw_dir).find_all(["a", "b", "c"])
    return compare_stages(read_chain(database, store, tuple(settings.sheets), raws, {}))


def check_true_to_record(settings: Settings, manifest: Manifest) -> None:
    """Every number of the release follows from the rows of its Lance table, and from its record."""
    store = LanceStore.of(settings)
    rows = open_released(store, manifest, "images").to_table().to_pylist()
    by_shard = Counter(row["shard"] for row in rows)
    assert by_shard == {s.shard: s.image_count for s in manifest.shards if s.image_count}
    for shard in manifest.shards:
        ids = [row["image_id"] for row in rows if row["shard"] == shard.shard]
        assert str(sum(ids)) == shard.id_sum
    assert manifest.row_counts["images"] == len(rows)
    domains = Counter(row["domain"] for row in rows)
    assert read_counts(settings, manifest, "domain_counts") == sorted(domains.items())
    sites = Counter(row["registered_domain"] for row in rows)
    hosts = {s: len({r["domain"] for r in rows if r["registered_domain"] == s}) for s in sites}
    expected = sorted((site, n, hosts[site]) for site, n in sites.items())
    assert read_counts(settings, manifest, "site_counts") == expected
    for kind, name, image_count in read_counts(settings, manifest, "entity_counts"):
        words = str(name).lower()
        found = sum(words in row["caption"].lower() for row in rows)
        assert (kind, name, image_count) == (kind, name, found)
    differing = compare_counts(Database.of(settings), store, manifest)
    assert differing == dict.fromkeys(COUNT_TABLES, 0)
    assert not any(c.unindexed_rows for c in measure_coverage(store, manifest))


@pytest.mark.exhaustive
def test_a_shard_that_lance_never_had_holds_the_others_not_back(
    settings: Settings, write_sheet: WriteSheet
) -> None:
    write_sheet("artists", "Fox", "Lemur")
    ingest(settings, "a", "a fox", "a lemur")
    load_only(settings, "b", "a fox", "another fox")

    manifest = refresh_partly(settings).manifest

    assert [shard.shard for shard in manifest.shards] == ["a"]
    assert [(s.shard, s.is_carried) for s in manifest.outdated] == [("b", False)]
    assert ("artists", "Fox", 1) in read_counts(settings, manifest, "entity_counts")
    check_true_to_record(settings, manifest)


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_shard_whose_new_load_was_not_copied_stays_as_the_release_before_had_it(
    settings: Settings, write_sheet: WriteSheet
) -> None:
    write_sheet("artists", "Fox", "Lemur")
    ingest(settings, "a", "a fox")
    ingest(settings, "b", "a lemur", "a red fox", "")
    refresh(settings)
    before = newest_release(LanceStore.of(settings))
    load_only(settings, "b", "nothing", "of them", "at all", "a fox")
    write_sheet("artists", "Fox", "Lemur", "Red")
    ingest(settings, "c", "a fox and a lemur")

    manifest = refresh_partly(settings).manifest

    assert before
    records = {shard.shard: shard for shard in manifest.shards}
    assert list(records) == ["a", "b", "c"]
    old = next(shard for shard in before.shards if shard.shard == "b")
    assert records["b"] == old
    (outdated,) = manifest.outdated
    assert (outdated.shard, outdated.is_carried) == ("b", True)
    assert outdated.sha256 != old.sha256
    assert outdated.describe().startswith("an older load of b: its load of ")
    counts = read_counts(settings, manifest, "entity_counts")
    assert {("artists", "Fox", 3), ("artists", "Lemur", 2), ("artists", "Red", 1)} <= set(counts)
    check_true_to_record(settings, manifest)


@pytest.mark.exhaustive
def test_the_pages_and_commands_say_which_load_a_release_does_not_have(
    settings: Settings, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(settings, "a", "a fox")
    load_only(settings, "b", "a wolf")
    manifest = refresh_partly(settings).manifest
    sentence = manifest.outdated[0].describe()
    assert sentence.startswith("nothing of b: its load of ")

    print_manifest(add_subsets(LanceStore.of(settings), manifest))
    shown = capsys.readouterr().out
    instance.add_dynamic_partitions(SHARDS_NAME, ["a", "b"])
    status = read_status(settings, instance)
    print_status(status)
    listed = capsys.readouterr().out
    shelf = Shelf(LanceStore.of(settings))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        page = site.get(f"/releases/{manifest.release}").text

    assert f"It has {sentence}\n" in shown
    assert f"The release has {sentence}\n" in listed
    assert status.release
    assert status.release.outdated == manifest.outdated
    assert {shard.shard: shard.state for shard in status.shards} == {"a": "done", "b": "part done"}
    assert (status.is_sound, status.is_release_behind) == (False, True)
    assert f"<li>{sentence}</li>" in page


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", ["an older load", "the present load, without its note"])
def test_rows_that_no_record_describes_are_taken_out_until_the_next_copy(
    settings: Settings, case: str
) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings)
    ingest(settings, "b", "a lemur")
    if case == "an older load":
        load_only(settings, "b", "a wolf")
    else:
        with Database.of(settings).write() as connection:
            connection.execute("UPDATE shards SET lance_version = NULL WHERE shard = 'b'")
    ingest(settings, "c", "a cat")

    manifest = refresh_partly(settings).manifest

    assert [shard.shard for shard in manifest.shards] == ["a", "c"]
    assert [(s.shard, s.is_carried) for s in manifest.outdated] == [("b", False)]
    check_true_to_record(settings, manifest)
    copy(settings, "b")
    whole = refresh_partly(settings).manifest
    assert [shard.shard for shard in whole.shards] == ["a", "b", "c"]
    assert whole.outdated == ()
    check_true_to_record(settings, whole)


@pytest.mark.exhaustive
def test_other_rows_with_the_same_ids_are_not_taken_for_those_of_the_record(
    settings: Settings,
) -> None:
    """The copy was committed, and its note was lost: Lance has the new rows."""
    ingest(settings, "a", "a fox")
    ingest(settings, "b", "a lemur")
    refresh(settings)
    ingest(settings, "b", "a wolf")
    with Database.of(settings).write() as connection:
        connection.execute("UPDATE shards SET lance_version = NULL WHERE shard = 'b'")

    manifest = refresh_partly(settings).manifest

    assert [shard.shard for shard in manifest.shards] == ["a"]
    check_true_to_record(settings, manifest)


def test_what_is_due_is_released_once_and_again_with_the_copy(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    ingest(settings, "b", "a lemur")
    refresh(settings)
    load_only(settings, "b", "a wolf")
    count(settings)
    # The release has all that is sound: there is nothing to do before the copy.
    assert (find_due(settings).refresh, find_due(settings).outdated) == (None, ["b"])
    ingest(settings, "c", "a cat")
    due = find_due(settings)
    assert (due.refresh is not None, due.held_by) == (True, [])

    first = refresh_partly(settings)
    due = find_due(settings)
    assert (due.refresh, due.is_behind, due.outdated) == (None, True, ["b"])
    assert not refresh_partly(settings).is_new
    copy(settings, "b")
    assert find_due(settings).refresh
    second = refresh_partly(settings)

    assert (first.is_new, second.is_new) == (True, True)
    assert find_due(settings) == Due({}, {}, [], None, [], False)


@pytest.mark.exhaustive
def test_there_is_no_release_where_no_shard_is_sound(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    load_only(settings, "a", "a wolf")
    count(settings)
    assert find_due(settings).held_by == ["a"]

    with pytest.raises(StaleTableError, match="differ for 1 shard, the first is a;"):
        refresh_partly(settings)


@pytest.mark.exhaustive
def test_what_lance_alone_has_is_never_released_nor_removed(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    ingest(settings, "b", "a lemur")
    with Database.of(settings).write() as connection:
        for table in ("shards", "images"):
            connection.execute(f"DELETE FROM {table} WHERE shard = 'b'")
    count(settings)
    due = find_due(settings)
    assert (due.held_by, due.outdated) == (["b"], [])

    with pytest.raises(StaleTableError, match="differ for 1 shard, the first is b;"):
        refresh_partly(settings)

    store = LanceStore.of(settings)
    assert store.open("images").count_rows() == 2
    remove_shards(store, "images", ["b"])
    assert refresh_partly(settings).is_new


@pytest.mark.exhaustive
def test_a_whole_release_is_asked_for_by_default(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    load_only(settings, "b", "a fox")

    with pytest.raises(StaleTableError, match="differ for 1 shard, the first is b;"):
        refresh(settings)
