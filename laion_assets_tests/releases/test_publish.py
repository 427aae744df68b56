"""Releases: what they hold, what they say of themselves, and what stays and goes."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import pytest

from laion_assets.errors import LaionError
from laion_assets.lance_images import indices
from laion_assets.releases.catalog import (
    TABLES,
    find_release,
    list_damaged,
    list_releases,
    newest_release,
    open_released,
)
from laion_assets.releases.cleanup import delete_release
from laion_assets.releases.diff import CountChange, compare_releases
from laion_assets.releases.list_columns import ListColumns, read_released_lists
from laion_assets.releases.manifest import DIGESTED, Manifest
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.current_release import Shelf
from laion_assets_tests.conftest import WriteSheet, copy_made, make_settings
from laion_assets_tests.pipeline import copy, count, ingest, load, publish, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


def today() -> str:
    return datetime.now(tz=UTC).date().isoformat()


def list_tags(settings: Settings) -> list[str]:
    return [manifest.release for manifest in list_releases(LanceStore(settings.lance_dir))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One shard with one caption, in Lance and counted."""
    settings = make_settings(tmp_path_factory.mktemp("counted"))
    ingest(settings, "a", "a fox")
    count(settings)
    return settings


@pytest.fixture
def counted(settings: Settings, made: Settings) -> Settings:
    """A copy of it, to be released."""
    return copy_made(made, settings)


def table(settings: Settings, name: str) -> lance.LanceDataset:
    return lance.dataset(settings.lance_dir / f"{name}.lance")


@pytest.mark.exhaustive
def test_a_release_says_what_is_behind_it(settings: Settings, write_sheet: WriteSheet) -> None:
    ingest(settings, "a", "a fox", "", "two foxes")
    sheet = write_sheet("artists", "Fox", "Nobody")
    tag = refresh(settings)

    manifest = find_release(LanceStore(settings.lance_dir), tag)

    (shard,) = manifest.shards
    source = settings.data_dir / "shards" / "a.parquet"
    assert shard.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (shard.shard, shard.source, shard.file_rows) == ("a", str(source), 3)
    assert (shard.image_count, shard.rejected_count) == (2, 1)
    sheets = {sheet.kind: sheet for sheet in manifest.sheets}
    assert sheets["artists"].sha256 == hashlib.sha256(sheet.read_bytes()).hexdigest()
    assert (sheets["artists"].name_count, sheets["artists"].location) == (2, str(sheet))
    assert manifest.row_counts == {
        "images": 2,
        "domain_counts": 1,
        "site_counts": 1,
        "entity_counts": 4,
    }
    assert {"laion-assets", "duckdb", "pylance", "python", "sqlite"} <= manifest.versions.keys()
    for name in TABLES:
        tagged = table(settings, name).tags.list()[tag]["version"]
        assert tagged == manifest.lance_versions[name]


@pytest.mark.exhaustive
def test_the_content_digest_can_be_computed_from_the_record(counted: Settings) -> None:
    refresh(counted)
    manifest = newest_release(LanceStore(counted.lance_dir))
    assert manifest

    # By the docstring of `digest_content`, with nothing of ours.
    record = json.loads(manifest.model_dump_json())
    shards = {s["shard"]: {name: s[name] for name in DIGESTED} for s in record["shards"]}
    content = {**record["count_digests"], "shards": shards}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == manifest.content_sha256


def test_the_same_inputs_in_another_folder_order_and_at_once_have_the_same_digest(
    settings: Settings, tmp_path: Path
) -> None:
    shards = {f"s{n}": [f"caption {n} {row}" for row in range(n + 1)] for n in range(6)}
    for shard, captions in shards.items():
        ingest(settings, shard, *captions)
    refresh(settings)
    other = replace(settings, data_dir=tmp_path / "elsewhere")
    # One is replaced twice on the way.
    ingest(other, "s3", "something else")
    threads = [
        threading.Thread(target=ingest, args=(other, shard, *captions))
        for shard, captions in reversed(shards.items())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refresh(other, "rebuilt")

    one, two = (newest_release(LanceStore(s.lance_dir)) for s in (settings, other))

    assert one
    assert two
    assert one.content_sha256 == two.content_sha256
    assert one.lance_versions != two.lance_versions


CHANGES: dict[str, Callable[[Settings, WriteSheet], object]] = {
    "a caption": lambda settings, _: ingest(settings, "a", "a fix"),
    "a shard more": lambda settings, _: ingest(settings, "b", "a fox"),
    "a rejected row": lambda settings, _: ingest(settings, "a", "a fox", ""),
    "a name": lambda _, write_sheet: write_sheet("artists", "Fox", "Lemur"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", CHANGES)
def test_what_changed_is_released_and_else_nothing(
    counted: Settings, write_sheet: WriteSheet, case: str
) -> None:
    write_sheet("artists", "Fox")
    assert refresh(counted) == refresh(counted) == today()
    ingest(counted, "a", "a fox")
    count(counted)
    again = publish(counted)
    assert (again.is_new, again.manifest.release) == (False, today())

    CHANGES[case](counted, write_sheet)

    assert refresh(counted) == f"{today()}.2"
    assert list_tags(counted) == [f"{today()}.2", today()]


@pytest.mark.exhaustive
def test_a_release_can_be_named(counted: Settings) -> None:
    assert refresh(counted, "paper-1.0") == "paper-1.0"
    ingest(counted, "a", "a wolf")
    assert refresh(counted) == today()
    assert list_tags(counted) == [today(), "paper-1.0"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["", "a b", "..", "a/b", ".a", "a.", "é", "x.lock", "-x"])
def test_a_name_that_lance_does_not_take_is_refused(counted: Settings, name: str) -> None:
    with raises("release-name-invalid"):
        refresh(counted, name)
    assert list_tags(counted) == []


@pytest.mark.exhaustive
def test_a_name_is_never_given_twice(counted: Settings) -> None:
    refresh(counted, "first")
    ingest(counted, "a", "a wolf")
    with raises("release-name-used"):
        refresh(counted, "first")
    assert refresh(counted) == today()
    delete_release(LanceStore(counted.lance_dir), today())
    assert list_tags(counted) == ["first"]
    assert refresh(counted) == f"{today()}.2"


@pytest.mark.exhaustive
def test_a_run_that_is_repeated_finds_its_own_release(counted: Settings) -> None:
    assert refresh(counted, "first") == refresh(counted, "first") == "first"


@pytest.mark.exhaustive
def test_another_name_for_the_same_content_is_refused(counted: Settings) -> None:
    refresh(counted)
    with pytest.raises(LaionError, match=f"nothing has changed since {today()}, so there is no"):
        refresh(counted, "paper")


@pytest.mark.exhaustive
def test_what_a_cut_off_release_left_goes_and_the_tags_of_others_stay(counted: Settings) -> None:
    first = refresh(counted)
    ingest(counted, "a", "a wolf")
    second = refresh(counted)
    # As if it had died before its last tag; and somebody has a tag of that name elsewhere.
    table(counted, "images").tags.delete(second)
    counts = table(counted, "entity_counts")
    counts.tags.update(second, 1)
    ingest(counted, "a", "a lemur")

    third = refresh(counted)

    assert third == f"{first}.3"
    assert set(table(counted, "domain_counts").tags.list()) == {first, third}
    assert counts.tags.list()[second]["version"] == 1


@pytest.mark.exhaustive
def test_what_a_cut_off_deletion_left_goes(counted: Settings) -> None:
    first = refresh(counted)
    delete_release(LanceStore(counted.lance_dir), first)
    counts = table(counted, "domain_counts")
    counts.tags.create(first, counts.version)
    ingest(counted, "a", "a wolf")
    second = refresh(counted)
    assert set(counts.tags.list()) == {second}
    with pytest.raises(LaionError, match=rf"no release '{first}', it was deleted at 20.* UTC; the"):
        find_release(LanceStore(counted.lance_dir), first)


@pytest.mark.exhaustive
def test_a_release_of_which_a_table_is_lost_is_made_again(counted: Settings) -> None:
    first = refresh(counted)
    shutil.rmtree(counted.lance_dir / "domain_counts.lance")
    assert list_tags(counted) == []
    assert refresh(counted) == f"{first}.2"
    assert list_tags(counted) == [f"{first}.2"]


@pytest.mark.exhaustive
def test_a_release_of_which_a_table_is_lost_says_so_and_can_be_deleted(counted: Settings) -> None:
    first, store = refresh(counted), LanceStore(counted.lance_dir)
    table(counted, "images").tags.create("mine", 1)
    shutil.rmtree(counted.lance_dir / "domain_counts.lance")

    assert list_damaged(store) == [first]
    for tag in (first, None):
        with raises("release-damaged"):
            find_release(store, tag)
    second = refresh(counted)
    assert find_release(store).release == second
    delete_release(store, first)

    assert list_damaged(store) == []
    assert set(table(counted, "images").tags.list()) == {second, "mine"}
    with raises("release-unknown"):
        find_release(store, first)


@pytest.mark.exhaustive
def test_a_release_outlives_a_table_that_becomes_empty(counted: Settings) -> None:
    first = refresh(counted)

    ingest(counted, "a", "")
    second = refresh(counted)
    assert list_tags(counted) == [second, first]
    for name in TABLES:
        assert set(table(counted, name).tags.list()) == {first, second}
    assert find_release(LanceStore(counted.lance_dir), first).row_counts["images"] == 1

    ingest(counted, "a", "a wolf")
    third = refresh(counted)
    assert list_tags(counted) == [third, second, first]
    assert open_search(LanceStore(counted.lance_dir), first).find("fox").total == 1


@pytest.mark.exhaustive
def test_versions_of_an_empty_table_are_cleaned_up(counted: Settings) -> None:
    ingest(counted, "a", "")
    count(counted)
    assert publish(counted, keep_days=0).cleaning.version_count > 1
    assert len(table(counted, "images").versions()) <= 2


@pytest.mark.exhaustive
def test_a_first_release_without_a_good_row_is_found(settings: Settings) -> None:
    ingest(settings, "a", "")
    tag = refresh(settings)
    assert list_tags(settings) == [tag]
    assert find_release(LanceStore(settings.lance_dir)).row_counts["images"] == 0
    search = open_search(LanceStore(settings.lance_dir))
    assert search.find("fox").total == search.browse(SearchFilter(shard="a")).total == 0
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    assert shelf.current.image_count == 0
    assert refresh(settings) == tag


@pytest.mark.exhaustive
def test_a_first_release_without_names_is_found(settings: Settings) -> None:
    settings = replace(settings, sheets={})
    ingest(settings, "a", "a fox")
    tag = refresh(settings)
    assert list_tags(settings) == [tag]
    assert table(settings, "entity_counts").count_rows() == 0


@pytest.mark.exhaustive
def test_a_deleted_release_is_known_by_an_empty_table(counted: Settings) -> None:
    first = refresh(counted)
    ingest(counted, "a", "")
    refresh(counted)
    delete_release(LanceStore(counted.lance_dir), first)
    with pytest.raises(LaionError, match=f"no release '{first}', it was deleted at"):
        find_release(LanceStore(counted.lance_dir), first)


ODD_NAMES = {
    "letter": "müller",
    "ideographs": "日本",
    "emoji": "🦊",
    "signs": "a~b#c|\"'{}^`<>*[x]&;$ =1",
    # Percent-encoded, it is longer than a name can be.
    "long": "é" * 127,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_release_is_made_below_a_folder_of_any_name(settings: Settings, name: str) -> None:
    home = settings.data_dir.parent / "home"
    inside = replace(Settings.default(home / name / "data"), sheets=settings.sheets)
    ingest(inside, "a", "a fox")
    tag = refresh(inside)

    assert [path.name for path in home.iterdir()] == [name]
    assert list_tags(inside) == [tag]
    assert open_search(LanceStore(inside.lance_dir), tag).find("fox").total == 1
    delete_release(LanceStore(inside.lance_dir), tag)
    assert list_tags(inside) == []
    assert [path.name for path in home.iterdir()] == [name]


@pytest.mark.exhaustive
def test_a_release_needs_nothing_beside_the_data_folder(settings: Settings) -> None:
    home = settings.data_dir.parent / "home"
    home.mkdir()
    # As if no folder could be made there, which root always can.
    (home / "m%C3%BCller").touch()
    inside = replace(Settings.default(home / "müller" / "data"), sheets=settings.sheets)
    ingest(inside, "a", "a fox")
    tag = refresh(inside)
    assert list_tags(inside) == [tag]


@pytest.mark.exhaustive
def test_a_tag_has_what_lance_writes_itself(counted: Settings) -> None:
    tag = refresh(counted)
    images = table(counted, "images")
    images.tags.create("mine", images.version)
    ours, theirs = images.tags.list()[tag], images.tags.list()["mine"]
    assert ours.keys() == theirs.keys()
    assert ours["manifest_size"] == theirs["manifest_size"]
    assert ours["created_at"]
    assert theirs["created_at"]
    assert abs(theirs["created_at"] - ours["created_at"]) < timedelta(days=1)


@pytest.mark.exhaustive
def test_tags_of_others_are_no_releases_and_stay(counted: Settings) -> None:
    tag = refresh(counted)
    images = table(counted, "images")
    images.tags.create("mine", images.version)
    ingest(counted, "a", "a wolf")
    refresh(counted)
    assert list_tags(counted) == [f"{tag}.2", tag]
    with raises("release-unknown"):
        find_release(LanceStore(counted.lance_dir), "mine")
    assert "mine" in images.tags.list()


def read_all(dataset: lance.LanceDataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = dataset.to_table().to_pylist()
    return rows


@pytest.mark.exhaustive
def test_who_holds_a_release_reads_the_same_whatever_is_replaced_and_cleaned(
    settings: Settings,
) -> None:
    for shard in "abc":
        ingest(settings, shard, f"a fox in {shard}", f"a wolf in {shard}")
    tag = refresh(settings)
    manifest = find_release(LanceStore(settings.lance_dir), tag)
    held = {name: open_released(LanceStore(settings.lance_dir), manifest, name) for name in TABLES}
    search = open_search(LanceStore(settings.lance_dir), tag)
    rows = {name: read_all(dataset) for name, dataset in held.items()}
    hits = search.find("fox", only=SearchFilter(max_punsafe=0.5)).hits
    assert len(hits) == 3

    for shard in "abc":
        ingest(settings, shard, f"a lemur in {shard}")
    table(settings, "images").optimize.compact_files()
    count(settings)
    cleaning = publish(settings, keep_days=0).cleaning

    assert cleaning.version_count > 3
    assert cleaning.freed_bytes > 0
    # In the tables that were open, and opened anew.
    assert {name: read_all(dataset) for name, dataset in held.items()} == rows
    assert {
        name: read_all(open_released(LanceStore(settings.lance_dir), manifest, name))
        for name in TABLES
    } == rows
    for opened in (search, open_search(LanceStore(settings.lance_dir), tag)):
        assert opened.find("fox", only=SearchFilter(max_punsafe=0.5)).hits == hits
        assert opened.find("lemur").total == 0
    assert open_search(LanceStore(settings.lance_dir)).find("lemur").total == 3


@pytest.mark.exhaustive
def test_versions_stay_for_the_days_that_are_set(counted: Settings) -> None:
    refresh(counted)
    before = len(table(counted, "images").versions())
    ingest(counted, "a", "a wolf")
    count(counted)
    assert publish(counted, keep_days=1).cleaning.version_count == 0
    assert len(table(counted, "images").versions()) > before


@pytest.mark.exhaustive
def test_a_deleted_release_frees_its_data(settings: Settings) -> None:
    captions = [f"a fox {n}" for n in range(5000)]
    ingest(settings, "a", *captions)
    first = refresh(settings)
    ingest(settings, "a", *reversed(captions))
    second = refresh(settings)

    cleaning = delete_release(LanceStore(settings.lance_dir), first, keep_days=0)

    assert cleaning.freed_bytes > 50_000
    assert list_tags(settings) == [second]
    assert all(list(table(settings, name).tags.list()) == [second] for name in TABLES)
    assert open_search(LanceStore(settings.lance_dir)).find("fox").total == 5000
    with pytest.raises(
        LaionError, match=f"no release '{first}', it was deleted at .*; the newest is {second}"
    ):
        delete_release(LanceStore(settings.lance_dir), first)


@pytest.mark.exhaustive
def test_small_fragments_are_joined_where_that_saves_many(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "MIN_FRAGMENTS_SAVED", 10)
    shards = [f"s{n}" for n in range(9)]
    for shard in shards:
        ingest(settings, shard, f"a fox in {shard}")
    count(settings)
    assert publish(settings).fragments_saved == 0
    more = [f"t{n}" for n in range(5)]
    for shard in more:
        ingest(settings, shard, f"a fox in {shard}")
    count(settings)

    assert publish(settings).fragments_saved > 10

    # Each shard can be replaced as before, and none harms another.
    ingest(settings, "s4", "a lemur", "another lemur")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))
    assert (search.find("fox").total, search.find("lemur").total) == (13, 2)
    assert search.find("lemur", only=SearchFilter(min_width=1)).total == 1
    assert search.find("fox", only=SearchFilter(shard="t2", max_punsafe=0.5)).total == 1
    rows = open_released(
        LanceStore(settings.lance_dir), find_release(LanceStore(settings.lance_dir)), "images"
    )
    assert sorted(rows.to_table()["shard"].to_pylist()) == sorted([*shards, *more, "s4"])


def test_the_difference_of_two_releases(settings: Settings, write_sheet: WriteSheet) -> None:
    write_sheet("artists", "Fox", "Wolf", "Gone")
    for shard, captions in {"a": ["a fox"], "b": ["wolf", "wolf"], "c": ["fox"]}.items():
        ingest(settings, shard, *captions)
    before = refresh(settings)
    ingest(settings, "b", "wolf", "fox", "fox")
    ingest(settings, "d", "lemur")
    write_sheet("artists", "Fox", "Wolf", "Lemur")
    after = refresh(settings)

    diff = compare_releases(LanceStore(settings.lance_dir), before, after)

    assert (diff.shards_added, diff.shards_removed, diff.shards_changed) == (("d",), (), ("b",))
    assert (diff.image_count_before, diff.image_count_after) == (4, 6)
    assert (diff.sheets_changed, diff.is_same_content) == (("artists",), False)
    assert diff.domains.changed_count == 2
    assert diff.domains.risers == (
        CountChange(kind=None, name="b.test", before=2, after=3),
        CountChange(kind=None, name="d.test", before=0, after=1),
    )
    assert diff.names.risers == (
        CountChange(kind="artists", name="Fox", before=2, after=4),
        CountChange(kind="artists", name="Lemur", before=0, after=1),
    )
    assert diff.names.fallers == (CountChange(kind="artists", name="Wolf", before=2, after=1),)

    back = compare_releases(LanceStore(settings.lance_dir), after, before, top=1)

    assert (back.shards_added, back.shards_removed) == ((), ("d",))
    assert back.names.changed_count == 3
    assert [change.name for change in back.names.fallers] == ["Fox"]


@pytest.mark.exhaustive
def test_a_column_without_any_value_is_indexed_too(counted: Settings) -> None:
    # `aesthetic` and `height` are in none of these files.
    tag = refresh(counted)
    found = open_search(LanceStore(counted.lance_dir), tag).find(
        "fox", only=SearchFilter(min_aesthetic=0)
    )
    assert found.total == 0


@pytest.mark.exhaustive
def test_a_search_before_any_release_has_what_was_written_last(settings: Settings) -> None:
    with raises("search-of-nothing"):
        open_search(LanceStore(settings.lance_dir))
    ingest(settings, "a", "a fox", "the fox runs")

    answer = open_search(LanceStore(settings.lance_dir)).find("the fox")

    assert (answer.release, answer.total) == (None, 1)


@pytest.mark.exhaustive
def test_rows_written_since_the_release_are_found_once_in_the_newest_version(
    settings: Settings,
) -> None:
    ingest(settings, "a", "a fox", "a wolf")
    ingest(settings, "b", "a fox")
    tag = refresh(settings)
    ingest(settings, "b", "two red foxes", "a red fox")
    ingest(settings, "c", "a red fox")

    newest = open_search(LanceStore(settings.lance_dir), is_newest=True)

    for query, total in {"fox": 3, '"red fox"': 2, "red": 3}.items():
        answer = newest.find(query)
        assert answer.total == total
        assert len({(hit["shard"], hit["row_index"]) for hit in answer.hits}) == total
    assert newest.find("fox", only=SearchFilter(shard="c", max_punsafe=0.6)).total == 1
    assert open_search(LanceStore(settings.lance_dir)).find("fox").total == 2
    assert open_search(LanceStore(settings.lance_dir)).find("fox").release == tag


@pytest.mark.exhaustive
def test_a_load_that_is_not_in_lance_is_not_released(counted: Settings) -> None:
    tag = refresh(counted)
    load(counted, "a", counted.data_dir / "shards" / "a.parquet")
    count(counted)
    with pytest.raises(LaionError, match="DuckDB and Lance differ for 1 shard, the first is a"):
        publish(counted)
    assert list_tags(counted) == [tag]
    copy(counted, "a")
    assert publish(counted).is_new is False


@pytest.mark.exhaustive
def test_a_record_from_before_samples_were_marked_can_be_read(settings: Settings) -> None:
    ingest(settings, "a", "x")
    count(settings)
    manifest = publish(settings).manifest
    record = manifest.model_dump(mode="json")
    assert [shard.pop("is_sample") for shard in record["shards"]] == [False]
    assert Manifest.model_validate(record) == manifest


@pytest.mark.exhaustive
def test_other_columns_of_a_list_are_released_as_they_change(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    sheet = Path(settings.sheets["artists"])
    sheet.write_text("name,born\nfox,1452\n", encoding="utf-8")
    first = refresh(settings)
    assert refresh(settings) == first
    sheet.write_text("name,born\nfox,1453\n", encoding="utf-8")
    second = refresh(settings)

    store = LanceStore(settings.lance_dir)
    assert second != first
    manifests = {manifest.release: manifest for manifest in list_releases(store)}
    assert manifests[first].content_sha256 == manifests[second].content_sha256
    assert manifests[first].lists_sha256 != manifests[second].lists_sha256
    for tag, born in ((first, "1452"), (second, "1453")):
        table = open_released(store, manifests[tag], "entity_counts")
        assert table.schema.names == ["kind", "name", "image_count"]
        kept = read_released_lists(table)
        assert kept == {"artists": ListColumns(("born",), {"fox": (born,)})}
