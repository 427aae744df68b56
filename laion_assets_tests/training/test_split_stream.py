import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.make_subset import SubsetOrder, make_subset
from laion_assets.training import SplitStream, open_split
from laion_assets_tests.pipeline import ingest, read_removals, refresh
from laion_assets_tests.raises import raises
from laion_assets_tests.training.other_process import read_one, read_when_asked
from laion_assets_tests.training.small_release import TAG, write_release

SPLITS = ["train", "train", "validation", "train", "test"] * 20
TRAIN = [number for number, split in enumerate(SPLITS) if split == "train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("lance"), SPLITS)


def open_train(folder: Path, **options: Any) -> SplitStream:
    return open_split(folder, TAG, "train", ["image_id"], **options)


def ids(rows: Iterable[dict[str, Any]]) -> list[int]:
    return [row["image_id"] for row in rows]


def test_a_pass_has_each_row_of_the_split_once(folder: Path) -> None:
    stream = open_train(folder)
    found = ids(stream)
    assert found != TRAIN
    assert sorted(found) == TRAIN
    assert len(stream) == len(TRAIN)
    assert ids(open_train(folder, shuffle=False)) == TRAIN


def test_rows_have_the_columns_that_were_asked_for_in_that_order(folder: Path) -> None:
    columns = ["image", "caption", "image_id", "width"]
    for row in open_split(str(folder), TAG, "test", columns):
        number = row["image_id"]
        is_bare = number % 3 == 2
        assert list(row) == columns
        assert row["caption"] == f"picture {number}"
        assert row["image"] == (None if is_bare else b"\xff%d" % number)
        assert row["width"] == (None if is_bare else 100 + number)


def test_the_order_is_that_of_the_seed_and_the_epoch(folder: Path) -> None:
    stream = open_train(folder, seed=3)
    first, second = ids(stream), ids(stream)
    assert stream.epoch == 2
    assert first != second
    assert sorted(first) == sorted(second)

    again = open_train(folder, seed=3)
    again.set_epoch(1)
    assert ids(again) == second
    again.set_epoch(0)
    assert ids(again) == first
    assert ids(open_train(folder, seed=4)) != first


def test_ranks_share_each_epoch_evenly(folder: Path) -> None:
    whole = open_train(folder)
    ranks = [open_train(folder, shard_of=(rank, 7)) for rank in range(7)]
    left_out = []
    for _ in range(3):
        everything, shares = ids(whole), [ids(rank) for rank in ranks]
        assert {len(share) for share in shares} == {len(TRAIN) // 7}
        seen = [number for share in shares for number in share]
        assert len(set(seen)) == len(seen)
        assert [n for step in zip(*shares, strict=True) for n in step] == everything[: len(seen)]
        left_out.append(set(everything) - set(seen))
    assert [len(numbers) for numbers in left_out] == [len(TRAIN) % 7] * 3
    assert left_out[0] != left_out[1]


@pytest.mark.parametrize("seen", [0, 1, 17, 59, 60], ids=str)
def test_a_stream_goes_on_where_its_state_was_saved(folder: Path, seen: int) -> None:
    stream = open_train(folder, seed=5)
    list(stream)
    whole = ids(stream)
    stream.set_epoch(1)
    rows = iter(stream)
    assert ids(islice(rows, seen)) == whole[:seen]
    state = json.loads(json.dumps(stream.state_dict()))

    other = open_train(folder, seed=5)
    other.load_state_dict(state)
    other.set_epoch(other.epoch)
    assert ids(other) == whole[seen:]
    # And then as the first one does.
    assert other.epoch == 2
    assert ids(other) == [row["image_id"] for row in _skip(rows, stream)]


def _skip(rest: Iterable[Any], stream: SplitStream) -> SplitStream:
    list(rest)
    return stream


def test_a_condition_picks_rows_of_the_split(folder: Path) -> None:
    stream = open_train(folder, where="width >= 150 AND width < 180 OR image_id = 1")
    expected = [n for n in TRAIN if n == 1 or (50 <= n < 80 and n % 3 != 2)]
    assert sorted(ids(stream)) == expected
    with raises("training-state-of-another"):
        open_train(folder).load_state_dict(stream.state_dict())


def test_batches_go_on_too(folder: Path) -> None:
    def read(stream: SplitStream, count: int | None = None) -> list[list[int]]:
        return [b["image_id"].tolist() for b in islice(stream.batches(8), count)]

    whole = read(open_train(folder))
    assert [len(batch) for batch in whole] == [8] * 7 + [4]
    stream = open_train(folder)
    assert read(stream, 3) == whole[:3]
    other = open_train(folder)
    other.load_state_dict(stream.state_dict())
    assert read(other) == whole[3:]


def test_a_last_batch_that_is_not_full_can_be_left_out(folder: Path) -> None:
    stream = open_train(folder)
    assert [len(b["image_id"]) for b in stream.batches(8, drop_last=True)] == [8] * 7
    assert stream.epoch == 1
    assert len(list(stream.batches(60, drop_last=True))) == 1
    assert list(stream.batches(61, drop_last=True)) == []


def test_a_new_pass_begins_at_the_start_of_the_epoch(folder: Path) -> None:
    stream = open_train(folder)
    assert ids(islice(stream, 5)) == ids(islice(stream, 5))
    assert stream.epoch == 0


@pytest.mark.parametrize(
    "options",
    [{"seed": 2}, {"shuffle": False}, {"shard_of": (0, 2)}],
    ids=lambda options: next(iter(options)),
)
def test_a_state_of_another_stream_is_refused(folder: Path, options: dict[str, Any]) -> None:
    state = open_train(folder, **options).state_dict()
    with raises("training-state-of-another"):
        open_train(folder).load_state_dict(state)


def test_the_state_of_one_rank_is_that_of_all(folder: Path) -> None:
    first, second = (open_train(folder, shard_of=(rank, 2)) for rank in (0, 1))
    whole = ids(second)
    list(islice(first, 11))
    second.load_state_dict(first.state_dict())
    assert ids(second) == whole[11:]


def test_rows_can_be_asked_for_by_their_number(folder: Path) -> None:
    stream = open_train(folder)
    whole = ids(stream)
    stream.set_epoch(0)
    assert stream[4]["image_id"] == whole[4]
    assert stream[-1]["image_id"] == whole[-1]
    assert ids(stream.__getitems__([9, 2, 2])) == [whole[9], whole[2], whole[2]]
    with pytest.raises(IndexError):
        stream[60]


def test_a_copy_in_another_process_reads_the_same(folder: Path) -> None:
    stream = open_train(folder, seed=8)
    list(stream)
    copy: SplitStream = pickle.loads(pickle.dumps(stream))  # noqa: S301
    assert ids(copy) == ids(stream)


@pytest.mark.exhaustive
def test_a_process_that_outlives_an_epoch_hears_of_the_next(folder: Path) -> None:
    """As the workers of a DataLoader do with `persistent_workers`."""
    context = multiprocessing.get_context("spawn")
    asked, answers = context.Queue(), context.Queue()
    stream = open_train(folder)
    process = context.Process(target=read_when_asked, args=(stream, asked, answers))
    process.start()
    for epoch in range(3):
        stream.set_epoch(epoch)
        asked.put(True)
        assert answers.get(timeout=600) == stream[0]["image_id"]
    asked.put(False)
    process.join()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:lance is not fork-safe")
def test_a_forked_process_is_refused(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=read_one, args=(open_train(folder), answers))
    process.start()
    error = answers.get(timeout=600)
    process.join()
    assert "forkserver" in str(error)
    assert "\n" not in str(error)


def test_the_release_stays_what_it_was(tmp_path: Path) -> None:
    database = write_release(tmp_path, SPLITS)
    stream = open_train(database)
    expected = ids(stream)
    table = LanceStore(database).open("images")
    table.delete("image_id < 50")
    assert ids(open_train(database)) == expected
    copy: SplitStream = pickle.loads(pickle.dumps(open_train(database)))  # noqa: S301
    assert ids(copy) == expected


def test_rows_that_were_deleted_before_the_release_are_not_there(tmp_path: Path) -> None:
    store = LanceStore(write_release(tmp_path, SPLITS))
    table = store.open("images")
    table.delete("image_id IN (0, 8, 9, 50)")
    store.create_tag("images", "r2", table.version)
    found = ids(open_split(str(tmp_path), "r2", "train", ["image_id"]))
    assert sorted(found) == [number for number in TRAIN if number not in (0, 8, 9, 50)]


CALLS: dict[str, tuple[str, Callable[[str], SplitStream]]] = {
    "column": ("training-column-unknown", lambda f: open_split(f, TAG, "train", ["url"])),
    "reserved": ("training-column-unknown", lambda f: open_split(f, TAG, "train", ["is_null"])),
    "split": ("training-split", lambda f: open_split(f, TAG, "tests", ["image_id"])),
    "release": ("training-release-unknown", lambda f: open_split(f, "r9", "train", ["image_id"])),
    "condition": (
        "where-no-condition",
        lambda f: open_split(f, TAG, "train", ["image_id"], where="width"),
    ),
    "rank": ("training-rank", lambda f: open_split(f, TAG, "train", ["image_id"], 0, True, (2, 2))),
    "few": (
        "training-too-few-rows",
        lambda f: open_split(f, TAG, "test", ["image_id"], 0, True, (0, 21)),
    ),
}


@pytest.mark.parametrize(("code", "call"), CALLS.values(), ids=CALLS)
def test_what_cannot_be_read_is_refused(
    folder: Path, code: str, call: Callable[[str], SplitStream]
) -> None:
    with raises(code):
        call(str(folder))


@pytest.mark.exhaustive
def test_what_is_on_the_list_of_removals_is_in_no_stream(settings: Settings) -> None:
    ingest(settings, "a", *[f"caption {number}" for number in range(100)])
    ingest(settings, "b", *[f"caption {number}" for number in range(20)])
    tag = refresh(settings)
    columns = ("image_id", "url", "split")
    store = LanceStore(settings.lance_dir)
    subsets = {
        "telling": DeclaredSubset("telling", columns=columns),
        "silent": DeclaredSubset("silent", columns=("caption", "split")),
    }
    for subset in subsets.values():
        make_subset(store, SubsetOrder(subset, "run"), lambda _: None)
    tables = (settings.data_dir, store.uri("images"), store.uri("telling"))
    before = open_split(settings.data_dir, tag, "train", columns, seed=1)
    rows = {row["url"]: row for row in before}
    hosts = {url for url in rows if "//b.test" in url}
    a, b, *_ = sorted(rows.keys() - hosts)
    state = before.state_dict()

    read_removals(settings, a.replace("https://a", "HTTP://A"), str(rows[b]["image_id"]), "b.test")
    for table in tables:
        stream = open_split(table, tag, "train", columns, seed=1)
        assert {row["url"] for row in stream} == rows.keys() - hosts - {a, b}
        shares = [open_split(table, tag, "train", columns, 1, True, (n, 3)) for n in range(3)]
        assert {len(share) for share in shares} == {len(stream) // 3}
        with raises("training-state-other-rows"):
            stream.load_state_dict(state)
    # Nobody can tell which rows of this one are on the list, so it is read when it is made again.
    with raises("removals-untold"):
        open_split(store.uri("silent"), tag, "train", ["caption"])
    make_subset(store, SubsetOrder(subsets["silent"], "run"), lambda _: None)
    assert len(open_split(store.uri("silent"), tag, "train", ["caption"])) == len(stream)
    # A release in which it is the whole split is too small to train on.
    read_removals(settings, "a.test", "b.test")
    with raises("training-too-few-rows"):
        open_split(settings.data_dir, tag, "train", columns)


@pytest.mark.exhaustive
def test_a_release_of_the_pipeline_has_its_splits(settings: Settings) -> None:
    captions = [f"caption {number}" for number in range(200)]
    ingest(settings, "a", *captions)
    tag = refresh(settings)
    found = {
        split: [
            row["caption"] for row in open_split(str(settings.data_dir), tag, split, ["caption"])
        ]
        for split in ("train", "validation", "test")
    }
    assert sorted(c for split in found.values() for c in split) == sorted(captions)
    assert len(found["train"]) > 150 > len(found["test"]) > 0
    ids_of = open_split(str(settings.lance_dir), tag, "train", ["image_id", "split"])
    assert {row["split"] for row in ids_of} == {"train"}
    assert isinstance(next(ids_of.batches(4))["image_id"], np.ndarray)
