"""Columns that a shard gets later are whole or not there, whoever else writes, and cost no rows."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from laion_assets.errors import LaionError, StaleTableError
from laion_assets.settings import Settings
from laion_assets.stores.column_digest import ColumnDigest
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import (
    ColumnOrder,
    Compute,
    NotedColumns,
    add_columns,
    read_notes,
)
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import copy, ingest, load
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

MARKS = ColumnSet("marks", pa.schema([("mark", pa.large_binary()), ("number", pa.int64())]))
ROWS = 2500


def mark(word: str, missing: Sequence[int] = (), batch_rows: int = 700) -> Compute:
    """Makes values that name their row: each row's `row_index` behind a word."""

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = [row for batch in keys for row in batch["row_index"].to_pylist()]
        for start in range(0, len(rows), batch_rows):
            part = rows[start : start + batch_rows]
            marks = [None if row in missing else f"{word}{row}".encode() for row in part]
            columns = [pa.array(marks, pa.large_binary()), pa.array(part, pa.int64())]
            yield pa.RecordBatch.from_arrays(columns, schema=MARKS.schema)

    return compute


def add(
    settings: Settings, shard: str, compute: Compute, columns: ColumnSet = MARKS
) -> NotedColumns:
    order = ColumnOrder(shard, columns, ("row_index",), "word", "run")
    return add_columns(Database(settings.database), LanceStore(settings.lance_dir), order, compute)


def read(settings: Settings, shard: str) -> list[tuple[int, bytes | None]]:
    """Returns the marks of a shard, by row."""
    dataset = LanceStore(settings.lance_dir).open("images")
    rows = dataset.to_table(["row_index", "mark"], filter=f"shard = '{shard}'").to_pylist()
    return sorted((row["row_index"], row["mark"]) for row in rows)


def notes(settings: Settings) -> list[NotedColumns]:
    with Database(settings.database).read() as connection:
        return read_notes(connection)


def expected(word: str, rows: int) -> list[tuple[int, bytes]]:
    return [(row, f"{word}{row}".encode()) for row in range(rows)]


def list_staged(settings: Settings) -> list[Path]:
    return [path for path in settings.lance_dir.glob(".unfinished/**/*") if path.is_file()]


def list_data(settings: Settings) -> set[str]:
    return {path.name for path in (settings.lance_dir / "images.lance" / "data").iterdir()}


def ingest_rows(settings: Settings, shard: str, rows: int, word: str = "caption") -> None:
    ingest(settings, shard, *[f"{word} {row}" for row in range(rows)])


@pytest.mark.exhaustive
def test_columns_come_in_one_commit_that_says_what_it_holds(settings: Settings) -> None:
    ingest_rows(settings, "a", ROWS)
    ingest_rows(settings, "b", 3)
    store = LanceStore(settings.lance_dir)
    indices = {i.name: i.num_rows_indexed for i in store.open("images").describe_indices()}

    note = add(settings, "a", mark("x", missing=[7]))

    assert read(settings, "a") == [
        (row, None if row == 7 else value) for row, value in expected("x", ROWS)
    ]
    assert read(settings, "b") == [(row, None) for row in range(3)]
    assert note.lance_version == store.open("images").version
    assert (note.value_count, note.data_bytes > ROWS) == (ROWS - 1, True)
    transaction = store.open("images").read_transaction(note.lance_version or 0)
    assert transaction is not None
    properties = transaction.transaction_properties or {}
    assert properties["shard"] == "a"
    assert properties["columns"] == '["mark", "number"]'
    assert properties["digest"] == note.digest
    assert properties["row_count"] == str(ROWS)
    assert [replace(n, made_at=None) for n in notes(settings)] == [note]
    # What was indexed is so still.
    after = {i.name: i.num_rows_indexed for i in store.open("images").describe_indices()}
    assert after == indices


@pytest.mark.exhaustive
def test_the_same_again_is_the_same(settings: Settings) -> None:
    ingest_rows(settings, "a", 30)
    first = add(settings, "a", mark("x"))
    second = add(settings, "a", mark("x", batch_rows=4))
    third = add(settings, "a", mark("y"))
    assert first.digest == second.digest != third.digest
    assert read(settings, "a") == expected("y", 30)
    assert len(notes(settings)) == 1
    assert list_staged(settings) == []


@pytest.mark.exhaustive
def test_sets_of_columns_stand_side_by_side(settings: Settings) -> None:
    ingest_rows(settings, "a", 5)
    vectors = ColumnSet("vectors", pa.schema([("vector", pa.list_(pa.float16(), 2))]))

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in keys:
            values = [np.array([row, 1], np.float16) for row in batch["row_index"].to_pylist()]
            yield pa.record_batch([pa.array(values, pa.list_(pa.float16(), 2))], vectors.schema)

    add(settings, "a", mark("x"))
    add(settings, "a", compute, vectors)
    add(settings, "a", mark("y"))
    table = LanceStore(settings.lance_dir).open("images").to_table(["vector", "mark"])
    assert table["vector"].to_pylist() == [[row, 1] for row in range(5)]
    assert table["mark"].to_pylist() == [value for _, value in expected("y", 5)]
    assert [note.column_set for note in notes(settings)] == ["marks", "vectors"]


@pytest.mark.parametrize(
    "deleted",
    [
        (0, 1, 2, 13, 14, 29),
        *(pytest.param(rows, marks=pytest.mark.exhaustive) for rows in ((0,), (29,), range(5, 30))),
    ],
    ids=str,
)
def test_deleted_rows_leave_the_others_in_their_places(
    settings: Settings, deleted: Sequence[int]
) -> None:
    ingest_rows(settings, "a", 30)
    dataset = LanceStore(settings.lance_dir).open("images")
    dataset.delete(f"row_index IN ({', '.join(map(str, deleted))})")
    note = add(settings, "a", mark("x", batch_rows=4))
    assert read(settings, "a") == [row for row in expected("x", 30) if row[0] not in deleted]
    assert note.value_count == 30 - len(deleted)


@pytest.mark.exhaustive
def test_several_fragments_of_a_shard_come_in_one_commit(settings: Settings) -> None:
    ingest_rows(settings, "a", 10)
    store = LanceStore(settings.lance_dir)
    dataset = store.open("images")
    rows = dataset.to_table().combine_chunks()
    fragments = store.write_fragments("images", rows.to_reader(), 4)
    import lance

    update = lance.LanceOperation.Update(
        removed_fragment_ids=[f.fragment_id for f in dataset.get_fragments()],
        updated_fragments=[],
        new_fragments=fragments,
    )
    before = store.commit("images", lance.Transaction(dataset.version, update))
    assert len(before.get_fragments()) == 3

    note = add(settings, "a", mark("x", batch_rows=3))

    assert read(settings, "a") == expected("x", 10)
    schema_change = 1
    assert note.lance_version == before.version + schema_change + 1


@pytest.mark.exhaustive
def test_an_empty_shard_has_no_files_and_a_note(settings: Settings) -> None:
    ingest_rows(settings, "a", 0)
    note = add(settings, "a", mark("x"))
    assert (note.value_count, note.data_bytes) == (0, 0)
    assert len(notes(settings)) == 1


def test_too_few_or_too_many_values_commit_nothing(settings: Settings) -> None:
    ingest_rows(settings, "a", 6)
    add(settings, "a", mark("x"))
    version = LanceStore(settings.lance_dir).open("images").version

    def drop_one(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return (batch.slice(1) for batch in mark("y")(keys))

    def add_one(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in mark("y")(keys):
            yield batch
            yield batch.slice(0, 1)

    for compute, reason in ((drop_one, "5 values for 6 rows"), (add_one, "more values than rows")):
        with pytest.raises(LaionError, match=reason):
            add(settings, "a", compute)
    assert LanceStore(settings.lance_dir).open("images").version == version
    assert read(settings, "a") == expected("x", 6)
    assert list_staged(settings) == []


def test_a_column_of_that_name_and_another_type_is_named(settings: Settings) -> None:
    ingest_rows(settings, "a", 2)
    LanceStore(settings.lance_dir).open("images").add_columns({"mark": "width"})
    with pytest.raises(LaionError, match="column `mark` is int32, not large_binary; rename it"):
        add(settings, "a", mark("x"))


@pytest.mark.exhaustive
def test_rows_that_lie_in_another_order_are_refused_until_they_are_copied(
    settings: Settings,
) -> None:
    ingest_rows(settings, "a", 40)
    ingest_rows(settings, "b", 2)
    store = LanceStore(settings.lance_dir)
    store.open("images").optimize.compact_files(target_rows_per_fragment=100)
    with raises("shard-layout-unknown"):
        add(settings, "a", mark("x"))
    copy(settings, "a")
    add(settings, "a", mark("x"))
    assert read(settings, "a") == expected("x", 40)
    assert read(settings, "b") == [(0, None), (1, None)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_copied", [False, True])
def test_a_load_that_comes_meanwhile_goes_first(settings: Settings, is_copied: bool) -> None:
    ingest_rows(settings, "a", 6)
    source = settings.data_dir / "shards" / "a.parquet"

    def load_meanwhile(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from mark("old")(keys)
        load(settings, "a", source)
        if is_copied:
            copy(settings, "a")

    reason = "another load replaced it" if is_copied else "materialize `lance_images`"
    with pytest.raises(StaleTableError, match=reason) as raised:
        add(settings, "a", load_meanwhile)
    assert raised.value.is_passing is is_copied
    assert read(settings, "a") == [(row, None) for row in range(6)]
    assert notes(settings) == []
    assert list_staged(settings) == []
    copy(settings, "a")
    add(settings, "a", mark("new"))
    assert read(settings, "a") == expected("new", 6)


@pytest.mark.exhaustive
def test_a_fragment_that_somebody_else_took_out_is_refused(settings: Settings) -> None:
    ingest_rows(settings, "a", 6)
    store = LanceStore(settings.lance_dir)

    def compact_meanwhile(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from mark("old")(keys)
        store.open("images").delete("row_index = 3")
        store.open("images").optimize.compact_files(materialize_deletions_threshold=0.0)

    with raises("shard-replaced"):
        add(settings, "a", compact_meanwhile)
    # Until it is written again nobody can tell what is there.
    assert [note.lance_version for note in notes(settings)] == [None]
    add(settings, "a", mark("new"))
    assert read(settings, "a") == [row for row in expected("new", 6) if row[0] != 3]


def test_the_digest_does_not_know_batches() -> None:
    schema = pa.schema(
        [
            ("text", pa.string()),
            ("bytes", pa.large_binary()),
            ("flag", pa.bool_()),
            ("vector", pa.list_(pa.float16(), 2)),
            ("list", pa.list_(pa.string())),
        ]
    )
    rows = [
        {
            "text": "é" * row if row % 3 else None,
            "bytes": bytes([row]) * row if row % 4 else None,
            "flag": row % 2 == 0,
            "vector": np.array([row, 0], np.float16) if row % 5 else None,
            "list": ["a"] * (row % 3),
        }
        for row in range(40)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema)

    def digest(*batches: pa.RecordBatch) -> str:
        made = ColumnDigest(schema)
        for one in batches:
            made.add(one)
        return made.hexdigest()

    parts = [batch.slice(0, 7), batch.slice(7, 0), batch.slice(7, 1), batch.slice(8)]
    assert digest(batch) == digest(*parts)
    others = {digest(batch.slice(1)), digest(batch, batch.slice(0, 1)), digest()}
    moved = pa.RecordBatch.from_pylist([*rows[1:], rows[0]], schema)
    assert len({digest(batch), digest(moved), *others}) == 5


def add_in_a_process(folder: Path, shard: str, rounds: int, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    settings = Settings.default(folder)
    for number in range(rounds):
        add(settings, shard, mark(f"{shard}{number}-"))


def load_in_a_process(folder: Path, shard: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    settings = Settings.default(folder)
    for _ in range(2):
        load(settings, shard, settings.data_dir / "shards" / f"{shard}.parquet")
        copy(settings, shard)


@pytest.mark.exhaustive
def test_shards_at_once_beside_loads_lose_nothing(settings: Settings) -> None:
    context = multiprocessing.get_context("forkserver")
    for shard in "abc":
        ingest_rows(settings, shard, ROWS)
    start = context.Event()
    work = [(add_in_a_process, (settings.data_dir, shard, 3, start)) for shard in "ab"]
    work.append((load_in_a_process, (settings.data_dir, "c", start)))  # type: ignore[arg-type]
    processes = [context.Process(target=target, args=args) for target, args in work]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    for shard in "ab":
        assert read(settings, shard) == expected(f"{shard}2-", ROWS)
    assert read(settings, "c") == [(row, None) for row in range(ROWS)]


def add_forever(folder: Path, ready: Connection) -> None:
    settings = Settings.default(folder)
    add(settings, "a", mark("old"))
    ready.send("ready")
    while True:
        for word in ("new", "old"):
            add(settings, "a", mark(word))


@pytest.mark.exhaustive
def test_a_killed_writer_leaves_old_or_new_columns_and_no_files(settings: Settings) -> None:
    context = multiprocessing.get_context("forkserver")
    ingest_rows(settings, "a", ROWS)
    for moment in range(10):
        here, there = context.Pipe()
        process = context.Process(target=add_forever, args=(settings.data_dir, there))
        process.start()
        assert here.recv() == "ready"
        time.sleep(random.Random(moment).uniform(0, 0.3))  # noqa: S311
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = read(settings, "a")
        assert found in (expected("old", ROWS), expected("new", ROWS))
        (note,) = notes(settings)
        if note.lance_version is not None:
            kept = add(settings, "a", mark("new" if found == expected("new", ROWS) else "old"))
            assert kept.digest == note.digest
    LanceStore(settings.lance_dir).clear_staging()
    assert list_staged(settings) == []


def test_what_a_killed_writer_left_is_removed_but_not_what_is_being_written(
    settings: Settings,
) -> None:
    store = LanceStore(settings.lance_dir)
    for shard in ("a", "b"):
        (store.staging_folder(shard, "marks") / "0.lance").write_bytes(b"123")
    with store.lock_columns("b", "marks"):
        assert store.clear_staging() == 3
        assert len(list_staged(settings)) == 1
    (store.staging_folder("b", "marks") / "1.lance").write_bytes(b"4")
    assert [path.name for path in list_staged(settings)] == ["1.lance"]
