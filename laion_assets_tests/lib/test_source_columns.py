import duckdb
import pyarrow as pa
import pytest

from laion_assets.lib.errors import ShardError
from laion_assets.lib.source_columns import (
    SOURCED,
    check_columns,
    find_column,
    is_text,
    list_read_columns,
    select_list,
)
from laion_assets.schemas import IMAGES

URL = ["https://a.example/1.jpg"]
TEXT = ["A fox"]


def check(name: str = "s", **columns: object) -> None:
    check_columns(pa.table(columns).schema, name)


def find(name: str, *file_columns: str) -> str | None:
    (column,) = (c for c in IMAGES if c.name == name)
    return find_column(file_columns, column)


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
        relation = connection.sql(f"SELECT {select_list(['URL', 'TEXT'])} FROM source")

        assert relation.columns == [c.name for c in SOURCED]
        assert [str(t) for t in relation.types] == [c.type for c in SOURCED]
        assert relation.fetchall() == [("u", "t", *[None] * (len(SOURCED) - 2))]


def test_what_is_no_number_is_null() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE source (width DOUBLE, height VARCHAR, punsafe VARCHAR)")
        connection.execute(
            "INSERT INTO source VALUES (1e300, '12', 'n/a'), ('nan', 'x', '0.5'), (7, '', NULL)"
        )
        columns = select_list(["width", "height", "punsafe"])
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
    "number": ({"URL": [1], "TEXT": TEXT}, "column URL is int64, and url has to be text"),
    "list": (
        {"URL": URL, "TEXT": [[1]]},
        "column TEXT is list<item: int64>, and caption has to be text",
    ),
    "struct": (
        {"URL": [{"a": "b"}], "TEXT": TEXT},
        "column URL is struct<a: string>, and url has to be text",
    ),
    "dictionary of numbers": (
        {"URL": URL, "TEXT": pa.array([1], pa.int32()).dictionary_encode()},
        "column TEXT is dictionary<values=int32, indices=int32, ordered=0>, "
        "and caption has to be text",
    ),
    "list of sizes": (
        {"URL": URL, "TEXT": TEXT, "WIDTH": [[1]]},
        "column WIDTH is list<item: int64>, and width has to be a single value; rename that column",
    ),
    "struct of labels": (
        {"URL": URL, "TEXT": TEXT, "NSFW": [{"a": 1}]},
        "column NSFW is struct<a: int64>, and nsfw has to be a single value; rename that column",
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
    with pytest.raises(ShardError, match=r"^s: has two columns URL; rename one$"):
        check_columns(pa.schema([text, text, pa.field("TEXT", pa.string())]), "s")


def test_a_column_that_hides_the_row_number_is_refused() -> None:
    with pytest.raises(ShardError, match="file_row_number"):
        check(URL=URL, TEXT=TEXT, file_row_number=[1])


def test_what_is_read_is_listed_by_the_names_of_the_file() -> None:
    schema = pa.schema(
        {
            "md5": pa.string(),
            "TEXT": pa.binary(),
            "caption": pa.string(),
            "NSFW": pa.int64(),
            "Url": pa.string(),
        }
    )

    names = list_read_columns(schema.names)

    assert names == ["Url", "TEXT", "NSFW"]
    assert [name for name in names if is_text(schema.field(name).type)] == ["Url", "TEXT"]
