"""A shard of a Lance table is replaced whole, in one commit, whatever else happens."""

import multiprocessing
from collections import Counter
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from lance.query import MatchQuery

from laion_assets.errors import StaleTableError
from laion_assets.lance_images.table import (
    Commit,
    ensure_table,
    find_fragments,
    list_shards,
    open_table,
    remove_shards,
    replace_shard,
    table_path,
)
from laion_assets.stores.locks import lock_shard

SCHEMA = pa.schema(
    [pa.field("shard", pa.string(), nullable=False), ("caption", pa.string()), ("row", pa.int64())]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty Lance table."""
    path = table_path(tmp_path / "lance", "images")
    ensure_table(path, SCHEMA)
    return path


def replace(
    path: Path, shard: str, captions: list[str], expected_count: int | None = None
) -> Commit:
    columns = [[shard] * len(captions), captions, range(len(captions))]
    rows = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)
    with lock_shard(path.parent, shard):
        return replace_shard(
            path,
            shard,
            rows.to_reader(),
            expected_count=len(captions) if expected_count is None else expected_count,
            properties={"shard": shard},
        )


def read(path: Path, version: int | None = None) -> dict[str, list[str]]:
    """Returns the captions of each shard, in the order of `row`."""
    rows = lance.dataset(path, version=version).to_table().sort_by("row").to_pylist()
    shards = sorted({row["shard"] for row in rows})
    return {s: [row["caption"] for row in rows if row["shard"] == s] for s in shards}


def search(path: Path, word: str) -> list[str]:
    import lancedb  # slow to import, and the processes of this module import all of it

    table = lancedb.connect(path.parent).open_table("images")
    return sorted(hit["caption"] for hit in table.search(word, query_type="fts").to_list())


def create_index(path: Path) -> None:
    lance.dataset(path).create_scalar_index("caption", "INVERTED", with_position=True)


def test_replacing_a_shard_is_one_commit(path: Path) -> None:
    first = replace(path, "a", ["one", "two"])
    second = replace(path, "a", ["three"])
    assert second.version == first.version + 1
    assert read(path, first.version) == {"a": ["one", "two"]}
    assert read(path, second.version) == {"a": ["three"]}


def test_replacing_one_shard_leaves_the_others(path: Path) -> None:
    for shard in "abc":
        replace(path, shard, [f"{shard}1", f"{shard}2"])
    replace(path, "b", ["new"])
    assert read(path) == {"a": ["a1", "a2"], "b": ["new"], "c": ["c1", "c2"]}


def test_a_shard_without_rows_is_taken_out(path: Path) -> None:
    replace(path, "a", ["one"])
    replace(path, "b", ["two"])
    assert replace(path, "a", []).row_count == 0
    assert read(path) == {"b": ["two"]}


@pytest.mark.parametrize("is_compacted", [False, True])
def test_several_shards_are_removed_in_one_commit(path: Path, is_compacted: bool) -> None:
    for shard in ("a", "it's", "c", "d"):
        replace(path, shard, [f"{shard}{n}" for n in range(5)])
    if is_compacted:
        lance.dataset(path).optimize.compact_files(target_rows_per_fragment=100)
    before = lance.dataset(path).version
    assert list_shards(lance.dataset(path)) == {"a", "it's", "c", "d"}

    version = remove_shards(path, ["d", "it's", "nobody"])

    assert version == before + 1
    assert list_shards(lance.dataset(path)) == {"a", "c"}
    assert read(path) == {s: [f"{s}{n}" for n in range(5)] for s in "ac"}
    assert remove_shards(path, ["d", "it's"]) == version


def test_the_last_shard_can_be_removed(path: Path) -> None:
    replace(path, "a", ["one"])
    remove_shards(path, ["a"])
    assert read(path) == {}
    replace(path, "b", ["two"])
    assert read(path) == {"b": ["two"]}


def test_a_shard_that_was_never_there_may_have_no_rows(path: Path) -> None:
    version = lance.dataset(path).version
    assert replace(path, "a", []).version == version


def test_too_few_rows_commit_nothing(path: Path) -> None:
    replace(path, "a", ["one"])
    version = lance.dataset(path).version
    with pytest.raises(StaleTableError, match="read 1 rows of 2"):
        replace(path, "a", ["new"], expected_count=2)
    assert lance.dataset(path).version == version
    assert read(path) == {"a": ["one"]}


@pytest.mark.parametrize("shard", ["it's", 'a"b', "a]; drop table x", "日本", " "])
def test_any_name_of_a_shard_will_do(path: Path, shard: str) -> None:
    replace(path, "other", ["kept"])
    replace(path, shard, ["old"])
    replace(path, shard, ["new"])
    assert read(path) == {"other": ["kept"], shard: ["new"]}


def test_a_commit_says_what_it_holds(path: Path) -> None:
    version = replace(path, "a", ["one"]).version
    transaction = lance.dataset(path).read_transaction(version)
    assert transaction is not None
    assert transaction.transaction_properties == {"shard": "a"}


def test_a_shard_is_found_after_somebody_compacted_the_table(path: Path) -> None:
    for shard in "abcd":
        replace(path, shard, [f"{shard}{n}" for n in range(10)])
    lance.dataset(path).optimize.compact_files(target_rows_per_fragment=100)
    assert len(lance.dataset(path).get_fragments()) == 1
    for shard in "bad":
        replace(path, shard, [f"new {shard}"])
    expected = {s: [f"new {s}"] for s in "abd"} | {"c": [f"c{n}" for n in range(10)]}
    assert read(path) == expected
    dataset = lance.dataset(path)
    assert [find_fragments(dataset, s) for s in ("nobody", "c")] == [[], [4]]


def test_the_index_answers_correctly_before_it_is_brought_up_to_date(path: Path) -> None:
    replace(path, "a", ["a red fox", "a blue bird"])
    replace(path, "b", ["the red house"])
    create_index(path)
    replace(path, "a", ["a green fox"])
    replace(path, "c", ["red again"])
    assert search(path, "red") == ["red again", "the red house"]
    assert search(path, "fox") == ["a green fox"]
    assert search(path, "bird") == []
    dataset = lance.dataset(path)
    dataset.optimize.optimize_indices(num_indices_to_merge=0)
    assert search(path, "red") == ["red again", "the red house"]
    found = lance.dataset(path).scanner(full_text_query=MatchQuery("fox", "caption")).to_table()
    assert found["caption"].to_pylist() == ["a green fox"]


def _replace_in_a_process(path: Path, shard: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    ensure_table(path, SCHEMA)
    replace(path, shard, [f"{shard}{n}" for n in range(50)])


def test_many_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    path = table_path(tmp_path / "lance", "images")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    start = context.Event()
    shards = ["a", "b", "c", "d", "a", "a"]
    processes = [
        context.Process(target=_replace_in_a_process, args=(path, shard, start)) for shard in shards
    ]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(shards)
    counts = Counter(lance.dataset(path).to_table(columns=["shard"])["shard"].to_pylist())
    assert counts == dict.fromkeys("abcd", 50)


@pytest.mark.parametrize("left", ["", "_transactions/0-x.txn", "_versions/x.tmp"], ids=repr)
def test_a_table_whose_creation_was_cut_off_is_created_again(tmp_path: Path, left: str) -> None:
    path = table_path(tmp_path / "lance", "images")
    path.mkdir(parents=True)
    if left:
        (path / left).parent.mkdir()
        (path / left).touch()
    assert open_table(path) is None
    ensure_table(path, SCHEMA)
    replace(path, "a", ["one"])
    assert read(path) == {"a": ["one"]}
