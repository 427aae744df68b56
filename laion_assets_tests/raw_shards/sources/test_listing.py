import os
from pathlib import Path

import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.sources.listing import expand_ranges, find_shard, list_shards
from laion_assets_tests.raises import raises


def places(*locations: str) -> dict[str, Path]:
    """The file of each shard, where nothing is wrong."""
    listing = list_shards(locations)
    assert listing.problems == []
    return {shard: Path(source.place) for shard, source in listing.sources.items()}


def problems(*locations: str) -> list[str]:
    """What is wrong, where no shard is found."""
    listing = list_shards(locations)
    assert listing.sources == {}
    return listing.problems


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_path_is_a_shard_named_as_its_file(tmp_path: Path) -> None:
    path = make(tmp_path / "part-00000.snappy.parquet")

    assert places(str(path)) == {"part-00000.snappy": path}


def test_the_shards_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    paths = [make(tmp_path / f / f"{s}.parquet") for f, s in (("z", "b"), ("a", "c"), ("b", "a"))]

    assert list(places(*map(str, paths))) == ["a", "b", "c"]


def test_a_glob_finds_what_matches(tmp_path: Path) -> None:
    first, second = make(tmp_path / "s0.parquet"), make(tmp_path / "s1.parquet")
    make(tmp_path / "other.parquet")

    assert places(str(tmp_path / "s*.parquet")) == {"s0": first, "s1": second}


def test_a_double_star_goes_down(tmp_path: Path) -> None:
    deep = make(tmp_path / "a" / "b" / "s.parquet")

    assert places(str(tmp_path / "**" / "*.parquet")) == {"s": deep}


def test_a_glob_without_match_is_empty(tmp_path: Path) -> None:
    assert places(str(tmp_path / "none" / "*.parquet")) == {}


def test_no_location_is_no_shard() -> None:
    assert places() == {}


def test_a_path_with_brackets_is_that_file(tmp_path: Path) -> None:
    path = make(tmp_path / "s[0].parquet")
    make(tmp_path / "s0.parquet")

    assert places(str(path)) == {"s[0]": path}


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "s.parquet")
    monkeypatch.chdir(tmp_path)

    assert places("s.parquet") == places("*.parquet") == {"s": path}


def test_the_same_file_named_twice_is_one_shard(tmp_path: Path) -> None:
    path = make(tmp_path / "s.parquet")

    assert places(str(path), str(tmp_path / "*.parquet")) == {"s": path}


def test_two_files_of_one_name_are_refused_naming_both(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a" / "s.parquet"), make(tmp_path / "b" / "s.parquet")
    other = make(tmp_path / "b" / "other.parquet")
    reason = (
        f"shard 's' comes from both {first} and {second}; "
        "rename one of the files or leave it out of LAION_SHARDS"
    )

    listing = list_shards([str(first), str(tmp_path / "b" / "*.parquet")])

    assert (listing.refused, listing.problems) == ({"s": reason}, [reason])
    assert [source.place for source in listing.sources.values()] == [str(other)]
    with pytest.raises(ShardError) as refusal:
        find_shard([str(first), str(second)], "s")
    assert str(refusal.value) == reason


def test_a_missing_file_is_refused_and_hides_no_other(tmp_path: Path) -> None:
    missing, there = tmp_path / "none.parquet", make(tmp_path / "s.parquet")

    listing = list_shards([str(missing), str(there)])

    assert listing.problems == [f"{missing}: no such file; correct LAION_SHARDS"]
    assert list(listing.sources) == ["s"]


@pytest.mark.parametrize("name", ["s.csv", "s", "s.parquet.tmp", ".parquet"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name)

    assert problems(str(path)) == [
        f"{path}: a shard's file name ends in .parquet; correct LAION_SHARDS"
    ]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A pipe would never end."""
    pipe = tmp_path / "s.parquet"
    os.mkfifo(pipe)

    assert problems(str(tmp_path / "*.parquet")) == [
        f"{pipe}: is not a regular file; leave it out of LAION_SHARDS"
    ]


def test_a_bad_name_in_a_glob_hides_no_other(tmp_path: Path) -> None:
    make(tmp_path / "a...b.parquet")
    make(tmp_path / "s.parquet")

    listing = list_shards([str(tmp_path / "*.parquet")])

    assert list(listing.sources) == ["s"]
    assert listing.problems == [
        f"'{tmp_path}/a...b.parquet': a shard's name has no ... or control characters; "
        "rename the file"
    ]


@pytest.mark.parametrize("shard", [".", ".."])
def test_a_shard_is_no_step_within_a_path(tmp_path: Path, shard: str) -> None:
    """Browsers would take it out of the addresses of its images."""
    make(tmp_path / f"{shard}.parquet")

    listing = list_shards([str(tmp_path / f"{shard}.parquet")])

    assert not listing.sources
    assert listing.problems == [
        f"{tmp_path}/{shard}.parquet: a shard cannot be named {shard}; rename the file"
    ]


def test_one_shard_is_found_among_several(tmp_path: Path) -> None:
    make(tmp_path / "a.parquet")
    path = make(tmp_path / "b.parquet")
    found = find_shard([str(tmp_path / "*.parquet")], "b")

    assert found is not None
    assert found.place == found.name == str(path)
    assert found.version == f"0-{path.stat().st_mtime_ns}"


def test_other_files_are_not_looked_at_where_one_shard_is_wanted(tmp_path: Path) -> None:
    """A run that the daemon starts would look at 8,000 files for its one."""
    wanted = make(tmp_path / "a" / "s.PARQUET")
    for name in ("a/t.parquet", "a/ss.parquet", "a/a...b.parquet", "b/s.parquet.parquet"):
        make(tmp_path / name)
    url = "https://example.com/%73-{0..999}.parquet"

    listing = list_shards([str(tmp_path / "**" / "*.parquet")], only="s")
    ranged = list_shards([url], only="s-77")

    assert {k: v.place for k, v in listing.sources.items()} == {"s": str(wanted)}
    assert not listing.problems
    assert set(ranged.sources) == {"s-77", *(f"s-77{n}" for n in range(10))}


def test_a_shard_of_two_files_is_refused_where_it_alone_is_wanted(tmp_path: Path) -> None:
    make(tmp_path / "a" / "s.parquet")
    make(tmp_path / "b" / "s.PARQUET")

    with pytest.raises(ShardError, match="comes from both"):
        find_shard([str(tmp_path / "*" / "*.parquet")], "s")


def test_a_shard_that_no_location_has_is_none(tmp_path: Path) -> None:
    make(tmp_path / "s.parquet")

    assert find_shard([str(tmp_path / "*.parquet")], "t") is None


def test_a_shard_is_not_called_gone_while_a_location_cannot_be_listed(tmp_path: Path) -> None:
    make(tmp_path / "s.parquet")
    locations = [str(tmp_path / "*.parquet"), str(tmp_path / "none.parquet")]

    assert find_shard(locations, "s") is not None
    with raises("file-missing"):
        find_shard(locations, "t")


def test_one_file_by_two_ways_is_one_shard(tmp_path: Path) -> None:
    path = make(tmp_path / "a" / "s.parquet")
    assert places(str(path), f"{tmp_path}/a/../a/*.parquet") == {"s": path}


def test_a_folder_is_refused_with_the_glob_to_write(tmp_path: Path) -> None:
    assert problems(str(tmp_path)) == [
        f"{tmp_path}: is a folder; write {tmp_path}/*.parquet in LAION_SHARDS"
    ]


def test_a_name_that_leaves_no_room_for_ours_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / ("é" * 110 + ".parquet"))
    assert problems(str(path)) == [f"{path}: the name is longer than 220 bytes; shorten it"]


@pytest.mark.parametrize(
    "shard",
    [
        "it's",
        '"',
        "a b",
        "[0]",
        "*",
        "a;drop table images",
        "%",
        "日本",
        "é" * 100,
        "-x",
        "a\\b",
    ],
)
def test_a_name_that_is_safe_is_taken_as_it_is(tmp_path: Path, shard: str) -> None:
    path = make(tmp_path / f"{shard}.parquet")
    assert places(str(path)) == {shard: path}


RANGES = {
    "none": ("https://a.test/s.parquet", ["https://a.test/s.parquet"]),
    "padded": ("h://a/{08..11}", ["h://a/08", "h://a/09", "h://a/10", "h://a/11"]),
    "one": ("h://a/{3..3}.parquet", ["h://a/3.parquet"]),
    "two": ("h://{0..1}/{0..1}x", ["h://0/0x", "h://0/1x", "h://1/0x", "h://1/1x"]),
    "no range": ("h://a/{a..b}", ["h://a/{a..b}"]),
}


@pytest.mark.parametrize("case", RANGES)
def test_a_range_stands_for_its_numbers(case: str) -> None:
    url, expected = RANGES[case]
    assert list(expand_ranges(url)) == expected


SHA256 = "ab" * 32
REFUSED = {
    "backwards": (
        "https://a.test/{3..1}.parquet",
        "https://a.test/{3..1}.parquet: a range ends before it begins; correct LAION_SHARDS",
    ),
    "too many": (
        "https://a.test/{0..999}{0..999}.parquet",
        "https://a.test/{0..999}{0..999}.parquet: over 100,000 files; make the range shorter",
    ),
    "unknown scheme": (
        "ftp://me:secret@a.test/s.parquet",
        "ftp://a.test/s.parquet: unknown scheme; use a path, https://, hf:// or s3://",
    ),
    "password": (
        "https://me:secret@a.test/s.parquet?key=secret",
        "https://a.test/s.parquet: others can read a password in LAION_SHARDS; put it in ~/.netrc",
    ),
    "no host": ("https:///s.parquet", "https:///s.parquet: not a valid URL; correct LAION_SHARDS"),
    "bad port": (
        "https://a.test:x/s.parquet",
        "https://a.test:x/s.parquet: not a valid URL; correct LAION_SHARDS",
    ),
    "no parquet": (
        "https://a.test/s.csv?x=s.parquet",
        "https://a.test/s.csv: a shard's file name ends in .parquet; correct LAION_SHARDS",
    ),
    "slash in the name": (
        "https://a.test/..%2Fs.parquet",
        "https://a.test/..%2Fs.parquet: a shard's name has no slash; rename the file",
    ),
    "control sign": (
        "https://a.test/a%00b.parquet",
        "'https://a.test/a%00b.parquet': a shard's name has no ... or control characters; "
        "rename the file",
    ),
    "short checksum": (
        "https://a.test/s.parquet#sha256=abc",
        "https://a.test/s.parquet: sha256=abc is not a SHA-256 of 64 hexadecimal digits; "
        "correct it",
    ),
    "one checksum for two": (
        f"https://a.test/{{0..1}}.parquet#sha256={SHA256}",
        f"#sha256={SHA256}: matches 2 files; give each its own",
    ),
    "hub model": (
        "hf://models/a/b/s.parquet",
        "hf://models/a/b/s.parquet: expected "
        "hf://datasets/<org>/<name>[@revision]/<path or glob>; correct LAION_SHARDS",
    ),
    "secrets of a bucket": (
        "s3://key:secret@bucket/s.parquet?x=secret",
        "s3://bucket/s.parquet: expected s3://<bucket>/<path or glob>; correct it",
    ),
    "secrets of the Hub": (
        "hf://me:secret@datasets/a/b/s.parquet",
        "hf://datasets/a/b/s.parquet: expected "
        "hf://datasets/<org>/<name>[@revision]/<path or glob>; correct LAION_SHARDS",
    ),
    "no bucket": (
        "s3:///s.parquet",
        "s3:///s.parquet: expected s3://<bucket>/<path or glob>; correct it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_location_that_cannot_be_read_says_so_in_one_line(case: str) -> None:
    location, reason = REFUSED[case]
    assert problems(location) == [reason]


def test_a_url_names_its_shard_without_asking_anybody() -> None:
    location = f"https://a.invalid/x/part%2000.parquet?download=true&key=secret#sha256={SHA256}"

    (source,) = list_shards([location]).sources.values()

    assert source.shard == "part 00"
    assert source.place == location.partition("#")[0]
    assert source.name == "https://a.invalid/x/part%2000.parquet"
    assert (source.version, source.sha256) == (f"sha256:{SHA256}", SHA256)


def test_plain_http_is_warned_of_but_not_on_this_machine() -> None:
    far = list_shards(["http://a.invalid/s{0..1}.parquet?key=secret"])
    here = ["http://localhost/s.parquet", "http://127.0.0.1:8/t.parquet", "http://[::1]/u.parquet"]

    assert far.warnings == [
        "http://a.invalid/s{0..1}.parquet: http is not protected against changes on the way; "
        "use https"
    ]
    assert list_shards(here).warnings == []
    assert list(list_shards(here).sources) == ["s", "t", "u"]
