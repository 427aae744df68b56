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
from laion_assets.schemas import TABLES
from laion_assets.settings import Settings
from laion_assets.stores.bucket_database import BucketDatabase
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_parts import join_parts
from laion_assets.stores.shard_sums import SUMMED, name_sums
from laion_assets.stores.sql import load_sql
from laion_assets.stores.warehouse_head import HEAD, Head, commit_head, read_head
from laion_assets.stores.warehouse_migration import migrate_warehouse
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pipeline import bring, count, ingest, publish
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.postgres import Postgres
from laion_assets_tests.stores.test_migration import NEW, NEXT

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


def write_version(store: LanceStore, version: int, **versions: int) -> None:
    """Lets all see tables at these versions, as of another version of the schema."""
    head = read_head(store)
    assert head is not None
    noted = store.overwrite("schema_version", pa.table({"version": [version]})).version
    versions = {**head.versions, **versions, "schema_version": noted}
    commit_head(store, replace(head, versions=versions))


@pytest.mark.exhaustive
def test_a_newer_schema_is_refused(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1")
    write_version(store_of(database), 999)

    for block in (database.read(), database.write()):
        with raises("schema-too-new"), block:
            pass


@pytest.mark.parametrize("way", [pytest.param("read", marks=pytest.mark.exhaustive), "write"])
def test_tables_of_before_get_the_schema_of_now(database: BucketDatabase, way: str) -> None:
    """As they were before the last columns of `images`, but for the columns of other tables."""
    for shard in ("a", "b"):
        replace_rows(database, shard, shard)
    store = store_of(database)
    newest = max(column.since for column in TABLES["images"])
    added = [column.name for column in TABLES["images"] if column.since == newest]
    store.open("images").drop_columns(added)
    write_version(store, newest - 1, images=store.open("images").version)
    # What a transaction or a migration left that was cut off.
    store.open("images").add_columns(pa.schema([pa.field(added[0], pa.string())]))

    with getattr(database, way)() as connection:
        names = ", ".join(added)
        rows = connection.execute(f"SELECT shard, caption, {names} FROM images ORDER BY shard")
        empty = (None,) * len(added)
        assert rows.fetchall() == [("a", "a", *empty), ("b", "b", *empty)]
    replace_rows(database, "a", "again")
    assert read_captions(database) == {"a": ["again"], "b": ["b"]}
    assert find_wrong_columns(database, "images") == []
    assert find_wrong_columns(database, "schema_version") == []


@pytest.mark.exhaustive
def test_a_column_is_added_in_a_bucket_by_its_entry_alone(database: BucketDatabase) -> None:
    replace_rows(database, "a", "1", "2")
    replace_rows(database, "b", "3")
    store = store_of(database)
    small = (
        replace(NEW[0], name="part_of_shard"),
        replace(NEW[3], name="twice_the_rows", derivation="2 * file_rows"),
    )
    tables = {
        **TABLES,
        "images": (*TABLES["images"], *NEW),
        "shards": (*TABLES["shards"], *small),
    }
    for _ in range(2):
        migrate_warehouse(store, tables, NEXT)

    head = read_head(store)
    assert head is not None
    images, shards, version = (
        store.open(table, head.versions[table]).to_table()
        for table in ("images", "shards", "schema_version")
    )
    assert version["version"].to_pylist() == [NEXT]
    rows = images.select(["caption", "part", "title", "depth", "doubled"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [
        (caption, "first", None, None, 0) for caption in ("1", "2", "3")
    ]
    for name in ("part", "doubled"):
        assert not images.schema.field(name).nullable
    assert shards.select(["part_of_shard", "twice_the_rows"]).to_pylist() == [
        {"part_of_shard": "first", "twice_the_rows": number} for number in (4, 2)
    ]
    # The parts of the shards are those of before.
    assert {shard: len(numbers) for shard, numbers in head.parts["images"].items()} == {
        "a": 1,
        "b": 1,
    }


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


def put_others(database: Database, shard: str, removed_count: int, *sources: str | None) -> None:
    """Gives a shard rejected rows, and pictures from these sources, of a kilobyte each."""
    with database.write("rejected_images", "pictures", shards=[shard]) as connection:
        for table in ("rejected_images", "pictures"):
            connection.execute(f"DELETE FROM {table} WHERE shard = ?", [shard])
        connection.execute(
            "INSERT INTO rejected_images BY NAME SELECT $shard AS shard, unnest(range($count + 1))"
            " AS row_index, if(row_index < $count, 'removed', 'missing_url') AS reason",
            {"shard": shard, "count": removed_count},
        )
        connection.execute(
            "INSERT INTO pictures BY NAME SELECT $shard AS shard, row_index, 1 AS image_id, source,"
            " 'success' AS status, 1000 AS byte_count, '2026-11-2' || row_index AS fetched_at"
            " FROM (SELECT unnest($sources) AS source, unnest(range(len($sources))) AS row_index)",
            {"shard": shard, "sources": list(sources)},
        )


def check_sums(database: Database) -> dict[str, list[Row]]:
    """Returns the sums of each table, which are those of its rows."""
    found = {}
    with database.read() as connection:
        for table in SUMMED:
            noted = connection.sql(f"FROM {name_sums(connection, table)} ORDER BY ALL").fetchall()
            read = connection.sql(f"FROM ({load_sql(f'stores/sum_{table}')}) ORDER BY ALL")
            assert noted == read.fetchall()
            found[table] = noted
    return found


def test_what_is_noted_of_shards_is_what_their_rows_say(database: BucketDatabase) -> None:
    for shard in ("a", "b", "it's"):
        replace_rows(database, shard, "1", "2")
    put_others(database, "a", 2, "given", "fetched", "given", None)
    put_others(database, "b", 0, None)
    before = check_sums(database)
    assert before["images"] == [("a", 2, "2"), ("b", 2, "2"), ("it's", 2, "2")]
    assert before["rejected_images"] == [("a", 2)]
    assert before["pictures"] == [
        ("a", "fetched", 1, 1000, "2026-11-21", "2026-11-21"),
        ("a", "given", 2, 2000, "2026-11-20", "2026-11-22"),
    ]

    replace_rows(database, "a", "3")
    put_others(database, "b", 1, "given")
    with database.write(shards=["it's"]) as connection:
        connection.execute("DELETE FROM images WHERE shard = 'it''s'")
    after = check_sums(database)
    assert after["images"] == [("a", 1, "1"), ("b", 2, "2")]
    assert after["rejected_images"] == [("a", 2), ("b", 1)]

    # Of shards without a note the rows are read, as where a table is older than the notes.
    store = store_of(database)
    head = read_head(store)
    assert head is not None
    kept = {"images": {"a": head.notes["images"]["a"]}}
    commit_head(store, replace(head, notes=kept))
    assert check_sums(database) == after
    store.open(HEAD).drop_columns(["note"])
    assert check_sums(database) == after
    replace_rows(database, "b", "4")
    assert check_sums(database)["images"] == [("a", 1, "1"), ("b", 1, "1")]
    head = read_head(store)
    assert head is not None
    assert head.notes["images"].keys() == {"b"}


@pytest.mark.exhaustive
@pytest.mark.usefixtures("bucket")
def test_a_release_asks_no_more_often_where_there_are_more_shards(
    tmp_path: Path, buckets: Buckets
) -> None:
    def count_requests(shard_count: int) -> int:
        """Returns how often the second release of a project asks, after one shard more."""
        folder = tmp_path / str(shard_count)
        folder.mkdir()
        settings = replace(make_settings(folder), bucket=buckets.create())
        for number in range(shard_count + 1):
            columns = {"url": [f"https://{number}.test/{row}" for row in range(2)]}
            bring(settings, f"{number}", pa.table({**columns, "caption": ["a fox", None]}))
            if number >= shard_count - 1:
                count(settings)
                before = buckets.read_traffic()
                assert publish(settings).is_new
        return (buckets.read_traffic() - before).requests

    assert count_requests(10) <= count_requests(2) + 3


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
