import duckdb
import pyarrow as pa
import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.source_columns import (
    SOURCED,
    check_columns,
    find_column,
    is_text,
    list_read_columns,
    select_list,
)
from laion_assets.schemas import DUCKDB_IMAGES
from laion_assets_tests.raises import raises

URL = ["https://a.example/1.jpg"]
TEXT = ["A fox"]


def check(name: str = "s", **columns: object) -> None:
    check_columns(pa.table(columns).schema, name)


def find(name: str, *file_columns: str) -> str | None:
    (column,) = (c for c in DUCKDB_IMAGES if c.name == name)
    return find_column(pa.schema([pa.field(f, pa.string()) for f in file_columns]), column)


@pytest.mark.parametrize(
    ("name", "file_columns", "expected"),
    [
        ("url", ("URL",), "URL"),
        ("url", ("Url",), "Url"),
        ("caption", ("TEXT",), "TEXT"),
        ("caption", ("text",), "text"),
        ("caption", ("caption",), "caption"),
        ("caption", ("top_caption", "all_captions"), "top_caption"),
        ("caption", ("top_caption", "caption", "TEXT"), "TEXT"),
        ("aesthetic", ("AESTHETIC_SCORE",), "AESTHETIC_SCORE"),
        ("aesthetic", ("aesthetic",), "aesthetic"),
        ("nsfw", ("NSFW", "nsfw"), "NSFW"),
        ("hash", ("__index_level_0__", "md5"), None),
        ("image_id", ("image_id",), None),
        ("domain", ("domain",), None),
        ("url", ("url ", "urls"), None),
    ],
    ids=[
        "upper",
        "mixed case",
        "TEXT",
        "text",
        "caption",
        "laion-coco",
        "text goes before caption",
        "AESTHETIC_SCORE",
        "aesthetic",
        "the first of two cases",
        "none",
        "image_id is derived",
        "domain is derived",
        "no likeness",
    ],
)
def test_a_column_is_found_by_its_names(
    name: str, file_columns: tuple[str, ...], expected: str | None
) -> None:
    assert find(name, *file_columns) == expected


def test_what_the_file_lacks_is_null_of_the_right_type() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE source (URL VARCHAR, TEXT VARCHAR)")
        connection.execute("INSERT INTO source VALUES ('u', 't')")
        columns = select_list(pa.schema({"URL": pa.string(), "TEXT": pa.string()}))
        relation = connection.sql(f"SELECT {columns} FROM source")

        assert relation.columns == [c.name for c in SOURCED]
        assert [str(t) for t in relation.types] == [c.type for c in SOURCED]
        assert relation.fetchall() == [("u", "t", *[None] * (len(SOURCED) - 2))]


def test_what_is_no_number_is_null() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE source (width DOUBLE, height VARCHAR, punsafe VARCHAR)")
        connection.execute(
            "INSERT INTO source VALUES (1e300, '12', 'n/a'), ('nan', 'x', '0.5'), (7, '', NULL)"
        )
        columns = select_list(pa.schema([(n, pa.string()) for n in ("width", "height", "punsafe")]))
        found = connection.sql(f"SELECT width, height, punsafe FROM (SELECT {columns} FROM source)")

        assert found.fetchall() == [(None, 12, None), (None, None, 0.5), (7, None, None)]


@pytest.mark.parametrize(
    "text_type",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.binary()),
        pa.null(),
    ],
    ids=str,
)
def test_text_of_any_kind_is_accepted(text_type: pa.DataType) -> None:
    check_columns(pa.schema({"URL": text_type, "TEXT": text_type}), "s")


def test_a_missing_url_column_names_file_columns_and_remedy() -> None:
    with pytest.raises(ShardError) as refusal:
        check("s3://bucket/s.parquet", link=URL, TEXT=TEXT, WIDTH=[1])

    assert str(refusal.value) == (
        "s3://bucket/s.parquet: no url column among link, TEXT, WIDTH; "
        "accepted names are url in any case"
    )


def test_a_missing_caption_column_names_file_columns_and_remedy() -> None:
    with pytest.raises(ShardError) as refusal:
        check("s.parquet", URL=URL, title=TEXT)

    assert str(refusal.value) == (
        "s.parquet: no caption column among URL, title; "
        "accepted names are text, caption, top_caption in any case"
    )


WRONG_TYPES: dict[str, tuple[dict[str, object], str]] = {
    "number": ({"URL": [1], "TEXT": TEXT}, "column URL is int64, but url must be text"),
    "list": (
        {"URL": URL, "TEXT": [[1]]},
        "column TEXT is list<item: int64>, but caption must be text",
    ),
    "struct": (
        {"URL": [{"a": "b"}], "TEXT": TEXT},
        "column URL is struct<a: string>, but url must be text",
    ),
    "dictionary of numbers": (
        {"URL": URL, "TEXT": pa.array([1], pa.int32()).dictionary_encode()},
        "column TEXT is dictionary<values=int32, indices=int32, ordered=0>, "
        "but caption must be text",
    ),
    "list of sizes": (
        {"URL": URL, "TEXT": TEXT, "WIDTH": [[1]]},
        "column WIDTH is list<item: int64>, but width must be a single value; rename that column",
    ),
    "struct of labels": (
        {"URL": URL, "TEXT": TEXT, "NSFW": [{"a": 1}]},
        "column NSFW is struct<a: int64>, but nsfw must be a single value; rename that column",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_TYPES)
def test_a_column_of_a_wrong_type_is_refused(wrong: str) -> None:
    columns, message = WRONG_TYPES[wrong]

    with pytest.raises(ShardError) as refusal:
        check("s", **columns)

    assert str(refusal.value) == f"s: {message}"


def test_two_columns_of_one_name_are_refused() -> None:
    text = pa.field("URL", pa.string())
    with raises("column-twice"):
        check_columns(pa.schema([text, text, pa.field("TEXT", pa.string())]), "s")


def test_a_column_that_hides_the_row_number_is_refused() -> None:
    with raises("column-hides-row-number"):
        check(URL=URL, TEXT=TEXT, file_row_number=[1])


def test_what_is_read_is_listed_by_the_names_of_the_file() -> None:
    schema = pa.schema(
        {
            "digest": pa.string(),
            "TEXT": pa.binary(),
            "caption": pa.string(),
            "NSFW": pa.int64(),
            "Url": pa.string(),
        }
    )

    names = list_read_columns(schema)

    assert names == ["Url", "TEXT", "NSFW"]
    assert [name for name in names if is_text(schema.field(name).type)] == ["Url", "TEXT"]


CASE_DUPLICATES: dict[str, tuple[tuple[str, ...], str]] = {
    "url first": (("url", "URL", "TEXT"), "url and URL"),
    "URL first": (("URL", "url", "TEXT"), "URL and url"),
    "far apart": (("URL", "TEXT", "x", "Url"), "URL and Url"),
    "captions": (("URL", "text", "TEXT"), "text and TEXT"),
    "second name of a caption": (("URL", "Caption", "caption"), "Caption and caption"),
    "third name of a caption": (
        ("url", "TOP_CAPTION", "top_caption"),
        "TOP_CAPTION and top_caption",
    ),
    "three": (("URL", "Url", "url", "TEXT"), "URL and Url"),
    "an optional column": (("URL", "TEXT", "nsfw", "NSFW"), "nsfw and NSFW"),
    "a score": (("URL", "TEXT", "Similarity", "similarity"), "Similarity and similarity"),
    "another name of a score": (
        ("URL", "TEXT", "watermark_score", "Watermark_Score"),
        "watermark_score and Watermark_Score",
    ),
    "exact": (("URL", "TEXT", "TEXT"), "TEXT"),
}


@pytest.mark.parametrize("case", CASE_DUPLICATES)
def test_one_name_in_two_cases_is_refused(case: str) -> None:
    names, both = CASE_DUPLICATES[case]

    with pytest.raises(ShardError) as refusal:
        check_columns(pa.schema([pa.field(name, pa.string()) for name in names]), "s")

    assert str(refusal.value) == f"s: has two columns {both}; rename one"


@pytest.mark.parametrize(
    "names",
    [("x", "X"), ("x", "x"), ("caption", "CAPTION"), ("num_faces", "Num_Faces", "NUM_FACES")],
    ids=["case", "exact", "text is read instead", "three"],
)
def test_repeated_names_that_nobody_reads_are_no_reason_to_refuse(names: tuple[str, ...]) -> None:
    check_columns(pa.schema([pa.field(n, pa.string()) for n in ("URL", "TEXT", *names)]), "s")


@pytest.mark.parametrize("name", ["File_Row_Number", "FILE_ROW_NUMBER"])
def test_no_case_hides_the_row_number(name: str) -> None:
    with pytest.raises(ShardError, match=f"column {name} has the name of"):
        check_columns(pa.table({"URL": URL, "TEXT": TEXT, name: [1]}).schema, "s")


@pytest.mark.parametrize(
    ("type_", "is_read"),
    [
        (pa.int64(), True),
        (pa.int32(), True),
        (pa.uint64(), True),
        (pa.dictionary(pa.int8(), pa.int64()), True),
        (pa.string(), False),
        (pa.large_string(), False),
        (pa.binary(16), False),
        (pa.float64(), False),
        (pa.dictionary(pa.int8(), pa.string()), False),
        (pa.list_(pa.int64()), False),
        (pa.bool_(), False),
    ],
    ids=str,
)
def test_a_hash_is_read_from_integers_only(type_: pa.DataType, is_read: bool) -> None:
    schema = pa.schema({"URL": pa.string(), "TEXT": pa.string(), "hash": type_})
    columns = {column.name: column for column in DUCKDB_IMAGES}

    check_columns(schema, "s")

    assert find_column(schema, columns["hash"]) == ("hash" if is_read else None)
    assert find_column(schema, columns["md5"]) == ("hash" if is_text(type_) else None)


# The contract's table of source schemas, for the columns that there are.
ACCEPTED = {
    "url": ("url",),
    "caption": ("text", "caption", "top_caption"),
    "width": ("width", "original_width"),
    "height": ("height", "original_height"),
    "aesthetic": ("aesthetic_score", "aesthetic", "aesthetic_score_laion_v2"),
    "similarity": (
        "similarity",
        "clip_similarity_vitl14",
        "clip_similarity_vitb32",
        "clip_l14_similarity_score",
        "clip_b32_similarity_score",
    ),
    "punsafe": ("punsafe",),
    "pwatermark": ("pwatermark", "watermark_score"),
    "nsfw": ("nsfw",),
    "license": ("license",),
    "language": ("language",),
}


@pytest.mark.parametrize("ours", ACCEPTED)
def test_every_documented_name_is_taken_and_the_first_wins(ours: str) -> None:
    names = ACCEPTED[ours]

    assert [find(ours, name.upper()) for name in names] == [name.upper() for name in names]
    assert find(ours, *reversed(names)) == names[0]
