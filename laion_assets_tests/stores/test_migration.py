"""Data of older commits become data of this one; data of newer ones are refused."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

import duckdb
import lance
import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.lance_images.copy import compare_shards
from laion_assets.lance_images.indices import CAPTION_INDEX
from laion_assets.releases.catalog import find_release, list_releases
from laion_assets.schemas import IMAGES, LANCE_IMAGES, SCHEMA_VERSION, TABLES, Column
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import find_outdated, find_unnoted
from laion_assets.stores.migration import (
    SCHEMA_KEY,
    migrate_database,
    migrate_lance,
    read_database_version,
)
from laion_assets_tests.pipeline import copy, count, ingest, load, publish, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

IMAGE_COLUMNS = """(
    image_id BIGINT NOT NULL, url VARCHAR NOT NULL, caption VARCHAR NOT NULL,
    "domain" VARCHAR NOT NULL, width INTEGER, height INTEGER, "similarity" FLOAT, punsafe FLOAT,
    pwatermark FLOAT, aesthetic FLOAT, nsfw VARCHAR, license VARCHAR, "language" VARCHAR,
    hash BIGINT, shard VARCHAR NOT NULL, row_index BIGINT NOT NULL)"""
COMMON = f"""
CREATE TABLE images{IMAGE_COLUMNS};
CREATE TABLE rejected_images(
    shard VARCHAR NOT NULL, row_index BIGINT NOT NULL, url VARCHAR, caption VARCHAR,
    reason VARCHAR NOT NULL);
CREATE TABLE caption_matches(
    shard VARCHAR NOT NULL, phrase VARCHAR NOT NULL, image_count BIGINT NOT NULL);
CREATE TABLE domain_counts("domain" VARCHAR NOT NULL, image_count BIGINT NOT NULL);
CREATE TABLE entity_counts(
    kind VARCHAR NOT NULL, "name" VARCHAR NOT NULL, image_count BIGINT NOT NULL);
CREATE TABLE artists("name" VARCHAR, born VARCHAR, died VARCHAR, movement VARCHAR);
"""
# As commit 4887722 makes them, the first one.
FIRST = f"""{COMMON}
CREATE TABLE shards(
    shard VARCHAR NOT NULL, load_id VARCHAR NOT NULL, "source" VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL, file_bytes BIGINT NOT NULL, file_rows BIGINT NOT NULL,
    image_count BIGINT NOT NULL, rejected_count BIGINT NOT NULL, run_id VARCHAR NOT NULL,
    loaded_at TIMESTAMPTZ NOT NULL);
CREATE TABLE refreshes(
    table_name VARCHAR NOT NULL, "snapshot" VARCHAR NOT NULL, refreshed_at TIMESTAMPTZ NOT NULL);
"""
# As commit 1844fff does, the last one without a version of the schema; but for compression.
LAST = f"""{COMMON}
CREATE TABLE shards(
    shard VARCHAR NOT NULL, load_id VARCHAR NOT NULL, "source" VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL, file_bytes BIGINT NOT NULL, file_rows BIGINT NOT NULL,
    image_count BIGINT NOT NULL, rejected_count BIGINT NOT NULL, cleaning_version VARCHAR NOT NULL,
    lance_version BIGINT, run_id VARCHAR NOT NULL, loaded_at TIMESTAMPTZ NOT NULL);
CREATE TABLE shard_figures(
    shard VARCHAR NOT NULL, figure VARCHAR NOT NULL, row_count BIGINT NOT NULL);
CREATE TABLE sheets(
    kind VARCHAR NOT NULL, "location" VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, etag VARCHAR,
    name_header VARCHAR NOT NULL, name_count BIGINT NOT NULL, previous_count BIGINT,
    repeated VARCHAR[] NOT NULL, blank_count BIGINT NOT NULL, changed_at TIMESTAMPTZ NOT NULL);
CREATE TABLE refreshes(
    table_name VARCHAR NOT NULL, "snapshot" VARCHAR NOT NULL, names_sha256 VARCHAR,
    refreshed_at TIMESTAMPTZ NOT NULL);
"""
OLD_RELEASE = "2026-11-20"
# Columns by the version that added them. A version that people have is never changed again: a new
# column needs the next one, and a line here.
ADDED = {
    1: {
        *("refreshes.names_sha256", "shards.cleaning_version", "shards.lance_version"),
        *("shards.is_sample", "sheets.error_count", "sheets.reading_version"),
    },
    2: {"images.registered_domain"},
    4: {"images.split", "images.key"},
    5: {"shards.origin_sha256"},
    6: {"images.md5", "images.original_width", "images.original_height"},
}
# The same of tables that came without a column of another one.
ADDED_TABLES = {3: {"pictures", "shard_columns"}, 7: {"shard_domains"}}
NEXT = SCHEMA_VERSION + 1
NEW = (
    Column("part", "VARCHAR", "A part.", is_required=True, since=NEXT, default="'first'"),
    Column("title", "VARCHAR", "As in the source.", compression="zstd", since=NEXT),
    Column("depth", "INTEGER", "Pixels.", since=NEXT),
    Column("doubled", "BIGINT", "Twice.", is_required=True, since=NEXT, derivation="2 * row_index"),
)


def make_database(path: Path, schema: str, rows: Mapping[str, Iterable[str]] | None = None) -> None:
    """Writes a DuckDB file with a schema of before, and the rows of tables, as SQL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(schema)
        for table, values in (rows or {}).items():
            connection.execute(f"INSERT INTO {table} VALUES {', '.join(values)}")


def make_first(settings: Settings) -> None:
    """Makes what the first commit did of a shard with one row, with its release."""
    url, numbers = "https://a.test/1.jpg", "9, 9, .3, .1, .1, 5"
    image = f"(7, '{url}', 'an old fox', 'a.test', {numbers}, 'SAFE', 'x', 'en', 1, 'a', 0)"
    make_database(
        settings.database,
        FIRST,
        {
            "images": [image],
            "shards": ["('a', 'old load', '/gone/a.parquet', 'ab', 10, 1, 1, 0, 'run', now())"],
            "domain_counts": ["('a.test', 1)"],
            "refreshes": ["('domain_counts', md5('old load'), now())"],
            "artists": ["('Fox', '1900', '', '')"],
        },
    )
    path = settings.lance_dir / "images.lance"
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        rows = connection.sql("FROM images").to_arrow_table()
    required = {column.name for column in IMAGES if column.is_required}
    fields = [field.with_nullable(field.name not in required) for field in rows.schema]
    images = lance.write_dataset(rows.cast(pa.schema(fields)), path)
    images.create_scalar_index("caption", "INVERTED", "caption_idx", **CAPTION_INDEX)
    images.update_metadata(
        {
            "laion_assets.release": OLD_RELEASE,
            "laion_assets.content_sha256": "ab",
            "laion_assets.shard_count": "1",
        }
    )
    images.tags.create(OLD_RELEASE, images.version)


def make_last(settings: Settings) -> str:
    """Makes what the last commit without versions did, with a release; returns its tag."""
    ingest(settings, "a", "a fox", "")
    tag = refresh(settings)
    images = lance.dataset(settings.lance_dir / "images.lance")
    images.update_metadata({SCHEMA_KEY: None})
    newer = settings.database.rename(settings.data_dir / "newer.duckdb")
    make_database(settings.database, LAST)
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute(f"ATTACH '{newer}' AS newer (READ_ONLY)")
        for table in TABLES.keys() - {
            "schema_version",
            "site_counts",
            *chain(*ADDED_TABLES.values()),
        }:
            old = connection.sql(f"SELECT * FROM {table} LIMIT 0").columns
            columns = ", ".join(f'"{column}"' for column in old)
            connection.execute(f"INSERT INTO {table} BY NAME SELECT {columns} FROM newer.{table}")
        connection.execute("DELETE FROM refreshes WHERE table_name = 'site_counts'")
        for kind in settings.sheets:
            connection.execute(f"CREATE OR REPLACE TABLE {kind} AS FROM newer.{kind}")
    newer.unlink()
    return tag


def describe(path: Path) -> set[tuple[str, str, str, bool]]:
    """Returns table, column, type and whether it can be NULL, of all columns."""
    with duckdb.connect(str(path), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()"
        )
        return set(columns.fetchall())


@pytest.mark.exhaustive
@pytest.mark.parametrize("schema", [FIRST, LAST, ""], ids=["first", "last", "empty"])
@pytest.mark.parametrize("way", ["read", "write"])
def test_a_database_of_before_gets_the_schema_of_now(
    settings: Settings, schema: str, way: str
) -> None:
    new, old = settings.data_dir / "new.duckdb", settings.data_dir / "old.duckdb"
    with Database(new).write():
        pass
    make_database(old, schema)

    with getattr(Database(old), way)() as connection:
        assert read_database_version(connection) == SCHEMA_VERSION
    assert describe(old) - describe(new) <= {
        ("artists", name, "VARCHAR", True) for name in ("name", "born", "died", "movement")
    }
    assert describe(new) <= describe(old)


def test_shards_of_the_first_commit_are_loaded_again_and_released(settings: Settings) -> None:
    make_first(settings)
    database = Database(settings.database)
    assert list(list_releases(LanceStore(settings.lance_dir))) == []
    assert open_search(LanceStore(settings.lance_dir)).find("old fox").total == 1
    assert find_outdated(database) == find_unnoted(database) == {"a": "old load"}

    ingest(settings, "a", "a new fox")
    ingest(settings, "b", "a wolf")
    tag = refresh(settings)

    assert find_outdated(database) == find_unnoted(database) == {}
    assert find_release(LanceStore(settings.lance_dir), tag).row_counts["images"] == 2
    assert open_search(LanceStore(settings.lance_dir)).find("fox").total == 1
    images = lance.dataset(settings.lance_dir / "images.lance")
    assert images.metadata[SCHEMA_KEY] == str(SCHEMA_VERSION)
    # A release of the first commit has no record, so it is none now; its data stay.
    (hit,) = lance.dataset(images.uri, version=OLD_RELEASE).to_table().to_pylist()
    assert hit["caption"] == "an old fox"


@pytest.mark.exhaustive
def test_releases_of_the_last_commit_without_versions_stay(settings: Settings) -> None:
    tag = make_last(settings)
    database = Database(settings.database)

    assert find_outdated(database) == find_unnoted(database) == {}
    with database.read() as connection:
        dataset = lance.dataset(settings.lance_dir / "images.lance")
        assert [c.is_equal for c in compare_shards(connection, dataset)] == [True]
    with raises("site-counts-outdated"):
        publish(settings)
    count(settings)
    assert not publish(settings).is_new
    assert [manifest.release for manifest in list_releases(LanceStore(settings.lance_dir))] == [tag]
    ingest(settings, "a", "a wolf")
    assert refresh(settings) != tag
    assert open_search(LanceStore(settings.lance_dir), tag).find("fox").total == 1


@pytest.mark.exhaustive
def test_a_migration_is_done_whole_or_not_at_all(database: Database) -> None:
    make_database(database.path, FIRST)
    before = describe(database.path)
    with pytest.raises(RuntimeError), database.write():
        raise RuntimeError
    assert describe(database.path) == before

    broken = {**TABLES, "images": (*IMAGES, replace(NEW[1], type="NO_TYPE", since=1))}
    with duckdb.connect(str(database.path)) as connection:
        connection.execute("BEGIN")
        with pytest.raises(duckdb.Error):
            migrate_database(connection, database.path, broken)
        connection.execute("ROLLBACK")
    assert describe(database.path) == before


def test_a_table_that_a_current_database_lacks_is_created_with_the_next_write(
    database: Database,
) -> None:
    with database.write():
        pass
    whole = describe(database.path)
    with duckdb.connect(str(database.path)) as connection:
        connection.execute("DROP TABLE shard_figures")
    assert describe(database.path) != whole
    with database.write():
        pass
    assert describe(database.path) == whole


@pytest.mark.exhaustive
def test_a_newer_database_is_refused_and_left_alone(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
        connection.execute("DROP TABLE shard_figures")
    before = describe(settings.database)
    database = Database(settings.database)
    for way in (database.read, database.write):
        with raises("schema-too-new") as refusal:
            way().__enter__()
        assert str(refusal.value).startswith(str(settings.database))
        assert str(refusal.value).isprintable()
    assert describe(settings.database) == before


@pytest.mark.exhaustive
def test_a_newer_lance_table_is_refused(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    tag = refresh(settings)
    images = lance.dataset(settings.lance_dir / "images.lance")
    images.update_metadata({SCHEMA_KEY: "99"})
    refused: tuple[Callable[[], object], ...] = (
        lambda: open_search(LanceStore(settings.lance_dir)),
        lambda: find_release(LanceStore(settings.lance_dir), tag),
        lambda: publish(settings),
        lambda: copy(settings, "a"),
    )
    for step in refused:
        with pytest.raises(LaionError, match=r"images.lance: .*schema 99, .*; upgrade") as refusal:
            step()
        assert str(refusal.value).isprintable()
    assert lance.dataset(images.uri).version == images.version


def test_a_column_is_added_to_duckdb_by_its_entry_alone(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a wolf")
    tables = {**TABLES, "images": (*IMAGES, *NEW)}
    with duckdb.connect(str(settings.database)) as connection:
        for _ in range(2):
            migrate_database(connection, settings.database, tables, known=NEXT)
        assert read_database_version(connection) == NEXT
        added = connection.execute("SELECT caption, part, title, depth, doubled FROM images")
        assert sorted(added.fetchall()) == [
            ("a fox", "first", None, None, 0),
            ("a wolf", "first", None, None, 2),
        ]
        with pytest.raises(duckdb.ConstraintException):
            connection.execute("UPDATE images SET part = NULL")
        described = connection.execute("DESCRIBE images").fetchall()
        assert {row[0]: (row[1], row[2], row[4]) for row in described[-4:]} == {
            "part": ("VARCHAR", "NO", None),
            "title": ("VARCHAR", "YES", None),
            "depth": ("INTEGER", "YES", None),
            "doubled": ("BIGINT", "NO", None),
        }


@pytest.mark.exhaustive
def test_a_column_is_added_to_lance_by_its_entry_alone(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a wolf")
    tag = refresh(settings)
    path = settings.lance_dir / "images.lance"
    indices = {index.name for index in lance.dataset(path).describe_indices()}
    # As if it was cut off before the version was noted.
    lance.dataset(path).add_columns(pa.schema([pa.field("title", pa.string())]))
    for _ in range(2):
        migrate_lance(LanceStore(settings.lance_dir, known_schema=NEXT), (*IMAGES, *NEW))

    images = lance.dataset(path)
    assert images.metadata[SCHEMA_KEY] == str(NEXT)
    table = images.to_table(columns=["part", "title", "depth"])
    assert table.schema.types == [pa.string(), pa.string(), pa.int32()]
    assert table.to_pylist() == [{"part": None, "title": None, "depth": None}] * 2
    assert {index.name for index in images.describe_indices()} == indices
    released = lance.dataset(path, version=tag)
    assert released.schema.names == [column.name for column in LANCE_IMAGES]
    assert images.scanner(full_text_query="fox").count_rows() == 1


@pytest.mark.exhaustive
def test_shards_are_replaced_while_lance_is_migrated(settings: Settings) -> None:
    for shard in "ab":
        ingest(settings, shard, f"a fox in {shard}")
    path = settings.lance_dir / "images.lance"
    with ThreadPoolExecutor(2) as pool:
        copies = [pool.submit(copy, settings, shard) for shard in "ab" * 5]
        for version, column in enumerate(NEW, start=NEXT):
            columns = (*IMAGES, replace(column, since=version))
            migrate_lance(LanceStore(settings.lance_dir, known_schema=version), columns)
            migrate_lance(LanceStore(settings.lance_dir, known_schema=version), columns)
            # `copy` knows no newer version.
            lance.dataset(path).update_metadata({SCHEMA_KEY: str(SCHEMA_VERSION)})
        failures = [copied.exception() for copied in copies]

    assert {str(type(f)) for f in failures if f} <= {str(LaionError)}
    images = lance.dataset(path)
    assert set(images.schema.names) == {column.name for column in (*LANCE_IMAGES, *NEW)}
    assert sorted(images.to_table()["shard"].to_pylist()) == ["a", "b"]


@pytest.mark.exhaustive
def test_a_shard_is_copied_by_the_names_of_the_columns(settings: Settings) -> None:
    """Columns that were added stand last, in DuckDB and in Lance, each in its own order."""
    ingest(settings, "a", "a fox")
    path = settings.lance_dir / "images.lance"
    images = lance.dataset(path)
    for column, type_ in (("url", pa.string()), ("width", pa.int32())):
        images.drop_columns([column])
        images.add_columns(pa.schema([pa.field(column, type_)]))
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("ALTER TABLE images DROP language")
        connection.execute("ALTER TABLE images ADD language VARCHAR")
        connection.execute("UPDATE images SET language = 'en', license = 'x'")

    copy(settings, "a")

    (row,) = lance.dataset(path).to_table().to_pylist()
    assert row["url"] == "https://a.test/0.jpg"
    assert (row["caption"], row["width"]) == ("a fox", 0)
    assert (row["language"], row["license"]) == ("en", "x")


@pytest.mark.exhaustive
def test_rows_of_other_rules_are_loaded_again(settings: Settings) -> None:
    ingest(settings, "a", "a fox")
    database = Database(settings.database)
    assert find_outdated(database) == {}
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE shards SET cleaning_version = '0'")
    assert find_outdated(database).keys() == {"a"}
    load(settings, "a", settings.data_dir / "shards" / "a.parquet")
    assert find_outdated(database) == {}


def test_every_added_column_says_since_when_it_is_there(tmp_path: Path) -> None:
    make_database(tmp_path / "first.duckdb", FIRST)
    first = {(table, column) for table, column, *_ in describe(tmp_path / "first.duckdb")}
    tables = {table for table, _ in first}
    columns = {(table, c.name): c for table, known in TABLES.items() for c in known}
    added: dict[int, set[str]] = {}
    for (table, name), column in columns.items():
        if column.since:
            added.setdefault(column.since, set()).add(f"{table}.{name}")
        if table in tables:
            assert column.since or (table, name) in first, f"{table}.{name}: give it `since`"
    assert added == ADDED
    assert max(added.keys() | ADDED_TABLES.keys()) == SCHEMA_VERSION
    assert set().union(*ADDED_TABLES.values()) <= TABLES.keys()
    unfilled = [
        n
        for n, c in columns.items()
        if c.since and c.is_required and not (c.default or c.derivation)
    ]
    assert unfilled == []
