import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import ShardError
from laion_assets.images.load import ShardLoad, define_macros, load_shard
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.samples import SAMPLE_KEY, SAMPLE_METADATA
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.schemas import CLEANING_VERSION, TABLES
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.sql import create_table
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.raises import raises

Row = tuple[object, ...]

URL = "https://a.example/1.jpg"
OPTIONAL = (
    *("width", "height", "similarity", "punsafe", "pwatermark", "aesthetic"),
    *("nsfw", "license", "language", "hash"),
)
PAIRS = {
    "plain": ("https://example.com/a.jpg", "A painting by Vincent van Gogh"),
    "empty caption": ("https://example.com/a.jpg", ""),
    "both empty": ("", ""),
    "NUL": ("https://example.com/\0", "a\0b"),
    "emoji": ("https://example.com/🦊", "👩‍🎨 paints 🎨"),
    "composed": ("u", "é"),
    "decomposed": ("u", "e\u0301"),
    "looks like a length": ("1:a", "2:b"),
    "line breaks": ("u\r\n", "\tc"),
    "long": ("u" * 300, "葛飾北斎 " * 1_000),
}
BLANKS = {
    "NULL": None,
    "empty": "",
    "blank": " ",
    "blanks": "   ",
    "tab": "\t",
    "line breaks": "\r\n",
    "vertical tab and form feed": "\v\f",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "next line": "\u0085",
    "line and paragraph separator": "\u2028\u2029",
    "file separator": "\x1c\x1d\x1e\x1f",
    "thin spaces": "\u2009\u202f\u205f\u1680",
    "mixed": " \t\u00a0\u3000\n",
}
NOT_BLANKS = {
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "NUL": "\0",
    "DEL": "\x7f",
    "backspace": "\b",
    "soft hyphen": "\u00ad",
    "word joiner": "\u2060",
    "dot": ".",
    "blank and letter": " a",
    "no-break space and letter": "\u00a0é",
    "zero": "0",
}


def compute_image_id(url: str, caption: str) -> int:
    """Gives the id as the README documents it."""
    head, tail = url.encode(), caption.encode()
    return int(hashlib.md5(b"%d:%s%s" % (len(head), head, tail)).hexdigest()[:16], 16) >> 1  # noqa: S324


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables in memory, which is quick; the transaction of a file has a test of its own."""
    with duckdb.connect() as engine:
        for table, columns in TABLES.items():
            engine.execute(create_table(table, columns))
        yield engine


@pytest.fixture
def connection(engine: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The empty tables in a transaction, which the test leaves as it found them."""
    engine.execute("BEGIN")
    yield engine
    engine.execute("ROLLBACK")


def load(
    settings: Settings, connection: duckdb.DuckDBPyConnection, source: Path, run_id: str = "run"
) -> ShardLoad:
    shard = source.name.removesuffix(".parquet")
    raw = fetch_shard(describe_file(source), RawStore(settings.raw_dir))
    return load_shard(connection, raw, RawStore(settings.raw_dir).path(shard), run_id)


def read(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    return connection.execute(query).fetchall()


def read_all(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """Returns all rows of the tables that loading a shard writes."""
    tables = {
        "images": "SELECT * FROM images ORDER BY shard, row_index",
        "rejected_images": "SELECT * FROM rejected_images ORDER BY shard, row_index",
        "shards": "SELECT * FROM shards ORDER BY shard",
        "shard_domains": "SELECT * FROM shard_domains ORDER BY ALL",
        "caption_matches": "SELECT * FROM caption_matches ORDER BY shard, phrase",
    }
    return {table: read(connection, query) for table, query in tables.items()}


def select_ids(pairs: Sequence[tuple[str, str]]) -> list[int]:
    with duckdb.connect() as connection:
        define_macros(connection)
        query = "SELECT image_id($url, $caption)"
        return [
            connection.execute(query, {"url": url, "caption": caption}).fetchall()[0][0]
            for url, caption in pairs
        ]


def corrupt(path: Path) -> None:
    """Spoils data pages in the middle of the file; its footer stays."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(b"\xff" * (path.stat().st_size // 6))


@pytest.mark.parametrize(("url", "caption"), PAIRS.values(), ids=list(PAIRS))
def test_the_id_is_that_of_the_documented_formula(url: str, caption: str) -> None:
    assert select_ids([(url, caption)]) == [compute_image_id(url, caption)]


def test_the_id_tells_where_the_url_ends() -> None:
    first, second = select_ids([("ab", "c"), ("a", "bc")])

    assert first != second


def test_the_ids_of_all_pairs_differ_and_are_not_negative() -> None:
    ids = select_ids(list(PAIRS.values()))

    assert len(set(ids)) == len(ids)
    assert all(0 <= i < 2**63 for i in ids)


def test_the_id_never_changes() -> None:
    pairs = [
        ("https://example.com/a.jpg", "A painting by Vincent van Gogh"),
        ("https://例え.example/🦊.png", "\0 葛飾北斎"),
    ]

    assert select_ids(pairs) == [5_139_813_830_981_585_284, 5_873_376_959_597_380_740]


def test_the_loaded_rows_have_these_ids(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    pairs = [(f"{URL}?{url}", f"x{caption}") for url, caption in PAIRS.values()]
    load(
        settings,
        connection,
        write_shard("s", URL=[p[0] for p in pairs], TEXT=[p[1] for p in pairs]),
    )

    rows = read(connection, "SELECT image_id FROM images ORDER BY row_index")

    assert rows == [(compute_image_id(url, caption),) for url, caption in pairs]


@pytest.mark.parametrize("blank", BLANKS.values(), ids=list(BLANKS))
def test_a_blank_is_missing(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    write_shard: WriteShard,
    blank: str | None,
) -> None:
    source = write_shard("s", URL=[blank, URL, blank], TEXT=["a", blank, blank])

    loaded = load(settings, connection, source)

    assert loaded.image_count == 0
    assert loaded.rejected == {"missing_url": 2, "missing_caption": 1}
    assert read(connection, "SELECT * FROM rejected_images ORDER BY row_index") == [
        ("s", 0, blank, "a", "missing_url"),
        ("s", 1, URL, blank, "missing_caption"),
        ("s", 2, blank, blank, "missing_url"),
    ]


@pytest.mark.parametrize("text", NOT_BLANKS.values(), ids=list(NOT_BLANKS))
def test_what_only_looks_blank_is_not_missing(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard, text: str
) -> None:
    loaded = load(settings, connection, write_shard("s", URL=[URL, text], TEXT=[text, "a"]))

    assert (loaded.image_count, loaded.rejected) == (1, {"invalid_url": 1})
    assert read(connection, "SELECT caption FROM images") == [(text,)]


def test_a_blank_is_what_python_calls_white_space() -> None:
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    with duckdb.connect() as connection:
        define_macros(connection)
        rows = connection.execute(
            "SELECT c FROM (SELECT unnest($all::VARCHAR[]) AS c) WHERE is_blank(c)",
            {"all": characters},
        ).fetchall()

    assert sorted(c for (c,) in rows) == [c for c in characters if c.isspace()]


def test_a_reason_of_the_url_goes_first(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard(
        "s",
        URL=[None, "", "no host", "http://", URL, URL],
        TEXT=[None, "a", None, "a", " ", "a"],
    )

    loaded = load(settings, connection, source)

    assert read(connection, "SELECT row_index, reason FROM rejected_images ORDER BY row_index") == [
        (0, "missing_url"),
        (1, "missing_url"),
        (2, "invalid_url"),
        (3, "invalid_url"),
        (4, "missing_caption"),
    ]
    assert loaded.rejected == {"missing_url": 2, "invalid_url": 2, "missing_caption": 1}


def test_rows_and_positions_are_those_of_the_file(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    urls = ["http://A.example:80/", None, "//b.example/x", "nowhere", "http://u@c.example"]
    texts = ["one", "two", " three ", "four", "five"]

    loaded = load(settings, connection, write_shard("s", URL=urls, TEXT=texts))

    assert loaded.image_count + sum(loaded.rejected.values()) == len(urls)
    assert read(
        connection, "SELECT row_index, shard, url, caption, domain FROM images ORDER BY row_index"
    ) == [
        (0, "s", urls[0], "one", "a.example"),
        (2, "s", urls[2], " three ", "b.example"),
        (4, "s", urls[4], "five", "c.example"),
    ]
    assert read(connection, "SELECT row_index FROM rejected_images ORDER BY 1") == [(1,), (3,)]


@pytest.mark.slow
def test_90_5_and_5_percent_of_the_images_are_in_each_split_and_copies_in_one(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    urls = [f"https://a.test/{n}.jpg" for n in [*range(20_000), *range(20_000)]]

    load(settings, connection, write_shard("s", URL=urls, TEXT=["a fox"] * len(urls)))

    rows = read(connection, "SELECT split, count(*) / 40000 FROM images GROUP BY split")
    assert {row[0]: row[1] for row in rows} == pytest.approx(
        {"train": 0.9, "validation": 0.05, "test": 0.05}, abs=0.01
    )
    in_two = "SELECT image_id FROM images GROUP BY image_id HAVING count(DISTINCT split) > 1"
    assert read(connection, in_two) == []


def test_the_split_of_an_image_never_changes(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    urls = [f"https://a.test/{n}.jpg" for n in range(30)]

    load(settings, connection, write_shard("s", URL=urls, TEXT=["a fox"] * len(urls)))

    others = "SELECT split, row_index FROM images WHERE split <> 'train' ORDER BY row_index"
    assert read(connection, others) == [("test", 0), ("test", 3), ("validation", 22)]


def test_rows_have_their_host_and_its_registered_domain_however_the_url_is_written(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    urls = [
        "https://i.pinimg.com/1.jpg",
        "HTTPS://I.PinImg.com:443/1.jpg",
        " \thttp://user:pw@i.pin\timg.com.?q=/a#/b",
        "//a.b.example.co.uk",
        "ftp://my.blog.blogspot.com#/",
        "http://[2001:DB8::1]:80/",
        "https://192.0.2.1",
        "https://nul\0.test/",
        "https://it's\0/",
        "https://../",
        "https://www.食狮.公司.cn/",
        "https://İ.Example.com/",
        "https://[::1/",
        "https:///a/b",
        "https://a\N{FULLWIDTH SOLIDUS}b.test/",
        "https://user@/",
    ]

    load(settings, connection, write_shard("s", URL=urls, TEXT=["a"] * len(urls)))

    assert read(
        connection, "SELECT row_index, domain, registered_domain FROM images ORDER BY row_index"
    ) == [
        (0, "i.pinimg.com", "pinimg.com"),
        (1, "i.pinimg.com", "pinimg.com"),
        (2, "i.pinimg.com.", "pinimg.com"),
        (3, "a.b.example.co.uk", "example.co.uk"),
        (4, "my.blog.blogspot.com", "blog.blogspot.com"),
        (5, "2001:db8::1", "2001:db8::1"),
        (6, "192.0.2.1", "192.0.2.1"),
        (7, "nul\0.test", "nul\0.test"),
        (8, "it's\0", "it's\0"),
        (9, "..", ".."),
        (10, "www.食狮.公司.cn", "食狮.公司.cn"),
        (11, "i\u0307.example.com", "example.com"),
    ]
    assert read(connection, "SELECT DISTINCT reason FROM rejected_images") == [("invalid_url",)]


def test_the_position_is_right_in_a_file_of_many_row_groups(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    """The groups are read side by side, and inserted in any order."""
    source = write_shard("s", URL=[URL], TEXT=["a"])
    urls = [f"https://a.example/{i}" if i % 7 else f"none {i}" for i in range(5_000)]
    pq.write_table(pa.table({"URL": urls, "TEXT": ["a"] * 5_000}), source, row_group_size=100)

    loaded = load(settings, connection, source)

    images = read(connection, "SELECT row_index, url FROM images")
    rejected = read(connection, "SELECT row_index, url FROM rejected_images")
    assert loaded.image_count == len(images) == 4_285
    assert set(images) | set(rejected) == set(enumerate(urls))
    assert len(images) + len(rejected) == len(urls)


def test_no_good_row_is_no_error(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    loaded = load(settings, connection, write_shard("s", URL=[None, "x"], TEXT=["a", "b"]))

    assert (loaded.image_count, loaded.rejected) == (0, {"missing_url": 1, "invalid_url": 1})


def test_a_file_without_rows_is_a_shard_without_rows(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    empty = pa.array([], pa.string())

    loaded = load(settings, connection, write_shard("s", URL=empty, TEXT=empty))

    assert (loaded.image_count, loaded.rejected) == (0, {})
    assert read(connection, "SELECT shard, file_rows FROM shards") == [("s", 0)]


FLOATS = pa.array([0.5, None], pa.float64())
SCHEMAS: dict[str, tuple[dict[str, object], dict[str, list[object]]]] = {
    "laion400m": (
        {
            "SAMPLE_ID": [1.0, 2.0],
            "URL": [URL, URL],
            "TEXT": ["a", "b"],
            "HEIGHT": pa.array([480.0, None], pa.float64()),
            "WIDTH": pa.array([640.0, None], pa.float64()),
            "LICENSE": ["?", None],
            "NSFW": ["UNLIKELY", None],
            "similarity": FLOATS,
        },
        {
            "width": [640, None],
            "height": [480, None],
            "license": ["?", None],
            "nsfw": ["UNLIKELY", None],
            "similarity": [0.5, None],
        },
    ),
    "improved_aesthetics": (
        {
            "URL": [URL, URL],
            "TEXT": ["a", "b"],
            "WIDTH": pa.array([640, None], pa.int32()),
            "HEIGHT": pa.array([480, None], pa.int32()),
            "similarity": FLOATS,
            "punsafe": pa.array([0.25, None], pa.float32()),
            "pwatermark": pa.array([0.75, None], pa.float32()),
            "AESTHETIC_SCORE": pa.array([6.5, None], pa.float32()),
            "hash": pa.array([-(2**63), 2**63 - 1], pa.int64()),
            "__index_level_0__": pa.array([7, 8], pa.int64()),
        },
        {
            "width": [640, None],
            "height": [480, None],
            "similarity": [0.5, None],
            "punsafe": [0.25, None],
            "pwatermark": [0.75, None],
            "aesthetic": [6.5, None],
            "hash": [-(2**63), 2**63 - 1],
        },
    ),
    "laion-art": (
        {
            "URL": [URL, URL],
            "TEXT": ["a", "b"],
            "WIDTH": pa.array([640, None], pa.int64()),
            "HEIGHT": pa.array([480, None], pa.int64()),
            "similarity": FLOATS,
            "LANGUAGE": ["en", None],
            "hash": pa.array([1, None], pa.int64()),
            "pwatermark": FLOATS,
            "punsafe": FLOATS,
            "aesthetic": FLOATS,
        },
        {
            "width": [640, None],
            "height": [480, None],
            "similarity": [0.5, None],
            "language": ["en", None],
            "hash": [1, None],
            "pwatermark": [0.5, None],
            "punsafe": [0.5, None],
            "aesthetic": [0.5, None],
        },
    ),
    "laion-coco": (
        {
            "SAMPLE_ID": [1, 2],
            "URL": [URL, URL],
            "top_caption": ["a", "b"],
            "all_captions": [["a", "x"], ["b", "y"]],
            "similarity": FLOATS,
        },
        {"similarity": [0.5, None]},
    ),
    "laion-1m": (
        {
            "url": [URL, URL],
            "caption": ["a", "b"],
            "key": ["0", "1"],
            "exif": ["{}", "{}"],
            "md5": ["0", "1"],
            "width": pa.array([640, None], pa.int64()),
            "height": pa.array([480, None], pa.int64()),
        },
        {"width": [640, None], "height": [480, None], "md5": ["0", "1"]},
    ),
    "PD12M": (
        {"url": [URL, URL], "caption": ["a", "b"], "hash": ["0f", None], "original_width": [9, 8]},
        {"width": [9, 8], "original_width": [9, 8], "md5": ["0f", None], "hash": [None, None]},
    ),
    "nsfw as numbers": (
        {"url": [URL, URL], "text": ["a", "b"], "nsfw": pa.array([0, 1], pa.int64())},
        {"nsfw": ["0", "1"]},
    ),
    "mixed case": (
        {"Url": [URL, URL], "Text": ["a", "b"], "Aesthetic_Score": FLOATS, "Hash": [1, 2]},
        {"aesthetic": [0.5, None], "hash": [1, 2]},
    ),
    "only what is needed": ({"URL": [URL, URL], "TEXT": ["a", "b"]}, {}),
}


@pytest.mark.parametrize("family", SCHEMAS)
def test_the_columns_of_a_release_are_found_and_the_others_are_null(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard, family: str
) -> None:
    columns, expected = SCHEMAS[family]
    source = write_shard("s", URL=[URL], TEXT=["a"])
    pq.write_table(pa.table(columns), source)

    load(settings, connection, source)

    assert read(connection, "SELECT url, caption FROM images ORDER BY row_index") == [
        (URL, "a"),
        (URL, "b"),
    ]
    table = connection.sql("SELECT * FROM images ORDER BY row_index").to_arrow_table()
    found = {name: table[name].to_pylist() for name in OPTIONAL}
    assert found == {name: expected.get(name, [None, None]) for name in OPTIONAL}


def test_a_value_that_fits_no_column_is_null_and_the_row_stays(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard(
        "s",
        URL=[URL] * 4,
        TEXT=["a"] * 4,
        WIDTH=pa.array([1e300, math.nan, -1.0, 0.0], pa.float64()),
        HEIGHT=pa.array([2**40, 1, 2, 3], pa.int64()),
        punsafe=["n/a", "", "1", "0.5"],
        aesthetic=[math.nan, 5.0, None, math.inf],
    )

    load(settings, connection, source)

    query = "SELECT width, height, punsafe, aesthetic FROM images ORDER BY row_index"
    assert read(connection, query) == [
        (None, None, None, None),
        (None, 1, None, 5.0),
        (-1, 2, 1.0, None),
        (0, 3, 0.5, math.inf),
    ]


def test_low_scores_odd_sizes_and_repeats_stay(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard(
        "s", URL=[URL] * 3, TEXT=["a"] * 3, WIDTH=[0, -1, 1], punsafe=[1.0, 1.0, 2.0]
    )

    assert load(settings, connection, source).image_count == 3
    assert Counter(read(connection, "SELECT url, caption, image_id FROM images")) == {
        (URL, "a", compute_image_id(URL, "a")): 3
    }


def test_the_load_is_recorded(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard("s", URL=[URL, None, URL], TEXT=["a", "b", "c"])

    loaded = load(settings, connection, source, run_id="run-7")

    content = source.read_bytes()
    assert read(connection, "SELECT * EXCLUDE (loaded_at) FROM shards") == [
        (
            "s",
            loaded.load_id,
            str(source),
            hashlib.sha256(content).hexdigest(),
            len(content),
            3,
            2,
            1,
            CLEANING_VERSION,
            None,
            "run-7",
            False,
            None,
        )
    ]


@pytest.mark.exhaustive
def test_the_mark_of_a_sample_is_recorded_until_another_file_is_loaded(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    found = []
    for metadata in (SAMPLE_METADATA, {}, {SAMPLE_KEY: "false"}):
        source = write_shard("s", URL=[URL], TEXT=["a \udcff".encode(errors="surrogateescape")])
        pq.write_table(pq.read_table(source).replace_schema_metadata(metadata), source)
        load(settings, connection, source)
        found += read(connection, "SELECT is_sample FROM shards")

    assert found == [(True,), (False,), (False,)]


@pytest.mark.slow
def test_loading_a_shard_twice_gives_the_same_rows_and_another_load(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard("s", URL=[URL, None, "x", URL], TEXT=["a", "b", "c", ""])
    first = load(settings, connection, source)
    rows = read_all(connection)

    second = load(settings, connection, source)

    again = read_all(connection)
    assert again["images"] == rows["images"] != []
    assert again["rejected_images"] == rows["rejected_images"] != []
    assert len(again["shards"]) == 1
    assert first.load_id != second.load_id


@pytest.mark.exhaustive
def test_replacing_one_shard_leaves_the_others(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    for shard in ("a", "b", "c"):
        urls = [f"https://{shard}.example/{i}" for i in range(4)]
        load(settings, connection, write_shard(shard, URL=[*urls, None], TEXT=["old"] * 5))
    before = read_all(connection)

    load(settings, connection, write_shard("b", URL=[URL, URL, ""], TEXT=["new", "", "new"]))

    after = read_all(connection)
    for table in ("images", "rejected_images", "shards"):
        position = [column.name for column in TABLES[table]].index("shard")
        others = [row for row in before[table] if row[position] != "b"]
        assert len(others) >= 2
        assert [row for row in after[table] if row[position] != "b"] == others
    assert read(connection, "SELECT caption, row_index FROM images WHERE shard = 'b'") == [
        ("new", 0)
    ]
    assert read(
        connection,
        "SELECT row_index, reason FROM rejected_images WHERE shard = 'b' ORDER BY row_index",
    ) == [(1, "missing_caption"), (2, "missing_url")]


@pytest.mark.exhaustive
@pytest.mark.parametrize("shard", ["x'; DROP TABLE images; --", 'a"b', "s[0]*", "%", "日本 🦊"])
def test_a_shard_of_any_name_is_loaded(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard, shard: str
) -> None:
    load(settings, connection, write_shard("s0", URL=[URL], TEXT=["other"]))
    load(settings, connection, write_shard(shard, URL=[URL], TEXT=["a"]))
    load(settings, connection, write_shard(shard, URL=[URL], TEXT=["b"]))

    rows = read(connection, "SELECT shard, caption FROM images")
    assert Counter(rows) == {("s0", "other"): 1, (shard, "b"): 1}


@pytest.mark.exhaustive
def test_loading_forgets_what_was_counted_for_the_shard_alone(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    for shard in ("a", "b"):
        load(settings, connection, write_shard(shard, URL=[URL], TEXT=["fox"]))
    connection.execute("INSERT INTO caption_matches VALUES ('a', 'fox', 1), ('b', 'fox', 1)")

    load(settings, connection, write_shard("a", URL=[URL], TEXT=["hen"]))

    assert read(connection, "SELECT * FROM caption_matches") == [("b", "fox", 1)]


@pytest.mark.exhaustive
def test_a_file_that_breaks_in_the_middle_is_refused_and_the_old_rows_stay(
    settings: Settings, database: Database, write_shard: WriteShard
) -> None:
    source = write_shard("s", URL=[URL, None], TEXT=["old", "old"])
    with database.write() as connection:
        load(settings, connection, source)
        connection.execute("INSERT INTO caption_matches VALUES ('s', 'old', 1)")
        before = read_all(connection)
    source.unlink()
    urls = [f"https://a.example/{hashlib.sha256(b'%d' % i).hexdigest()}" for i in range(2_000)]
    pq.write_table(pa.table({"URL": urls, "TEXT": urls}), source, row_group_size=200)
    raw = fetch_shard(describe_file(source), RawStore(settings.raw_dir))
    path = RawStore(settings.raw_dir).path("s")
    corrupt(path)
    assert pq.read_metadata(path).num_rows == 2_000

    with pytest.raises(ShardError) as refusal, database.write() as connection:
        load_shard(connection, raw, path, "run")

    assert str(refusal.value).startswith(f"{source}: ")
    assert str(refusal.value).endswith("; fetch the file again")
    assert "\n" not in str(refusal.value)
    with database.read() as connection:
        assert read_all(connection) == before


def test_a_file_with_other_rows_than_were_verified_is_refused(
    settings: Settings, connection: duckdb.DuckDBPyConnection, write_shard: WriteShard
) -> None:
    source = write_shard("s", URL=[URL, None], TEXT=["a", "b"])
    raw = fetch_shard(describe_file(source), RawStore(settings.raw_dir))
    other = write_shard("t", URL=[URL], TEXT=["a"])

    with raises("rows-not-accounted"):
        load_shard(connection, raw, other, "run")
