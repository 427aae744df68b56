"""A column that somebody adds, drops or renames by hand: kept, said, or refused before a write."""

from typing import Any

import dagster as dg
import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.definitions import build_defs
from laion_assets.lance_images.copy import copy_shard
from laion_assets.releases.catalog import find_release
from laion_assets.releases.coverage import measure_coverage
from laion_assets.runs.backfill import Outcome, discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.declared_columns.test_add_declared import kept, make_rows, read
from laion_assets_tests.pipeline import bring, load, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


def open_images(settings: Settings) -> lance.LanceDataset:
    return LanceStore(settings.lance_dir).open("images")


def add_by_hand(settings: Settings, field: pa.Field) -> None:
    """Adds a column as Lance's documentation does; its values say which row they are of."""

    @lance.batch_udf(output_schema=pa.schema([field]))
    def write(batch: pa.RecordBatch) -> pa.RecordBatch:
        numbers = batch["row_index"].to_numpy()
        values: pa.Array = pa.array(numbers)
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(np.repeat(numbers, field.type.list_size), field.type.value_type)
            values = pa.FixedSizeListArray.from_arrays(flat, type=field.type)
        elif pa.types.is_struct(field.type):
            values = pa.StructArray.from_arrays([values], fields=list(field.type))
        elif not pa.types.is_integer(field.type):
            values = values.cast(pa.string()).cast(field.type)
        else:
            values = values.cast(field.type)
        return pa.RecordBatch.from_arrays([values], schema=pa.schema([field]))

    open_images(settings).add_columns(write, read_columns=["row_index"])


KINDS = {
    "number": pa.int32(),
    "text": pa.string(),
    "bytes": pa.large_binary(),
    "vector": pa.list_(pa.float32(), 4),
}
DECLARABLE = (KINDS["number"], KINDS["text"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_values_come_along_where_the_image_is_the_same(
    settings: Settings, kind: pa.DataType
) -> None:
    bring(settings, "a", make_rows(20))
    bring(settings, "b", make_rows(9))
    add_by_hand(settings, pa.field("mine", kind))
    before, other = read(settings, "mine"), read(settings, "mine", "b")

    # The first row is gone, and there are new ones at the end.
    rows = make_rows(30).slice(1)
    path = settings.data_dir / "new.parquet"
    pq.write_table(rows, path)
    load(settings, "a", path.rename(path.with_name("a.parquet")))
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    commit = copy_shard(*stores, "a", "run")
    expected = {row - 1: before.get(row) for row in kept(30) if row}
    assert read(settings, "mine") == expected
    assert read(settings, "mine", "b") == other
    lost = [value for value in expected.values() if value is None]
    assert [(x.column, x.row_count, x.total) for x in commit.losses] == [
        ("mine", len(lost), len(expected))
    ]
    assert ("[columns.mine]" in commit.losses[0].describe()) == (kind in DECLARABLE)
    # The same file again loses nothing more, and a table as it was made says nothing.
    bring(settings, "b", make_rows(9))
    assert read(settings, "mine", "b") == other


@pytest.mark.exhaustive
def test_what_cannot_come_along_is_said(settings: Settings) -> None:
    bring(settings, "a", make_rows(9))
    add_by_hand(settings, pa.field("mine", pa.struct([("number", pa.int64())])))
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    (loss,) = copy_shard(*stores, "a", "run").losses
    assert (loss.row_count, loss.total) == (8, 8)
    assert set(read(settings, "mine").values()) == {None}


# Names of ours: one of a set, and a whole set.
OUR_NAMES = {"phash": pa.int64(), "img_emb": pa.list_(pa.float32(), 4)}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "kind"), OUR_NAMES.items(), ids=OUR_NAMES)
def test_a_column_by_hand_with_a_name_of_ours_is_kept_and_said_too(
    settings: Settings, name: str, kind: pa.DataType
) -> None:
    bring(settings, "a", make_rows(20))
    add_by_hand(settings, pa.field(name, kind))
    before = read(settings, name)
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    known = 20
    for count in (30, 40):
        path = settings.data_dir / "a.parquet"
        pq.write_table(make_rows(count), path)
        load(settings, "a", path)
        (loss,) = copy_shard(*stores, "a", "run").losses
        assert read(settings, name) == {row: before.get(row) for row in kept(count)}
        assert loss.row_count == len(kept(count)) - len(kept(known))
        known = count
        # Nobody can declare a column of this name.
        assert "[columns." not in loss.describe()


INDICES: dict[str, tuple[pa.DataType, dict[str, Any]]] = {
    "BTREE": (pa.int32(), {}),
    "INVERTED": (pa.string(), {}),
    "IVF_PQ": (pa.list_(pa.float32(), 16), {"num_partitions": 2, "num_sub_vectors": 4}),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("index", INDICES)
def test_a_release_extends_the_index_of_somebody_elses_column(
    settings: Settings, index: str
) -> None:
    bring(settings, "a", make_rows(400))
    bring(settings, "b", make_rows(9))
    kind, options = INDICES[index]
    add_by_hand(settings, pa.field("mine", kind))
    dataset: Any = open_images(settings)
    create = dataset.create_scalar_index if index in ("BTREE", "INVERTED") else dataset.create_index
    create("mine", index, **options)
    # One load with values and one without.
    bring(settings, "a", make_rows(410).slice(1))
    bring(settings, "c", make_rows(5))
    refresh(settings)
    store = LanceStore(settings.lance_dir)
    coverage = measure_coverage(store, find_release(store))
    assert "mine_idx" in {each.index for each in coverage}
    assert {each.index: each.unindexed_rows for each in coverage if each.unindexed_rows} == {}


@pytest.mark.exhaustive
def test_a_compacted_table_keeps_them_too(settings: Settings) -> None:
    for shard in ("a", "b"):
        bring(settings, shard, make_rows(9))
    open_images(settings).add_columns({"mine": "width + 1"})
    open_images(settings).optimize.compact_files()
    before = read(settings, "mine")
    bring(settings, "a", make_rows(9))
    assert read(settings, "mine") == before
    assert read(settings, "mine", "b") == before


def alter(settings: Settings, **what: Any) -> None:
    change: Any = what
    open_images(settings).alter_columns(change)


def change(settings: Settings, case: str) -> None:
    if case == "own-column-required":
        add_by_hand(settings, pa.field("mine", pa.int32(), nullable=False))
    elif case == "own-column-dropped":
        open_images(settings).drop_columns(["license"])
    elif case == "renamed":
        alter(settings, path="pwatermark", name="watermark")
    else:
        alter(settings, path="width", data_type=pa.int64())


CASES = {
    "own-column-required": "own-column-required",
    "own-column-dropped": "own-column-dropped",
    "renamed": "own-column-dropped",
    "own-column-retyped": "own-column-retyped",
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_that_cannot_take_the_rows_is_refused(settings: Settings, case: str) -> None:
    bring(settings, "a", make_rows(9))
    change(settings, case)
    version = open_images(settings).version
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    with raises(CASES[case]):
        copy_shard(*stores, "a", "run")
    assert open_images(settings).version == version


@pytest.mark.slow
def test_a_run_stops_before_anything_is_written_and_goes_on_after_the_remedy(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    def write(count: int) -> None:
        rows = make_rows(count)
        write_shard("a", **{name: rows[name].combine_chunks() for name in rows.column_names})

    def run() -> Outcome:
        return run_job(build_defs(settings).resolve_job_def("ingest_shards"), instance, "a")

    write(9)
    discover_shards(settings, instance)
    first = run()
    assert first.reason is None
    assert first.metadata["lance_images"]["own_columns"] == "none"
    add_by_hand(settings, pa.field("mine", pa.int32(), nullable=False))
    write(20)
    reason = run().reason
    assert reason is not None
    assert "`mine`" in reason
    assert "[columns.mine]" in reason
    with Database(settings.database).read() as connection:
        assert connection.execute("SELECT image_count FROM shards").fetchall() == [(8,)]

    alter(settings, path="mine", nullable=True)
    outcome = run()
    assert outcome.reason is None
    assert "NULL in 9 of 17 rows" in str(outcome.metadata["lance_images"]["own_columns"])
    assert sum(value is None for value in read(settings, "mine").values()) == 9
