"""The indices of the Lance table `images`: what covers new rows, and how many parts there are."""

import pytest

from laion_assets.lance_images import indices
from laion_assets.lance_images.indices import update_indices
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


def list_parts(store: LanceStore) -> list[set[int]]:
    """Returns the fragments of each part of the index of captions, those of the table alone."""
    images = store.open("images")
    (index,) = [i for i in images.describe_indices() if i.name == "caption_idx"]
    there = list_fragments(store)
    return [there & set(segment.fragment_ids) for segment in index.segments]


def list_fragments(store: LanceStore) -> set[int]:
    return {fragment.fragment_id for fragment in store.open("images").get_fragments()}


@pytest.mark.exhaustive
def test_processes_index_what_one_process_would(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "WORKERS", 2)
    monkeypatch.setattr(indices, "WORKER_ROWS", 2)
    for shard in ("a", "b", "c"):
        ingest(settings, shard, f"a red fox in {shard}", "two wolves", "a fox")
    refresh(settings)

    store = LanceStore(settings.lance_dir)
    parts = list_parts(store)
    assert len(parts) == 2
    assert set.union(*parts) == list_fragments(store)
    search = open_search(store)
    assert (search.find("fox").total, search.find('"red fox"').total) == (6, 3)


@pytest.mark.exhaustive
def test_a_few_rows_get_one_part_without_another_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a process for a few rows")

    monkeypatch.setattr(indices, "build_in_processes", refuse)
    for shard in ("a", "b", "c"):
        ingest(settings, shard, "a fox")
    store = LanceStore(settings.lance_dir)

    update_indices(store)

    assert list_parts(store) == [list_fragments(store)]


@pytest.mark.exhaustive
def test_all_rows_are_indexed_anew_where_there_would_be_too_many_parts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "MAX_INDEX_DELTAS", 3)
    store = LanceStore(settings.lance_dir)
    counts = []
    for number in range(5):
        ingest(settings, f"s{number}", f"a fox {number}", "a wolf")
        # Its fragments leave the part that they are in.
        ingest(settings, "s0", "a lemur")
        update_indices(store)
        counts.append(len(list_parts(store)))
        assert set.union(*list_parts(store)) == list_fragments(store)

    assert max(counts) == 3
    assert counts[-1] < 3
    search = open_search(store)
    assert (search.find("fox").total, search.find("wolf").total, search.find("lemur").total) == (
        4,
        4,
        1,
    )


@pytest.mark.exhaustive
def test_full_parts_stay_and_the_others_are_indexed_anew(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "MAX_INDEX_DELTAS", 2)
    monkeypatch.setattr(indices, "FULL_PART_ROWS", 4)
    monkeypatch.setattr(indices, "MAX_PART_ROWS", 8)
    store = LanceStore(settings.lance_dir)
    for number in range(5):
        ingest(settings, f"full{number}", *[f"a fox {number}"] * 4)
    update_indices(store)
    full = list_parts(store)
    assert [len(part) for part in full] in ([2, 2, 1], [2, 1, 2], [1, 2, 2])
    for number in range(6):
        ingest(settings, f"small{number}", f"a wolf {number}")
        update_indices(store)
        parts = list_parts(store)
        assert set.union(*parts) == list_fragments(store)
        assert [part for part in parts if part in full] == full
        assert len(parts) <= len(full) + 2

    search = open_search(store)
    assert (search.find("fox").total, search.find("wolf").total) == (20, 6)


@pytest.mark.exhaustive
def test_indices_of_older_versions_go_and_those_of_others_stay(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a wolf")
    store = LanceStore(settings.lance_dir)
    update_indices(store)
    for column in ("punsafe", "similarity"):
        store.open("images").create_scalar_index(column, "BTREE", f"{column}_idx")

    update_indices(store)

    names = {index.name for index in store.open("images").describe_indices()}
    assert "similarity_idx" in names
    assert "punsafe_idx" not in names
    search = open_search(store)
    assert search.find("fox", only=SearchFilter(max_punsafe=0.5)).total == 1
    assert search.find("fox", only=SearchFilter(where="punsafe > 0.5")).total == 0
