"""The tables of DuckDB in a bucket: one state for every reader, whoever writes, dies or waits."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import duckdb
import lance
import pyarrow as pa
import pytest

from laion_assets.images.load import DEPENDENT_TABLES
from laion_assets.images.soundness import find_wrong_columns
from laion_assets.operations.traces import remove_traces
from laion_assets.schemas import SCHEMA_VERSION, TABLES
from laion_assets.settings import Settings
from laion_assets.stores.bucket_database import BucketDatabase
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_parts import join_parts
from laion_assets.stores.warehouse_head import Head, commit_head, read_head
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pipeline import count, ingest, publish
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow

Row = tuple[object, ...]
# What is another one each time.
OWN = {"load_id", "loaded_at", "lance_version", "refreshed_at", "snapshot", "changed_at", "source"}


@pytest.fixture
def database(tmp_path: Path, bucket: str) -> BucketDatabase:
    return make_database(tmp_path / "here", bucket)


def make_database(folder: Path, bucket: str) -> BucketDatabase:
    return BucketDatabase(folder / "laion.duckdb", bucket=f"{bucket}/warehouse")


def store_of(database: BucketDatabase) -> LanceStore:
    return LanceStore(database.path.with_name("warehouse"), bucket=database.bucket)


def replace_rows(database: Database, shard: str, *captions: str) -> None:
    """Loads a shard with these captions, as far as these tests look at it."""
    with database.write(*DEPENDENT_TABLES, shards=[shard]) as connection:
        put_rows(connection, shard, *captions)


def put_rows(connection: duckdb.DuckDBPyConnection, shard: str, *captions: str) -> None:
    for table in ("images", "shards"):
        connection.execute(f"DELETE FROM {table} WHERE shard = ?", [shard])
    connection.execute(
        "INSERT INTO images BY NAME SELECT 1 AS image_id, 'u' AS url, unnest($captions) AS caption,"
        " 'd' AS domain, 'train' AS split, $shard AS shard, 0 AS row_index",
        {"captions": captions, "shard": shard},
    )
    connection.execute(
        "INSERT INTO shards BY NAME SELECT $shard AS shard, $load AS load_id, 's' AS source,"
        " '0' AS sha256, 1 AS file_bytes, $count AS file_rows, $count AS image_count,"
        " 0 AS rejected_count, '1' AS cleaning_version, 'r' AS run_id, now() AS loaded_at,"
        " false AS is_sample",
        {"shard": shard, "load": captions[0], "count": len(captions)},
    )


def read_captions(database: Database) -> dict[str, list[str]]:
    """Returns the captions of each shard, as far as they are those of its load."""
    with database.read() as connection:
        rows = connection.execute(
            "SELECT shard, list(caption ORDER BY caption), min(load_id), min(image_count)"
            " FROM images FULL JOIN shards USING (shard) GROUP BY shard"
        ).fetchall()
    for _, captions, load_id, image_count in rows:
        assert (captions[0], len(captions)) == (load_id, image_count)
    return {shard: captions for shard, captions, *_ in rows}


def read_tables(settings: Settings) -> dict[str, list[Row]]:
    """Returns the rows of all tables, without what is another one each time."""
    found = {}
    with Database.of(settings).read() as connection:
        for table in (*TABLES, *settings.sheets):
            columns = [column.name for column in TABLES.get(table, ()) if column.name not in OWN]
            query = f"SELECT {', '.join(columns) or '*'} FROM {table} ORDER BY ALL"
            found[table] = connection.execute(query).fetchall()
    return found


def test_each_commit_is_one_state_of_all_tables(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1", "2")
    with database.read() as before:
        replace_rows(database, "a", "3")
        replace_rows(database, "b", "4")
        query = "SELECT caption, (SELECT count(*) FROM shards) FROM images ORDER BY caption"
        assert before.execute(query).fetchall() == [("1", 1), ("2", 1)]

    assert read_captions(database) == {"a": ["3"], "b": ["4"]}


def test_a_block_that_fails_changes_nothing(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1")
    written = read_head(store_of(database))
    with pytest.raises(ZeroDivisionError), database.write(shards=["a"]) as connection:  # noqa: PT012
        put_rows(connection, "a", "2")
        raise ZeroDivisionError
    with database.write() as connection:
        put_rows(connection, "a", "1")

    assert read_captions(database) == {"a": ["1"]}
    # And of what is the same as before nothing is written but when it was loaded.
    now = read_head(store_of(database))
    assert written is not None
    assert now is not None
    assert now.parts == written.parts
    assert {t for t, v in now.versions.items() if v != written.versions[t]} == {"shards"}


@pytest.mark.exhaustive
def test_a_table_that_was_not_named_cannot_be_changed(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1")
    for block in (database.write("shards", shards=["a"]), database.read()):
        with block as connection, pytest.raises(duckdb.Error, match="base table"):
            connection.execute("DELETE FROM images")

    assert read_captions(database) == {"a": ["1"]}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "step",
    [
        *("shards.lance/_versions/", "head.lance/_versions/"),
        *(
            pytest.param(step, marks=pytest.mark.exhaustive)
            for step in ("images.lance/data/", "images.lance/_versions/", "head.lance/data/")
        ),
    ],
)
def test_a_writer_that_is_killed_between_two_commits_has_changed_nothing(
    database: BucketDatabase, buckets: Buckets, bucket: str, tmp_path: Path, step: str
) -> None:
    replace_rows(database, "a", "1", "2")
    replace_rows(database, "b", "3")
    with buckets.stop(step) as gate:
        child = start(replace_elsewhere, tmp_path / "there", bucket, "a", "4")
        assert gate.reached.wait(60)
        kill(child)

    assert read_captions(database) == {"a": ["1", "2"], "b": ["3"]}
    replace_rows(database, "a", "5")
    assert read_captions(database) == {"a": ["5"], "b": ["3"]}
    database.rewrite()
    assert read_captions(database) == {"a": ["5"], "b": ["3"]}
    assert store_of(database).open("images").count_rows() == 2


def start(work: Callable[..., None], *values: object) -> BaseProcess:
    child = multiprocessing.get_context("forkserver").Process(
        target=work, args=(dict(os.environ), *values)
    )
    child.start()
    return child


def kill(child: BaseProcess) -> None:
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()


def replace_elsewhere(
    environment: dict[str, str], folder: Path, bucket: str, shard: str, caption: str
) -> None:
    os.environ.update(environment)
    replace_rows(make_database(folder, bucket), shard, caption)


@pytest.mark.exhaustive
@pytest.mark.parametrize("machine_count", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_machines_that_write_at_once_lose_and_double_nothing(
    bucket: str, catalog: str, tmp_path: Path, machine_count: int
) -> None:
    """All write one shard, and each one of its own; what they share is the bucket and Postgres."""
    machines = [make_database(tmp_path / str(number), bucket) for number in range(machine_count)]

    def work(number: int) -> None:
        for each in range(2):
            replace_rows(machines[number], "all", f"{number} {each} a", f"{number} {each} b")
            replace_rows(machines[number], f"own {number}", f"{each}")

    assert catalog
    with ThreadPoolExecutor(len(machines)) as pool:
        list(pool.map(work, range(len(machines))))

    captions = read_captions(machines[0])
    assert len(captions.pop("all")) == 2
    assert captions == {f"own {number}": ["1"] for number in range(len(machines))}


@pytest.mark.exhaustive
def test_a_writer_waits_for_another_of_the_same_shard_alone(
    database: BucketDatabase, bucket: str, tmp_path: Path
) -> None:
    other = make_database(tmp_path / "here", bucket)
    with ThreadPoolExecutor(1) as pool:
        with database.write(*DEPENDENT_TABLES, shards=["a"]) as connection:
            put_rows(connection, "a", "first")
            replace_rows(other, "b", "meanwhile")
            waiting = pool.submit(replace_rows, other, "a", "second")
            assert not waiting.done()
        waiting.result(60)

    assert read_captions(database) == {"a": ["second"], "b": ["meanwhile"]}


@pytest.mark.exhaustive
def test_a_lost_lock_commits_nothing(
    database: BucketDatabase, catalog: str, postgres: Postgres
) -> None:
    replace_rows(database, "a", "1")
    with raises("lock-lost"), database.write(*DEPENDENT_TABLES, shards=["a"]) as connection:
        put_rows(connection, "a", "2")
        assert postgres.end_sessions(catalog)

    assert read_captions(database) == {"a": ["1"]}


@pytest.mark.exhaustive
def test_of_two_commits_on_one_state_the_second_is_refused(
    database: BucketDatabase, bucket: str, tmp_path: Path
) -> None:
    """As where a lock was lost right after it was asked."""
    empty = LanceStore(tmp_path / "empty", bucket=f"{bucket}/empty")
    commit_head(empty, Head(0))
    with raises("warehouse-overtaken"):
        commit_head(empty, Head(0))
    store = store_of(database)
    replace_rows(database, "a", "1")
    head = read_head(store)
    assert head is not None
    replace_rows(database, "a", "2")

    with raises("warehouse-overtaken"):
        commit_head(store, head)
    assert read_captions(database) == {"a": ["2"]}


@pytest.mark.exhaustive
def test_rows_that_a_process_without_its_lock_took_out_come_back(database: BucketDatabase) -> None:
    for shard in ("a", "b"):
        replace_rows(database, shard, shard)
    store = store_of(database)
    dataset = store.open("images")
    everything = [fragment.fragment_id for fragment in dataset.get_fragments()]
    removal = lance.LanceOperation.Update(everything, [], [])
    store.commit("images", lance.Transaction(dataset.version, removal))

    replace_rows(database, "a", "again")
    assert read_captions(database) == {"a": ["again"], "b": ["b"]}
    database.rewrite()
    assert read_captions(database) == {"a": ["again"], "b": ["b"]}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("version", "code"), [(999, "schema-too-new"), (SCHEMA_VERSION - 1, "bucket-schema-old")]
)
def test_another_schema_is_refused(database: BucketDatabase, version: int, code: str) -> None:
    replace_rows(database, "a", "1")
    store = store_of(database)
    head = read_head(store)
    assert head is not None
    other = store.overwrite("schema_version", pa.table({"version": [version]})).version
    commit_head(store, replace(head, versions={**head.versions, "schema_version": other}))

    for block in (database.read(), database.write()):
        with raises(code), block:
            pass


@pytest.mark.exhaustive
def test_columns_are_as_documented_and_others_are_named(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1")
    assert [text for table in TABLES for text in find_wrong_columns(database, table)] == []

    store = store_of(database)
    head = read_head(store)
    assert head is not None
    rows = store.open("shards").to_table().drop_columns("is_sample")
    rows = rows.set_column(4, "file_bytes", rows["file_bytes"].cast("float"))
    version = store.overwrite("shards", rows).version
    commit_head(store, replace(head, versions={**head.versions, "shards": version}))

    assert find_wrong_columns(database, "shards") == [
        "file_bytes is float, and should be BIGINT NOT NULL",
        "is_sample is missing, and should be BOOLEAN NOT NULL",
    ]


@pytest.mark.exhaustive
def test_what_was_replaced_leaves_the_bucket_when_it_is_old(
    database: BucketDatabase, buckets: Buckets, bucket: str
) -> None:
    def count_files() -> int:
        return sum("images.lance/data/" in name for name in buckets.list_names(bucket))

    for caption in ("1", "2", "3"):
        replace_rows(database, "a", caption)
    replace_rows(database, "b", "4")
    database.clean(7)
    assert count_files() == 4

    database.clean(0)
    assert count_files() == 2
    assert read_captions(database) == {"a": ["3"], "b": ["4"]}


def test_a_query_reads_the_fragments_of_the_shards_that_it_can_meet(tmp_path: Path) -> None:
    """The files of the other shards are not there."""
    store = LanceStore(tmp_path / "lance")
    schema = pa.schema({"shard": pa.string(), "number": pa.int64()})
    store.ensure("images", schema)
    files: dict[str, Path] = {}
    for shard in ("a", "b", "it's", "ü"):
        rows = pa.table({"shard": [shard] * 2, "number": [1, 2]}, schema)
        (part,) = store.write_fragments("images", rows.to_reader(), 10)
        append = lance.LanceOperation.Append([part])
        store.commit("images", lance.Transaction(store.open("images").version, append))
        files[shard] = tmp_path / "lance" / "images.lance" / "data" / part.files[0].path
    dataset = store.open("images")
    numbers = [fragment.fragment_id for fragment in dataset.get_fragments()]
    parts = join_parts(dataset, {shard: [n] for shard, n in zip(files, numbers, strict=True)})
    files["b"].unlink()
    with duckdb.connect() as connection:
        connection.register("images", parts)

        def ask(condition: str) -> Row:
            query = f"SELECT count(*), sum(number) FROM images WHERE {condition}"
            (row,) = connection.execute(query).fetchall()
            return row

        assert ask("shard = 'a'") == (2, 3)
        assert ask("shard = 'it''s' AND number > 1") == (1, 2)
        assert ask("shard IN ('a', 'ü')") == (4, 6)
        assert ask("shard <> 'b'") == (6, 9)
        assert ask("NOT (shard = 'b' OR number = 1)") == (3, 6)
        assert ask("shard = 'nowhere'") == (0, None)
        for condition in ("shard = 'b'", "number = 1", "true"):
            with pytest.raises(duckdb.Error):
                ask(condition)


@pytest.fixture
def machines(tmp_path: Path, bucket: str, catalog: str) -> list[Settings]:
    """Three with a folder of their own, and the same lists of names."""
    assert catalog
    names = tmp_path / "names"
    names.mkdir()
    first = make_settings(names, artists=["Fox", "Boat"])
    return [
        replace(first, data_dir=tmp_path / name / "data", bucket=bucket) for name in ("a", "b", "c")
    ]


@pytest.mark.exhaustive
def test_two_machines_load_and_a_third_counts_and_releases_what_one_would(
    tmp_path: Path, machines: list[Settings]
) -> None:
    one, two, three = machines
    alone = replace(one, data_dir=tmp_path / "alone" / "data", bucket=None)
    for settings, shard in ((one, "one"), (two, "two"), (alone, "one"), (alone, "two")):
        ingest(settings, shard, f"a fox in {shard}", "a boat", "nobody")
    count(three)
    count(alone)

    assert publish(three).manifest.content_sha256 == publish(alone).manifest.content_sha256
    ours = read_tables(three)
    assert ours == read_tables(alone)
    assert ours == read_tables(one)
    assert ours["domain_counts"] == [("one.test", 3), ("two.test", 3)]
    assert ("artists", "Fox", 2) in ours["entity_counts"]

    for shard in ("one", "two"):
        for settings in (two, alone):
            remove_traces(
                Database.of(settings),
                LanceStore.of(settings),
                RawStore(settings.raw_dir),
                [shard],
            )
        ours = read_tables(three)
        assert ours == read_tables(alone)
        assert {row[0] for row in ours["shards"]} == {"two"} - {shard}
    assert ours["images"] == ours["entity_counts"] == ours["refreshes"] == []
