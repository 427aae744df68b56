import duckdb
import pyarrow as pa
import pytest

from laion_assets import schemas
from laion_assets.schemas import TABLES, Column, arrow_schema
from laion_assets.stores.database import Database
from laion_assets.stores.sql import quote_literal

# The table of the README, spelled out: who reads the tables relies on it.
IMAGES = [
    ("image_id", "BIGINT", True),
    ("url", "VARCHAR", True),
    ("caption", "VARCHAR", True),
    ("domain", "VARCHAR", True),
    ("width", "INTEGER", False),
    ("height", "INTEGER", False),
    ("similarity", "FLOAT", False),
    ("punsafe", "FLOAT", False),
    ("pwatermark", "FLOAT", False),
    ("aesthetic", "FLOAT", False),
    ("nsfw", "VARCHAR", False),
    ("license", "VARCHAR", False),
    ("language", "VARCHAR", False),
    ("hash", "BIGINT", False),
    ("registered_domain", "VARCHAR", False),
    ("split", "VARCHAR", True),
    ("key", "VARCHAR", False),
    ("shard", "VARCHAR", True),
    ("row_index", "BIGINT", True),
    ("md5", "VARCHAR", False),
    ("original_width", "INTEGER", False),
    ("original_height", "INTEGER", False),
]
REJECTED_IMAGES = ["shard", "row_index", "url", "caption", "reason"]
SOURCES = {
    "url": {"url"},
    "caption": {"text", "caption", "top_caption"},
    "width": {"width", "original_width"},
    "height": {"height", "original_height"},
    "aesthetic": {"aesthetic_score", "aesthetic", "aesthetic_score_laion_v2"},
    "punsafe": {"punsafe"},
    "pwatermark": {"pwatermark", "watermark_score"},
    "similarity": {
        "similarity",
        "clip_similarity_vitl14",
        "clip_similarity_vitb32",
        "clip_l14_similarity_score",
        "clip_b32_similarity_score",
    },
    "hash": {"hash"},
    "nsfw": {"nsfw"},
    "license": {"license"},
    "language": {"language"},
    "key": {"key", "uid", "id"},
    "md5": {"md5", "hash"},
    "original_width": {"original_width"},
    "original_height": {"original_height"},
}


def describe(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str, bool]]:
    rows = connection.execute(f"PRAGMA table_info({quote_literal(table)})").fetchall()
    return [(name, type_, not_null) for _, name, type_, not_null, *_ in rows]


def test_images_has_the_columns_of_the_contract() -> None:
    assert [(c.name, c.type, c.is_required) for c in schemas.DUCKDB_IMAGES] == IMAGES


def test_rejected_images_has_the_columns_of_the_contract() -> None:
    assert [c.name for c in schemas.REJECTED_IMAGES] == REJECTED_IMAGES


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (schemas.DOMAIN_COUNTS, [("domain", "VARCHAR"), ("image_count", "BIGINT")]),
        (
            schemas.SITE_COUNTS,
            [("registered_domain", "VARCHAR"), ("image_count", "BIGINT"), ("host_count", "BIGINT")],
        ),
        (
            schemas.ENTITY_COUNTS,
            [("kind", "VARCHAR"), ("name", "VARCHAR"), ("image_count", "BIGINT")],
        ),
    ],
    ids=["domain_counts", "site_counts", "entity_counts"],
)
def test_the_counts_have_the_columns_of_the_contract(
    columns: tuple[Column, ...], expected: list[tuple[str, str]]
) -> None:
    assert [(c.name, c.type) for c in columns] == expected


def test_the_source_names_are_those_of_the_contract() -> None:
    assert {c.name: set(c.sources) for c in schemas.DUCKDB_IMAGES if c.sources} == SOURCES


@pytest.mark.parametrize("table", TABLES)
def test_a_new_database_has_the_table_as_the_schema_says(database: Database, table: str) -> None:
    types = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    with database.write() as connection:
        found = describe(connection, table)

    assert found == [(c.name, types.get(c.type, c.type), c.is_required) for c in TABLES[table]]


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_described_and_none_stands_twice(table: str) -> None:
    columns = TABLES[table]

    assert all(c.description.endswith(".") for c in columns)
    assert len({c.name.lower() for c in columns}) == len(columns)


def test_the_arrow_schema_is_that_of_the_contract() -> None:
    types = {
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "FLOAT": pa.float32(),
        "VARCHAR": pa.string(),
    }

    assert arrow_schema(schemas.DUCKDB_IMAGES) == pa.schema(
        [pa.field(name, types[type_], nullable=not required) for name, type_, required in IMAGES]
    )


def test_duckdb_gives_the_types_of_the_arrow_schema(database: Database) -> None:
    with database.write() as connection:
        table = connection.sql("SELECT * FROM images").to_arrow_table()

    assert table.schema.names == arrow_schema(schemas.DUCKDB_IMAGES).names
    assert table.schema.types == arrow_schema(schemas.DUCKDB_IMAGES).types
