from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.lib.errors import ShardError
from laion_assets.lib.source_columns import SOURCED, check_columns, find_column, select_list
from laion_assets.schemas import IMAGES

URL = ["https://a.example/1.jpg"]
TEXT = ["A fox"]


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


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
    [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    ids=["string", "large_string", "dictionary"],
)
def test_text_of_any_kind_is_accepted(tmp_path: Path, text_type: pa.DataType) -> None:
    path = write(
        tmp_path / "s.parquet",
        URL=pa.array(URL * 3, pa.string()).cast(text_type),
        TEXT=pa.array(TEXT * 3, pa.string()).cast(text_type),
    )

    assert check_columns(path, "s") == 3


def test_a_file_without_rows_is_accepted(tmp_path: Path) -> None:
    empty = pa.array([], pa.string())

    assert check_columns(write(tmp_path / "s.parquet", url=empty, text=empty), "s") == 0


def test_a_missing_url_column_names_file_columns_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", link=URL, TEXT=TEXT, WIDTH=[1])

    with pytest.raises(ShardError) as refusal:
        check_columns(path, "s3://bucket/s.parquet")

    assert str(refusal.value) == (
        "s3://bucket/s.parquet: no url column among link, TEXT, WIDTH; "
        "accepted names are url in any case"
    )


def test_a_missing_caption_column_names_file_columns_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", URL=URL, title=TEXT)

    with pytest.raises(ShardError) as refusal:
        check_columns(path, "s.parquet")

    assert str(refusal.value) == (
        "s.parquet: no caption column among URL, title; "
        "accepted names are text, caption, top_caption in any case"
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"URL": [1], "TEXT": TEXT}, "s: column URL is int64, and url has to be text"),
        ({"URL": URL, "TEXT": [[1]]}, "s: column TEXT is list<.*>, and caption has to be text"),
        ({"URL": [b"u"], "TEXT": TEXT}, "s: column URL is binary, and url has to be text"),
        (
            {"URL": URL, "TEXT": pa.array([1], pa.int32()).dictionary_encode()},
            "s: column TEXT is .*, and caption has to be text",
        ),
    ],
    ids=["number", "list", "bytes", "dictionary of numbers"],
)
def test_a_column_that_is_no_text_is_refused(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "s.parquet", **columns)

    with pytest.raises(ShardError, match=message):
        check_columns(path, "s")


def test_what_is_no_parquet_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    path.write_text("<html>not found</html>", encoding="utf-8")

    with pytest.raises(ShardError, match=r"^s: no readable parquet file \(.*\); fetch it again$"):
        check_columns(path, "s")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    columns = [pa.array(URL), pa.array(URL), pa.array(TEXT)]
    pq.write_table(pa.Table.from_arrays(columns, names=["URL", "URL", "TEXT"]), path)
    with pytest.raises(ShardError, match=r"s\.parquet: has two columns URL; rename one"):
        check_columns(path, str(path))


def test_a_column_that_hides_the_row_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", URL=URL, TEXT=TEXT, file_row_number=[1])
    with pytest.raises(ShardError, match="file_row_number"):
        check_columns(path, str(path))
