from pathlib import Path

import pytest

from laion_assets.lib.errors import ShardError
from laion_assets.lib.sources import find_shard, list_shards


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_path_is_a_shard_named_as_its_file(tmp_path: Path) -> None:
    path = make(tmp_path / "part-00000.snappy.parquet")

    assert list_shards([str(path)]) == {"part-00000.snappy": path}


def test_the_shards_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    paths = [make(tmp_path / f / f"{s}.parquet") for f, s in (("z", "b"), ("a", "c"), ("b", "a"))]

    assert list(list_shards([str(p) for p in paths])) == ["a", "b", "c"]


def test_a_glob_finds_what_matches(tmp_path: Path) -> None:
    first, second = make(tmp_path / "s0.parquet"), make(tmp_path / "s1.parquet")
    make(tmp_path / "other.parquet")

    assert list_shards([str(tmp_path / "s*.parquet")]) == {"s0": first, "s1": second}


def test_a_double_star_goes_down(tmp_path: Path) -> None:
    deep = make(tmp_path / "a" / "b" / "s.parquet")

    assert list_shards([str(tmp_path / "**" / "*.parquet")]) == {"s": deep}


def test_a_glob_without_match_is_empty(tmp_path: Path) -> None:
    assert list_shards([str(tmp_path / "none" / "*.parquet")]) == {}


def test_no_location_is_no_shard() -> None:
    assert list_shards([]) == {}


def test_a_path_with_brackets_is_that_file(tmp_path: Path) -> None:
    path = make(tmp_path / "s[0].parquet")
    make(tmp_path / "s0.parquet")

    assert list_shards([str(path)]) == {"s[0]": path}


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "s.parquet")
    monkeypatch.chdir(tmp_path)

    assert list_shards(["s.parquet"]) == list_shards(["*.parquet"]) == {"s": path}


def test_the_same_file_named_twice_is_one_shard(tmp_path: Path) -> None:
    path = make(tmp_path / "s.parquet")

    assert list_shards([str(path), str(tmp_path / "*.parquet")]) == {"s": path}


def test_two_files_of_one_name_are_refused_naming_both(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a" / "s.parquet"), make(tmp_path / "b" / "s.parquet")

    with pytest.raises(ShardError, match="rename one of the files") as refusal:
        list_shards([str(first), str(second)])

    assert f"shard 's' comes from both {first} and {second}" in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.parquet"

    with pytest.raises(ShardError) as refusal:
        list_shards([str(missing)])

    assert str(refusal.value) == f"{missing}: no such file; correct LAION_SHARDS"


@pytest.mark.parametrize("name", ["s.csv", "s", "s.parquet.tmp"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)

    with pytest.raises(ShardError, match=r"ends in \.parquet; correct LAION_SHARDS") as refusal:
        list_shards([str(path)])

    assert str(path) in str(refusal.value)


def test_one_shard_is_found_among_several(tmp_path: Path) -> None:
    make(tmp_path / "a.parquet")
    path = make(tmp_path / "b.parquet")

    assert find_shard([str(tmp_path / "*.parquet")], "b") == path


def test_a_shard_that_is_not_there_names_where_it_was_looked_for(tmp_path: Path) -> None:
    locations = (str(tmp_path / "a" / "*.parquet"), str(tmp_path / "b" / "*.parquet"))

    with pytest.raises(ShardError, match="set LAION_SHARDS") as refusal:
        find_shard((location for location in locations), "s")

    assert f"shard 's' is not among {', '.join(locations)}" in str(refusal.value)


def test_one_file_by_two_ways_is_one_shard(tmp_path: Path) -> None:
    path = make(tmp_path / "a" / "s.parquet")
    assert list_shards([str(path), f"{tmp_path}/a/../a/*.parquet"]) == {"s": path}


def test_a_folder_is_refused_with_the_glob_to_write(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"a folder; write .*/\*\.parquet"):
        list_shards([str(tmp_path)])


def test_a_name_that_leaves_no_room_for_ours_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / ("é" * 110 + ".parquet"))
    with pytest.raises(ShardError, match="longer than 220 bytes"):
        list_shards([str(path)])
