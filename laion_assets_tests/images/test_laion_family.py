"""Every release of the family and every form of parquet file, from the file to the rows."""

import datetime
import decimal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.images.load import ShardLoad, load_shard
from laion_assets.images.text_repair import BATCH_ROWS, repair_texts
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.schemas import TABLES
from laion_assets.stores.database import Database
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.sql import create_table

Row = dict[str, object]

U = "https://a.example/1.jpg"
V = "https://b.example/2.jpg"
# Set by the load itself, and tested elsewhere.
DERIVED = ("image_id", "domain", "registered_domain", "split", "shard")
SIZES: dict[str, Any] = {"width": 640, "height": 480}
MEGABYTE = 1 << 20
INVALID = {
    "latin-1": b"caf\xe9 noir",
    "cut off emoji": b"a \xf0\x9f\xa6",
    "a surrogate": b"\xed\xa0\x80x",
    "overlong": b"\xc0\xafx",
    "beyond Unicode": b"\xf4\x90\x80\x80x",
    "utf-16": "fox".encode("utf-16"),
    "a NUL beside it": b"a\0\xff\0b",
    "only bad bytes": b"\x80\x81\xfe\xff",
}


def floats(*values: float | None) -> pa.Array:
    return pa.array(values, pa.float64())


def floats32(*values: float | None) -> pa.Array:
    return pa.array(values, pa.float32())


def int32(*values: int | None) -> pa.Array:
    return pa.array(values, pa.int32())


def claim_text(*values: bytes | None, type_: pa.DataType | None = None) -> pa.Array:
    """Returns an array of strings whose bytes nobody has looked at."""
    kind = pa.large_binary() if type_ == pa.large_string() else pa.binary()
    array = pa.array(values, kind)
    return pa.Array.from_buffers(type_ or pa.string(), len(array), array.buffers())


@dataclass(frozen=True)
class Case:
    """A file and what becomes of it.

    Attributes:
        columns: of the file.
        images: what of each row of `images` is not NULL, URL and caption among it.
        rejected: rows in `rejected_images`, by reason.
        repaired_count: rows whose texts were repaired.
        options: for the writer.
    """

    columns: dict[str, object]
    images: list[Row]
    rejected: dict[str, int] = field(default_factory=dict)
    repaired_count: int = 0
    options: dict[str, object] = field(default_factory=dict)


def row(index: int, caption: str = "a", url: str = U, **others: object) -> Row:
    return {"row_index": index, "url": url, "caption": caption, **others}


RELEASES = {
    "laion400m": Case(
        {
            "SAMPLE_ID": floats(1.0, 2.0),
            "URL": [U, V],
            "TEXT": ["a", "b"],
            "HEIGHT": int32(480, 0),
            "WIDTH": int32(640, 0),
            "LICENSE": ["?", None],
            "NSFW": ["UNLIKELY", "NSFW"],
            "similarity": floats(0.5, None),
        },
        [
            row(0, **SIZES, license="?", nsfw="UNLIKELY", similarity=0.5),
            row(1, "b", V, width=0, height=0, nsfw="NSFW"),
        ],
    ),
    "laion400m, sizes as double": Case(
        {
            "SAMPLE_ID": floats(1.0, None, 2.0),
            "URL": [U, None, V],
            "TEXT": ["a", None, None],
            "HEIGHT": floats(480, None, 3),
            "WIDTH": floats(640, None, 4),
            "LICENSE": [None, None, None],
            "NSFW": ["UNSURE", None, None],
            "similarity": floats(0.25, None, None),
            "__index_level_0__": [7, 8, 9],
        },
        [row(0, **SIZES, nsfw="UNSURE", similarity=0.25)],
        {"missing_url": 1, "missing_caption": 1},
    ),
    "laion2B-en": Case(
        {
            "SAMPLE_ID": [1, 2],
            "URL": [U, V],
            "TEXT": ["a", "b"],
            "HEIGHT": int32(480, None),
            "WIDTH": int32(640, None),
            "LICENSE": ["?", "?"],
            "NSFW": ["UNLIKELY", None],
            "similarity": floats(0.5, None),
        },
        [
            row(0, **SIZES, license="?", nsfw="UNLIKELY", similarity=0.5),
            row(1, "b", V, license="?"),
        ],
    ),
    "laion2B-multi": Case(
        {
            "SAMPLE_ID": floats(1, 2),
            "URL": [U, V],
            "TEXT": ["ein Fuchs", "狐"],
            "HEIGHT": floats(480, None),
            "WIDTH": floats(640, None),
            "LICENSE": ["?", None],
            "LANGUAGE": ["de", "ja"],
            "NSFW": ["UNLIKELY", None],
            "similarity": floats(0.5, None),
        },
        [
            row(
                0,
                "ein Fuchs",
                **SIZES,
                license="?",
                language="de",
                nsfw="UNLIKELY",
                similarity=0.5,
            ),
            row(1, "狐", V, language="ja"),
        ],
    ),
    "laion2B-en-aesthetic": Case(
        {
            "URL": [U],
            "TEXT": ["a"],
            "WIDTH": floats(640),
            "HEIGHT": floats(480),
            "similarity": floats(0.5),
            "hash": pa.array([-1], pa.int64()),
            "punsafe": floats32(0.25),
            "pwatermark": floats32(0.75),
            "aesthetic": floats32(6.5),
        },
        [row(0, **SIZES, similarity=0.5, hash=-1, punsafe=0.25, pwatermark=0.75, aesthetic=6.5)],
    ),
    "improved_aesthetics_6plus": Case(
        {
            "URL": [U],
            "TEXT": ["a"],
            "WIDTH": int32(640),
            "HEIGHT": int32(480),
            "similarity": floats(0.5),
            "punsafe": floats(0.25),
            "pwatermark": floats(0.75),
            "AESTHETIC_SCORE": floats(6.5),
            "hash": pa.array([2**63 - 1], pa.int64()),
            "__index_level_0__": pa.array([3], pa.int64()),
        },
        [
            row(
                0,
                **SIZES,
                similarity=0.5,
                punsafe=0.25,
                pwatermark=0.75,
                aesthetic=6.5,
                hash=2**63 - 1,
            )
        ],
    ),
    "laion-art": Case(
        {
            "URL": [U],
            "TEXT": ["a"],
            "WIDTH": pa.array([640], pa.int64()),
            "HEIGHT": pa.array([480], pa.int64()),
            "similarity": floats(0.5),
            "LANGUAGE": ["en"],
            "hash": pa.array([1], pa.int64()),
            "pwatermark": floats32(0.75),
            "punsafe": floats32(0.25),
            "aesthetic": floats32(8.5),
        },
        [
            row(
                0,
                **SIZES,
                similarity=0.5,
                language="en",
                hash=1,
                pwatermark=0.75,
                punsafe=0.25,
                aesthetic=8.5,
            )
        ],
    ),
    "laion-coco, its alt text goes first": Case(
        {
            "SAMPLE_ID": [1, 2],
            "URL": [U, V],
            "TEXT": ["alt", None],
            "HEIGHT": int32(480, None),
            "WIDTH": int32(640, None),
            "LICENSE": ["?", None],
            "NSFW": ["UNLIKELY", None],
            "similarity": floats(0.5, None),
            "top_caption": ["made up", "made up"],
            "all_captions": [["made up", "x"], []],
            "all_similarities": [[0.5, 0.25], None],
        },
        [row(0, "alt", **SIZES, license="?", nsfw="UNLIKELY", similarity=0.5)],
        {"missing_caption": 1},
    ),
    "laion-coco, without alt text": Case(
        {"URL": [U], "top_caption": ["made up"], "all_captions": [["made up"]]},
        [row(0, "made up")],
    ),
    "relaion2B": Case(
        {
            "url": [U],
            "caption": ["a"],
            "key": ["000000001"],
            "status": ["success"],
            "error_message": pa.nulls(1),
            "width": pa.array([640], pa.int64()),
            "height": pa.array([480], pa.int64()),
            "original_width": [1],
            "similarity": floats(0.5),
            "hash": pa.array([5], pa.int64()),
            "punsafe": floats32(0.25),
            "pwatermark": floats32(0.75),
            "aesthetic": floats32(6.5),
            "md5": ["0" * 32],
            "exif": ["{}"],
        },
        [
            row(
                0,
                **SIZES,
                similarity=0.5,
                hash=5,
                punsafe=0.25,
                pwatermark=0.75,
                aesthetic=6.5,
                key="000000001",
                md5="0" * 32,
                original_width=1,
            )
        ],
    ),
    "laion-1m, images as structures": Case(
        {
            "url": [U],
            "caption": ["a"],
            "NSFW": pa.array([0], pa.int64()),
            "img_emb": pa.array([[0.5] * 768], pa.list_(pa.float32())),
            "image": pa.array([{"bytes": b"\xff\xd8", "path": None}]),
            "exif": ["{}"],
        },
        [row(0, nsfw="0")],
    ),
    "laion-1m, images as bytes": Case(
        {
            "URL": [U],
            "TEXT": ["a"],
            "img_emb": pa.array([[0.5] * 768], pa.list_(pa.float32(), 768)),
            "image": pa.array([b"\xff\xd8" * 9], pa.large_binary()),
        },
        [row(0)],
    ),
}

NOT_READ: dict[str, object] = {
    "decimal": [decimal.Decimal("1.50")],
    "date": [datetime.date(2020, 1, 1)],
    "time": [datetime.time(1)],
    "nanoseconds": pa.array([1], pa.timestamp("ns")),
    "half": pa.array([1.5], pa.float16()),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
    "deep": [[{"a": [{"b": [1]}]}]],
    "bool": [True],
    "nothing": pa.nulls(1),
    "bytes": pa.array([b"\xff"], pa.binary(1)),
    "spoilt": claim_text(b"\xff"),
    "": ["no name"],
    "a.b": ["dot"],
    'a"b': ["quote"],
    "filename": ["DuckDB's own"],
    "file_index": [9],
    "row_index": [9],
    "image_id": [9],
}

TEXT_TYPES = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "binary_view": pa.binary_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of bytes": pa.dictionary(pa.int8(), pa.binary()),
}


def as_type(type_: pa.DataType, *values: str | None) -> pa.Array:
    if pa.types.is_dictionary(type_):
        return as_type(type_.value_type, *values).dictionary_encode()
    if "binary" in str(type_):
        return pa.array([None if v is None else v.encode() for v in values], type_)
    return pa.array(values, type_)


FORMS = {
    **{
        f"texts as {name}": Case(
            {
                "URL": as_type(type_, U, V, None),
                "TEXT": as_type(type_, "é\0", "é\0", "c"),
                "NSFW": as_type(type_, "x", None, "y"),
            },
            [row(0, "é\0", nsfw="x"), row(1, "é\0", V)],
            {"missing_url": 1},
        )
        for name, type_ in TEXT_TYPES.items()
    },
    "columns that are not read": Case({"URL": [U], "TEXT": ["a"], **NOT_READ}, [row(0)]),
    "INT96": Case(
        {"URL": [U], "TEXT": ["a"], "at": pa.array([1], pa.timestamp("ns"))},
        [row(0)],
        options={"use_deprecated_int96_timestamps": True},
    ),
    "names in odd cases": Case(
        {"Url": [U], "tExT": ["a"], "wIDTH": [1], "Aesthetic_Score": [1.5], "Language": ["en"]},
        [row(0, width=1, aesthetic=1.5, language="en")],
    ),
    "a name in two cases that nobody reads": Case(
        {"x": ["first"], "X": ["second"], "url": [U], "text": ["a"]}, [row(0)]
    ),
    "a hash of digits in text": Case(
        {"URL": [U], "TEXT": ["a"], "hash": ["12345"]}, [row(0, md5="12345")]
    ),
    "numbers as text": Case(
        {"URL": [U, U], "TEXT": ["a", "a"], "WIDTH": ["640", "wide"], "punsafe": [b"0.5", b"\xff"]},
        [row(0, width=640, punsafe=0.5), row(1)],
        repaired_count=1,
    ),
    "NUL bytes": Case(
        {"URL": [f"{U}?\0", "\0"], "TEXT": ["a\0b", "\0"]},
        [row(0, "a\0b", f"{U}?\0")],
        {"invalid_url": 1},
    ),
    "texts of 20 MB": Case(
        {"URL": [f"{U}?{'u' * 20 * MEGABYTE}", U], "TEXT": ["a", "狐" * 7 * MEGABYTE]},
        [row(0, url=f"{U}?{'u' * 20 * MEGABYTE}"), row(1, "狐" * 7 * MEGABYTE)],
    ),
    "no column but NULL": Case(
        {"URL": pa.nulls(2), "TEXT": pa.nulls(2), "WIDTH": pa.nulls(2)}, [], {"missing_url": 2}
    ),
    "no rows": Case({"URL": pa.array([], pa.string()), "TEXT": pa.array([], pa.string())}, []),
}

REPAIRS = {
    **{
        name: Case(
            {"URL": [U, U, U], "TEXT": claim_text(b"before", content, None)},
            [row(0, "before"), row(1, content.decode(errors="replace"))],
            {"missing_caption": 1},
            repaired_count=1,
        )
        for name, content in INVALID.items()
    },
    "every text column": Case(
        {
            "URL": claim_text(f"{U}?\xe9".encode("latin-1"), U.encode(), b"\xff"),
            "TEXT": claim_text(b"a\xff", b"b\xff", b"c\xff", type_=pa.large_string()),
            "NSFW": claim_text(b"\xff", None, None),
            "WIDTH": int32(1, 2, 3),
        },
        [
            row(0, "a\ufffd", f"{U}?\ufffd", nsfw="\ufffd", width=1),
            row(1, "b\ufffd", width=2),
        ],
        {"invalid_url": 1},
        repaired_count=3,
    ),
    "bytes": Case(
        {"URL": [U.encode()], "TEXT": [b"caf\xe9"]}, [row(0, "caf\ufffd")], repaired_count=1
    ),
    "a dictionary": Case(
        {
            "URL": [U, U, U],
            "TEXT": pa.array([b"a\xff", b"b", b"a\xff"], pa.binary()).dictionary_encode(),
        },
        [row(0, "a\ufffd"), row(1, "b"), row(2, "a\ufffd")],
        repaired_count=2,
    ),
    "U+FFFD of the source is no repair": Case(
        {"URL": [U], "TEXT": ["a\ufffd"]}, [row(0, "a\ufffd")]
    ),
    "beside columns that are not read": Case(
        {"URL": [U], "TEXT": claim_text(b"\xff"), **NOT_READ}, [row(0, "\ufffd")], repaired_count=1
    ),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        for table, columns in TABLES.items():
            engine.execute(create_table(table, columns))
        yield engine


@pytest.fixture
def connection(engine: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    engine.execute("BEGIN")
    yield engine
    engine.execute("ROLLBACK")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.parquet"


def bring(connection: duckdb.DuckDBPyConnection, path: Path) -> ShardLoad:
    store = RawStore(path.parent / "raw")
    raw = fetch_shard(describe_file(path), store)
    load = load_shard(connection, raw, store.path("s"), "run")
    assert sorted(p.name for p in store.folder.iterdir()) == ["s.json", "s.parquet"]
    return load


def read_images(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    table = connection.sql("SELECT * FROM images ORDER BY row_index").to_arrow_table()
    return [
        {name: value for name, value in image.items() if value is not None and name not in DERIVED}
        for image in table.to_pylist()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for cases in (RELEASES, FORMS, REPAIRS)
        for name, case in cases.items()
    ],
)
def test_a_file_becomes_these_rows(
    connection: duckdb.DuckDBPyConnection, path: Path, case: Case
) -> None:
    pq.write_table(pa.table(case.columns), path, **case.options)

    load = bring(connection, path)

    assert (load.rejected, load.repaired_count) == (case.rejected, case.repaired_count)
    assert load.image_count == len(case.images)
    assert read_images(connection) == case.images


def make_plain_table(row_count: int) -> tuple[pa.Table, list[Row]]:
    """Returns rows of every type that is read, some NULL, and what `images` has of them."""
    numbers = range(row_count)
    table = pa.table(
        {
            "URL": [f"https://a.example/{i}" for i in numbers],
            "TEXT": [f"Fox {i % 7}" for i in numbers],
            "WIDTH": int32(*(i if i % 3 else None for i in numbers)),
            "similarity": floats(*(i / 4 for i in numbers)),
            "punsafe": floats32(*(i / 8 for i in numbers)),
            "hash": pa.array(numbers, pa.int64()),
        }
    )
    images = [
        {"row_index": i, "url": f"https://a.example/{i}", "caption": f"Fox {i % 7}"}
        | ({"width": i} if i % 3 else {})
        | {"similarity": i / 4, "punsafe": i / 8, "hash": i}
        for i in numbers
    ]
    return table, images


ENCODINGS: dict[str, dict[str, object]] = {
    "dictionary": {},
    "plain": {"use_dictionary": False},
    "delta lengths": {
        "use_dictionary": False,
        "column_encoding": {
            "URL": "DELTA_LENGTH_BYTE_ARRAY",
            "TEXT": "DELTA_LENGTH_BYTE_ARRAY",
            "WIDTH": "DELTA_BINARY_PACKED",
            "similarity": "BYTE_STREAM_SPLIT",
            "punsafe": "BYTE_STREAM_SPLIT",
            "hash": "DELTA_BINARY_PACKED",
        },
    },
    "delta texts": {
        "use_dictionary": False,
        "column_encoding": {
            "URL": "DELTA_BYTE_ARRAY",
            "TEXT": "DELTA_BYTE_ARRAY",
            "WIDTH": "BYTE_STREAM_SPLIT",
            "hash": "BYTE_STREAM_SPLIT",
        },
    },
}


@pytest.mark.parametrize("version", ["1.0", "2.0"], ids=["page v1", "page v2"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_every_codec_and_encoding_is_read(
    connection: duckdb.DuckDBPyConnection, path: Path, codec: str, encoding: str, version: str
) -> None:
    table, images = make_plain_table(60)
    pq.write_table(
        table,
        path,
        compression=codec,
        data_page_version=version,
        row_group_size=25,
        **ENCODINGS[encoding],
    )

    assert bring(connection, path).image_count == 60
    assert read_images(connection) == images


@pytest.mark.exhaustive
def test_repaired_rows_stay_where_they_were_in_many_row_groups_and_batches(
    connection: duckdb.DuckDBPyConnection, path: Path
) -> None:
    row_count = 2 * BATCH_ROWS + 1_000
    bad = {0, BATCH_ROWS - 1, BATCH_ROWS, row_count - 1}
    texts = claim_text(*(b"%d \xff" % i if i in bad else b"%d" % i for i in range(row_count)))
    pq.write_table(pa.table({"URL": [U] * row_count, "TEXT": texts}), path, row_group_size=10_000)

    load = bring(connection, path)

    assert (load.image_count, load.repaired_count) == (row_count, len(bad))
    assert set(connection.execute("SELECT row_index, caption FROM images").fetchall()) == {
        (i, f"{i} \ufffd" if i in bad else str(i)) for i in range(row_count)
    }


@pytest.mark.exhaustive
def test_one_large_row_group_is_read(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    row_count = 150_000
    texts = [f"Fox {i}" for i in range(row_count)]
    pq.write_table(pa.table({"URL": [U] * row_count, "TEXT": texts}), path, row_group_size=10**8)
    assert pq.read_metadata(path).num_row_groups == 1

    assert bring(connection, path).image_count == row_count
    query = "SELECT count(*) FROM images WHERE caption = 'Fox ' || row_index"
    assert connection.execute(query).fetchall() == [(row_count,)]


def test_a_repair_leaves_the_database_to_others(path: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"URL": [U], "TEXT": claim_text(b"\xff")}), path)
    database = Database(tmp_path / "laion.duckdb")

    with database.write() as connection:
        assert bring(connection, path).repaired_count == 1
        assert connection.execute("SELECT caption FROM images").fetchall() == [("\ufffd",)]
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchall() == [(1,)]


@pytest.mark.parametrize("claims_text", [True, False], ids=["string", "binary"])
@pytest.mark.parametrize("content", INVALID.values(), ids=list(INVALID))
def test_a_text_is_repaired_as_python_does_it(content: bytes, *, claims_text: bool) -> None:
    make: Callable[..., pa.Array] = claim_text if claims_text else lambda *v: pa.array(v)

    repaired, is_repaired = repair_texts(make(b"ok", None, content))

    assert repaired.to_pylist() == ["ok", None, content.decode(errors="replace")]
    assert is_repaired == [False, False, True]
