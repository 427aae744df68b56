"""What `curation.toml` may say, and what is refused, each by one line that names the place."""

from pathlib import Path

import pytest

from laion_assets.curation.curation_file import (
    ComputedColumn,
    Curation,
    JoinedColumn,
    digest_definition,
    read_curation,
    reads_pictures,
)
from laion_assets.curation.place import CurationError
from laion_assets_tests.raises import raises


def read(folder: Path, text: str) -> Curation:
    path = folder / "curation.toml"
    path.write_text(text, encoding="utf-8")
    return read_curation(path)


def compute(folder: Path, sql: str) -> ComputedColumn:
    (column,) = read(folder, f"[columns.mine]\nsql = '''{sql}'''").columns
    assert isinstance(column, ComputedColumn)
    return column


def test_columns_are_read_with_their_types(tmp_path: Path) -> None:
    text = """
    [columns.aspect_ratio]
    sql = "CAST(width AS DOUBLE) / height"
    [columns.score]
    file = "labels/scores.csv.gz"
    on = "md5"
    value = "score"
    type = "double"
    """
    ratio, score = read(tmp_path, text).columns
    assert isinstance(ratio, ComputedColumn)
    assert isinstance(score, JoinedColumn)
    assert (ratio.name, ratio.type, ratio.reads) == ("aspect_ratio", "DOUBLE", ("width", "height"))
    assert (score.path, score.kind) == (tmp_path / "labels/scores.csv.gz", "csv")
    assert (score.type, score.reads) == ("DOUBLE", ("md5",))
    assert not reads_pictures(ratio)
    assert reads_pictures(score)


def test_without_a_file_nothing_is_declared_unless_it_was_asked_for(tmp_path: Path) -> None:
    assert read_curation(tmp_path / "none.toml") == Curation()
    with raises("curation-missing"):
        read_curation(tmp_path / "none.toml", is_required=True)


def test_another_definition_has_another_digest(tmp_path: Path) -> None:
    digests = [digest_definition(compute(tmp_path, sql)) for sql in ("width", "height", "width")]
    assert digests[0] == digests[2] != digests[1]


ALLOWED = {
    "CAST(width AS DOUBLE) / height": "DOUBLE",
    "width BETWEEN 1 AND 2 OR caption ILIKE 'a%' AND NOT width IN (1, 2)": "BOOLEAN",
    "CASE WHEN width > 3 THEN 'wide' ELSE NULL END": "VARCHAR",
    "nsfw IS NOT NULL AND caption LIKE 'a!%' ESCAPE '!' -- comment": "BOOLEAN",
    "coalesce(width, height) + length(caption)": "BIGINT",
    "DATE '2020-01-01' + width": "DATE",
    "octet_length(image)::FLOAT": "FLOAT",
    "TRY_CAST(caption AS DECIMAL(3, 1))::DOUBLE": "DOUBLE",
}


@pytest.mark.parametrize("sql", ALLOWED)
def test_expressions_of_one_row_are_allowed(tmp_path: Path, sql: str) -> None:
    assert compute(tmp_path, sql).type == ALLOWED[sql]


REFUSED = {
    "random()": "expression-function",
    "now()": "expression-function",
    "sum(width)": "expression-function",
    "count(*)": "expression-function",
    "read_text('/etc/passwd')": "expression-function",
    "ago(INTERVAL 1 DAY)": "expression-function",
    "row_number() OVER ()": "expression-part",
    "(SELECT 1)": "expression-part",
    "width IN (SELECT 1)": "expression-part",
    "COLUMNS(*)": "expression-part",
    "*": "expression-part",
    "list_transform([1], x -> x)": "expression-part",
    "width, height": "expression-type",
    "width * 1.5": "expression-type",
    "image": "expression-type",
    "NULL": "expression-type",
    "caption + 1": "expression-unbound",
    "width::TIMESTAMPTZ": "expression-cast",
    "widht": "expression-column",
    "rows.width": "expression-column",
    "caption_words": "expression-column",
    "$1": "expression-many",
    "1) UNION SELECT (2": "expression-syntax",
    "width > 1) OR (true": "expression-syntax",
    "1) FROM rows WHERE (true": "expression-syntax",
    "1; DROP TABLE rows": "expression-syntax",
    "width AS other": "expression-syntax",
    "nope(": "expression-syntax",
    "  ": "curation-no-text",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_everything_else_is_refused_with_its_place(tmp_path: Path, sql: str) -> None:
    with pytest.raises(CurationError) as found:
        compute(tmp_path, sql)
    assert found.value.code == REFUSED[sql], found.value
    assert str(found.value).startswith(f"{tmp_path / 'curation.toml'}:2 [columns.mine.sql]: ")
    assert "\n" not in str(found.value)


def test_deep_expressions_end(tmp_path: Path) -> None:
    with raises("expression-part"):
        compute(tmp_path, "-(" * 300 + "width" + ")" * 300)


FILES = {
    "[columns.width]\nsql = '1'": "column-name-taken",
    "[columns.IMG_EMB]\nsql = '1'": "column-name-taken",
    "[columns.a]\nsql = '1'\n[columns.A]\nsql = '1'": "column-name-taken",
    "[columns._a]\nsql = '1'": "column-name-invalid",
    "[columns.'a b']\nsql = '1'": "column-name-invalid",
    "[columns.a]\nsq = '1'": "curation-key-unknown",
    "[columns.a]\nsql = '1'\nfile = 'x.csv'": "curation-key-unknown",
    "[column.a]\nsql = '1'": "curation-key-unknown",
    "[columns]\na = 1": "curation-no-table",
    "columns = 1": "curation-no-table",
    "[columns.a]\nsql = 1": "curation-no-text",
    "[columns.a]\nfile = 'x.csv'\nvalue = 'v'": "curation-key-missing",
    "[columns.a]\nfile = 'x.csv'\non = 'id'\nvalue = 'v'": "join-key-unknown",
    "[columns.a]\nfile = 'x.txt'\non = 'url'\nvalue = 'v'": "join-file-kind",
    "[columns.a]\nfile = 's3://b/x.csv'\non = 'url'\nvalue = 'v'": "join-file-kind",
    "[columns.a]\nfile = 'x.csv'\non = 'url'\nvalue = 'v'\ntype = 'JSON'": "join-type-unknown",
    "[columns.a\n": "curation-no-toml",
    "publish = 1": "curation-publish-no-table",
    "[publish]\nlicence = 'mit'": "curation-key-unknown",
    "[publish]\nlicense = ''": "curation-no-text",
    "[publish]\nlicense = 'CC BY 4.0'": "license-name-invalid",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CurationError) as found:
        read(tmp_path, text)
    assert found.value.code == FILES[text], found.value
    assert "\n" not in str(found.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "curation.toml").write_bytes(b"\xff\xfe")
    with raises("curation-no-toml"):
        read_curation(tmp_path / "curation.toml")


def test_what_a_publisher_says_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "").publish.missing == ("license", "contact")
    terms = read(tmp_path, "[publish]\nlicense = 'mit'\ncontact = ' me@a.test '").publish
    assert (terms.license, terms.contact, terms.missing) == ("mit", "me@a.test", ())
    other = read(tmp_path, "[publish]\nlicense = 'other'\ncontact = 'me@a.test'").publish
    assert other.missing == ("license_name", "license_link")
