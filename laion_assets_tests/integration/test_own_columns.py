"""Somebody changes a column of the Lance table by hand, and then a shard that changed is loaded."""

from collections.abc import Callable
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.releases.catalog import find_release
from laion_assets.releases.coverage import measure_coverage
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.conftest import Shell, count_rows, write_source

ROWS = 300


def add(dataset: lance.LanceDataset, field: pa.Field) -> None:
    schema = pa.schema([field])

    @lance.batch_udf(output_schema=schema)
    def write(batch: pa.RecordBatch) -> pa.RecordBatch:
        values: pa.Array = batch["row_index"].cast(pa.int32())
        if pa.types.is_fixed_size_list(field.type):
            flat = np.random.default_rng(0).random(len(batch) * field.type.list_size, np.float32)
            values = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=field.type)
        return pa.RecordBatch.from_arrays([values], schema=schema)

    dataset.add_columns(write, read_columns=["row_index"])


def add_required(dataset: lance.LanceDataset) -> None:
    add(dataset, pa.field("label", pa.int32(), nullable=False))


def add_vectors(dataset: lance.LanceDataset) -> None:
    add(dataset, pa.field("img_emb", pa.list_(pa.float32(), 16)))
    newest: Any = lance.dataset(dataset.uri)
    newest.create_index("img_emb", "IVF_PQ", num_partitions=2, num_sub_vectors=4)


def drop(dataset: lance.LanceDataset) -> None:
    dataset.drop_columns(["license"])


def compact(dataset: lance.LanceDataset) -> None:
    add(dataset, pa.field("ratio", pa.int32()))
    lance.dataset(dataset.uri).optimize.compact_files()


def rename(dataset: lance.LanceDataset) -> None:
    change: Any = {"path": "pwatermark", "name": "watermark"}
    dataset.alter_columns(change)


# What somebody does, and what `laion backfill` says then; the first ones stop it.
REFUSED: dict[str, tuple[Callable[[lance.LanceDataset], None], str]] = {
    "required": (add_required, "[columns.label]"),
    "dropped": (drop, "no column `license` any more"),
    "renamed": (rename, "rename it back"),
}
TAKEN: dict[str, tuple[Callable[[lance.LanceDataset], None], str]] = {
    "vectors": (add_vectors, "`img_emb` was added by hand, so it is NULL in 10 of 310 rows"),
    "compacted": (compact, "`ratio` was added by hand, so it is NULL in 10 of 310 rows"),
}


# `lance_images/test_own_columns.py` has all of them without programs.
@pytest.mark.exhaustive
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "case",
    [
        *("required", "vectors"),
        *(
            pytest.param(case, marks=pytest.mark.exhaustive)
            for case in ("dropped", "renamed", "compacted")
        ),
    ],
)
def test_a_column_that_was_changed_by_hand_breaks_and_loses_nothing_in_silence(
    shell: Shell, case: str
) -> None:
    change, said = (REFUSED | TAKEN)[case]
    for shard in ("one", "two"):
        write_source(shell, shard, rows=ROWS)
    before = shell.load_and_release()
    store = LanceStore(shell.settings.lance_dir)
    change(store.open("images"))
    names = store.open("images").schema.names
    version = store.open("images").version
    write_source(shell, "one", rows=ROWS + 10)

    result = shell.run("laion", "backfill", "one")
    # One line of it says what somebody has to know.
    assert sum(said in line for line in result.stderr.splitlines()) == 1, result.stderr
    assert store.open("images").schema.names == names
    if case in REFUSED:
        assert result.returncode == 1
        # Neither table has anything of the new rows, and what was released is as it was.
        assert count_rows(shell.settings) == ({"one": ROWS, "two": ROWS},) * 2
        assert store.open("images").version == version
        assert find_release(store).release == before
        return
    assert result.returncode == 0, result.stderr
    assert count_rows(shell.settings) == ({"one": ROWS + 10, "two": ROWS},) * 2
    newest = find_release(store)
    assert newest.release != before
    assert not any(each.unindexed_rows for each in measure_coverage(store, newest))
    own = names[-1]
    assert store.open("images").count_rows(f"{own} IS NULL") == 10
    # The value of an image is the one that it had.
    released, there = (store.open("images").checkout_version(v) for v in (version, newest.release))
    tables = [
        dataset.to_table(["image_id", own], filter=f"{own} IS NOT NULL").sort_by("image_id")
        for dataset in (released, there)
    ]
    assert tables[0] == tables[1]


@pytest.mark.exhaustive
def test_what_is_odd_in_a_joined_file_is_said_on_the_console(shell: Shell) -> None:
    write_source(shell, "one", rows=3)
    shell.data_dir.mkdir()
    labels = (
        "url,score\nhttps://one.test/0.jpg,7\nhttps://one.test/0.jpg,8\nhttps://one.test/1.jpg,x\n"
    )
    (shell.data_dir / "labels.csv").write_text(labels, encoding="utf-8")
    shell.settings.curation_file.write_text(
        '[columns.label]\nfile = "labels.csv"\non = "url"\nvalue = "score"\ntype = "INTEGER"\n',
        encoding="utf-8",
    )
    result = shell.run("laion", "backfill", "--all", "--no-refresh")
    assert result.returncode == 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("done")]
    for fact in (
        "`label`: 1 rows that the file does not have",
        "1 rows with a value of another type",
        "1 keys that the file repeats, of which the first line counts",
    ):
        assert fact in line
