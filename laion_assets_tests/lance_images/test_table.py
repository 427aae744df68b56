"""A shard of a Lance table is replaced whole, in one commit, whatever else happens."""

import multiprocessing
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from lance.query import MatchQuery

from laion_assets.lance_images.table import (
    Commit,
    list_shards,
    remove_shards,
    replace_shard,
)
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_fragments import find_fragments
from laion_assets_tests.raises import raises

SCHEMA = pa.schema(
    [pa.field("shard", pa.string(), nullable=False), ("caption", pa.string()), ("row", pa.int64())]
)


@pytest.fixture
def store(tmp_path: Path) -> LanceStore:
    """A LanceDB database with an empty table `images`."""
    store = LanceStore(tmp_path / "lance")
    store.ensure("images", SCHEMA)
    return store


def replace(
    store: LanceStore, shard: str, captions: list[str], expected_count: int | None = None
) -> Commit:
    columns = [[shard] * len(captions), captions, range(len(captions))]
    rows = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)
    with store.lock_shard(shard):
        return replace_shard(
            store,
            "images",
            shard,
            rows.to_reader(),
            expected_count=len(captions) if expected_count is None else expected_count,
            properties={"shard": shard},
        )


def read(store: LanceStore, version: int | None = None) -> dict[str, list[str]]:
    """Returns the captions of each shard, in the order of `row`."""
    rows = store.open("images", version).to_table().sort_by("row").to_pylist()
    shards = sorted({row["shard"] for row in rows})
    return {s: [row["caption"] for row in rows if row["shard"] == s] for s in shards}


def search(store: LanceStore, word: str) -> list[str]:
    import lancedb  # slow to import, and the processes of this module import all of it

    table = lancedb.connect(store.folder).open_table("images")
    return sorted(hit["caption"] for hit in table.search(word, query_type="fts").to_list())


def create_index(store: LanceStore) -> None:
    store.open("images").create_scalar_index("caption", "INVERTED", with_position=True)


def test_replacing_a_shard_is_one_commit(store: LanceStore) -> None:
    first = replace(store, "a", ["one", "two"])
    second = replace(store, "a", ["three"])
    assert second.version == first.version + 1
    assert read(store, first.version) == {"a": ["one", "two"]}
    assert read(store, second.version) == {"a": ["three"]}


def test_replacing_one_shard_leaves_the_others(store: LanceStore) -> None:
    for shard in "abc":
        replace(store, shard, [f"{shard}1", f"{shard}2"])
    replace(store, "b", ["new"])
    assert read(store) == {"a": ["a1", "a2"], "b": ["new"], "c": ["c1", "c2"]}


def test_a_shard_without_rows_is_taken_out(store: LanceStore) -> None:
    replace(store, "a", ["one"])
    replace(store, "b", ["two"])
    assert replace(store, "a", []).row_count == 0
    assert read(store) == {"b": ["two"]}


@pytest.mark.parametrize("is_compacted", [False, True])
def test_several_shards_are_removed_in_one_commit(store: LanceStore, is_compacted: bool) -> None:
    for shard in ("a", "it's", "c", "d"):
        replace(store, shard, [f"{shard}{n}" for n in range(5)])
    if is_compacted:
        store.open("images").optimize.compact_files(target_rows_per_fragment=100)
    before = store.open("images").version
    assert list_shards(store.open("images")) == {"a", "it's", "c", "d"}

    version = remove_shards(store, "images", ["d", "it's", "nobody"])

    assert version == before + 1
    assert list_shards(store.open("images")) == {"a", "c"}
    assert read(store) == {s: [f"{s}{n}" for n in range(5)] for s in "ac"}
    assert remove_shards(store, "images", ["d", "it's"]) == version


def test_the_last_shard_can_be_removed(store: LanceStore) -> None:
    replace(store, "a", ["one"])
    remove_shards(store, "images", ["a"])
    assert read(store) == {}
    replace(store, "b", ["two"])
    assert read(store) == {"b": ["two"]}


def test_a_shard_that_was_never_there_may_have_no_rows(store: LanceStore) -> None:
    version = store.open("images").version
    assert replace(store, "a", []).version == version


def test_too_few_rows_commit_nothing(store: LanceStore) -> None:
    replace(store, "a", ["one"])
    version = store.open("images").version
    with raises("shard-rows-missing"):
        replace(store, "a", ["new"], expected_count=2)
    assert store.open("images").version == version
    assert read(store) == {"a": ["one"]}


@pytest.mark.parametrize("shard", ["it's", 'a"b', "a]; drop table x", "日本", " "])
def test_any_name_of_a_shard_will_do(store: LanceStore, shard: str) -> None:
    replace(store, "other", ["kept"])
    replace(store, shard, ["old"])
    replace(store, shard, ["new"])
    assert read(store) == {"other": ["kept"], shard: ["new"]}


def test_a_commit_says_what_it_holds(store: LanceStore) -> None:
    version = replace(store, "a", ["one"]).version
    transaction = store.open("images").read_transaction(version)
    assert transaction is not None
    assert transaction.transaction_properties == {"shard": "a"}


def test_a_shard_is_found_after_somebody_compacted_the_table(store: LanceStore) -> None:
    for shard in "abcd":
        replace(store, shard, [f"{shard}{n}" for n in range(10)])
    store.open("images").optimize.compact_files(target_rows_per_fragment=100)
    assert len(store.open("images").get_fragments()) == 1
    for shard in "bad":
        replace(store, shard, [f"new {shard}"])
    expected = {s: [f"new {s}"] for s in "abd"} | {"c": [f"c{n}" for n in range(10)]}
    assert read(store) == expected
    dataset = store.open("images")
    assert [find_fragments(dataset, s) for s in ("nobody", "c")] == [[], [4]]


def test_the_index_answers_correctly_before_it_is_brought_up_to_date(store: LanceStore) -> None:
    replace(store, "a", ["a red fox", "a blue bird"])
    replace(store, "b", ["the red house"])
    create_index(store)
    replace(store, "a", ["a green fox"])
    replace(store, "c", ["red again"])
    assert search(store, "red") == ["red again", "the red house"]
    assert search(store, "fox") == ["a green fox"]
    assert search(store, "bird") == []
    dataset = store.open("images")
    dataset.optimize.optimize_indices(num_indices_to_merge=0)
    assert search(store, "red") == ["red again", "the red house"]
    found = store.open("images").scanner(full_text_query=MatchQuery("fox", "caption")).to_table()
    assert found["caption"].to_pylist() == ["a green fox"]


def _replace_in_a_process(store: LanceStore, shard: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    store.ensure("images", SCHEMA)
    replace(store, shard, [f"{shard}{n}" for n in range(50)])


@pytest.mark.slow
def test_many_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    store = LanceStore(tmp_path / "lance")
    context = multiprocessing.get_context("forkserver")
    start = context.Event()
    shards = ["a", "b", "c", "d", "a", "a"]
    processes = [
        context.Process(target=_replace_in_a_process, args=(store, shard, start))
        for shard in shards
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(shards)
    counts = Counter(store.open("images").to_table(columns=["shard"])["shard"].to_pylist())
    assert counts == dict.fromkeys("abcd", 50)


@pytest.mark.parametrize("left", ["", "_transactions/0-x.txn", "_versions/x.tmp"], ids=repr)
def test_a_table_whose_creation_was_cut_off_is_created_again(tmp_path: Path, left: str) -> None:
    store = LanceStore(tmp_path / "lance")
    folder = Path(store.uri("images"))
    folder.mkdir(parents=True)
    if left:
        (folder / left).parent.mkdir()
        (folder / left).touch()
    assert store.find("images") is None
    store.ensure("images", SCHEMA)
    replace(store, "a", ["one"])
    assert read(store) == {"a": ["one"]}
