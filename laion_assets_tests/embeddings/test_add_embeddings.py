"""Vectors that a shard brings come to their rows, of unit length, whatever their form."""

import multiprocessing
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.embeddings.broken_vectors import find_broken
from laion_assets.embeddings.npy_file import open_npy
from laion_assets.errors import LaionError, ShardError, StaleTableError
from laion_assets.operations.traces import remove_traces
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.source import Source, SourceRules
from laion_assets.schemas import vector_schema
from laion_assets.settings import Settings
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import ColumnOrder, NotedColumns, add_columns, read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pipeline import copy, load
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import FileServer, Serve, send

pytestmark = pytest.mark.slow

BITS = 16
Made = tuple[NotedColumns, Counter[str]]
Vectors = dict[int, int | None]


def encode(rows: int | list[int], dtype: str = "f4", dimension: int = BITS) -> NDArray[Any]:
    """Returns a vector for each row that says which row it is, by the signs of its numbers."""
    numbers = np.arange(rows) if isinstance(rows, int) else np.array(rows)
    bits = (numbers[:, None] >> np.arange(BITS)) & 1
    signs = np.zeros((len(numbers), dimension))
    signs[:, :BITS] = 2.0 * bits - 1
    # Of another length each.
    return (signs * (1 + numbers[:, None] % 5)).astype(dtype)


def read(settings: Settings, shard: str = "a") -> Vectors:
    """Returns for each row the row that its vector is of; checks that it has unit length."""
    dataset = LanceStore(settings.lance_dir).open("images")
    table = dataset.to_table(["row_index", "img_emb"], filter=f"shard = '{shard}'")
    found: Vectors = {}
    for row in table.to_pylist():
        vector = row["img_emb"]
        if vector is not None:
            assert abs(float(np.linalg.norm(np.array(vector, "f8"))) - 1) < 0.001
            vector = int(sum(1 << bit for bit in range(BITS) if vector[bit] > 0))
        found[row["row_index"]] = vector
    return found


def add(settings: Settings, shard: str = "a") -> Made | None:
    return add_embeddings(
        Database(settings.database),
        LanceStore(settings.lance_dir),
        RawStore(settings.raw_dir),
        shard,
        "run",
    )


def bring(settings: Settings, source: Path) -> Made:
    load(settings, source.stem, source)
    copy(settings, source.stem)
    made = add(settings, source.stem)
    assert made is not None
    return made


def notes(settings: Settings) -> dict[str, NotedColumns]:
    with Database(settings.database).read() as connection:
        return {n.shard: n for n in read_notes(connection) if n.column_set == "embeddings"}


def texts(rows: int, rejected: int | None = None) -> dict[str, list[str | None]]:
    """Returns columns of which every seventh row is rejected from one row on."""
    is_bad = [rejected is not None and row % 7 == rejected for row in range(rows)]
    return {
        "url": [f"https://a.test/{row}.jpg" for row in range(rows)],
        "caption": [None if bad else f"row {row}" for row, bad in enumerate(is_bad)],
    }


KINDS: dict[str, pa.DataType] = {
    "list of float16": pa.list_(pa.float16()),
    "list of float32": pa.list_(pa.float32()),
    "list of float64": pa.list_(pa.float64()),
    "large list": pa.large_list(pa.float32()),
    "fixed-size list of float16": pa.list_(pa.float16(), BITS),
    "fixed-size list of float64": pa.list_(pa.float64(), BITS),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_form_of_a_column_is_read(
    settings: Settings, write_shard: WriteShard, kind: pa.DataType
) -> None:
    vectors: list[Any] = encode(7).tolist()
    vectors[1] = None
    vectors[2] = [0.0] * BITS
    vectors[3] = [float("nan"), *vectors[3][1:]]
    vectors[4] = [float("-inf"), *vectors[4][1:]]
    vectors[5] = [None, *vectors[5][1:]]
    note, left_out = bring(settings, write_shard("a", **texts(7), IMG_EMB=pa.array(vectors, kind)))
    assert read(settings) == {0: 0, **dict.fromkeys(range(1, 6)), 6: 6}
    assert dict(left_out) == {"not_given": 1, "zero": 1, "not_finite": 3}
    assert note.value_count == 2
    assert find_broken(Database(settings.database), LanceStore(settings.lance_dir)) == (2, [])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("dtype", "order"), [("<f2", "C"), ("<f4", "C"), ("<f8", "C"), (">f4", "C"), ("<f4", "F")]
)
def test_each_vector_of_a_file_is_on_its_row_though_rows_are_rejected(
    settings: Settings, write_shard: WriteShard, dtype: str, order: Literal["C", "F"]
) -> None:
    count = 5000
    source = write_shard("a", **texts(count, rejected=3))
    np.save(source.with_suffix(".npy"), np.asarray(encode(count, dtype), order=order))
    note, left_out = bring(settings, source)
    assert read(settings) == {row: row for row in range(count) if row % 7 != 3}
    assert (note.value_count, left_out.total()) == (len(read(settings)), 0)


@pytest.mark.parametrize("held_bytes", [1, 1000, 1 << 20])
def test_a_file_in_fortran_order_is_read_in_pieces(tmp_path: Path, held_bytes: int) -> None:
    count = 500
    npy = tmp_path / "vectors.npy"
    np.save(npy, np.asfortranarray(encode(count)))
    with open_npy(npy, count) as file:
        parts = list(file.read(held_bytes))
    assert np.array_equal(np.concatenate(parts), encode(count))
    row_bytes = BITS * np.dtype("f4").itemsize
    assert max(part.nbytes for part in parts) <= max(held_bytes, row_bytes)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_is_cut_off_while_it_is_read_is_named(
    tmp_path: Path, order: Literal["C", "F"]
) -> None:
    npy = tmp_path / "vectors.npy"
    np.save(npy, np.asarray(encode(900), order=order))
    with open_npy(npy, 900) as file:
        parts = file.read(1000)
        next(parts)
        os.truncate(npy, npy.stat().st_size // 2)
        with pytest.raises(ShardError, match=r"vectors.npy: is cut off"):
            list(parts)


@pytest.mark.exhaustive
def test_each_vector_of_a_column_is_on_its_row_though_rows_are_rejected(
    settings: Settings, write_shard: WriteShard
) -> None:
    count = 3000
    vectors = [None if row % 11 == 5 else v for row, v in enumerate(encode(count))]
    columns = {**texts(count, rejected=3), "image_emb": pa.array(vectors, pa.list_(pa.float32()))}
    source = write_shard("a", **columns)
    pq.write_table(pa.table(columns), source, row_group_size=700)
    bring(settings, source)
    rows = [row for row in range(count) if row % 7 != 3]
    assert read(settings) == {row: None if row % 11 == 5 else row for row in rows}


@pytest.mark.exhaustive
def test_numbers_of_any_size_become_vectors_of_unit_length(
    settings: Settings, write_shard: WriteShard
) -> None:
    scales = np.array([1e-300, 1e-30, 1.0, 1e30, 1e300])[:, None]
    source = write_shard("a", **texts(5))
    np.save(source.with_suffix(".npy"), encode(5, "f8") * scales)
    bring(settings, source)
    assert read(settings) == {row: row for row in range(5)}


LAYOUTS = {
    "beside": ("a.parquet", "a.npy"),
    "clip-retrieval": ("metadata/metadata_7.parquet", "img_emb/img_emb_7.npy"),
    "PD12M": ("metadata/pd12m.00.parquet", "embeddings/pd12m.00.npy"),
}


def write_layout(folder: Path, layout: str, rows: int = 9) -> tuple[Path, Path]:
    parquet, npy = (folder / name for name in LAYOUTS[layout])
    for path in (parquet, npy):
        path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(texts(rows)), parquet)
    np.save(npy, encode(rows))
    return parquet, npy


@pytest.mark.exhaustive
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_file_of_vectors_is_found_in_every_layout(
    settings: Settings, tmp_path: Path, layout: str
) -> None:
    source, _ = write_layout(tmp_path / "source", layout)
    bring(settings, source)
    assert read(settings, source.stem) == {row: row for row in range(9)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_file_of_vectors_comes_from_a_web_server(
    settings: Settings, tmp_path: Path, server: FileServer, rules: SourceRules, layout: str
) -> None:
    parquet, npy = write_layout(tmp_path / "source", layout)
    for path in (parquet, npy):
        server.put(f"/{path.relative_to(tmp_path / 'source')}", Serve(path.read_bytes()))
    place = f"{server.origin}/{parquet.relative_to(tmp_path / 'source')}"
    store = RawStore(settings.raw_dir)
    raw = fetch_shard(Source(parquet.stem, place, place), store, rules)
    assert raw.has_vectors
    assert store.vectors_path(parquet.stem).read_bytes() == npy.read_bytes()
    # Unchanged, it is not fetched again.
    assert fetch_shard(Source(parquet.stem, place, place), store, rules) == raw


def test_a_server_is_asked_once_for_vectors_right_beside_a_shard(
    settings: Settings, tmp_path: Path, server: FileServer, rules: SourceRules
) -> None:
    parquet, npy = write_layout(tmp_path / "source", "beside")
    place = server.put("/a.parquet", Serve(parquet.read_bytes()))
    source, store = Source("a", place, place), RawStore(settings.raw_dir)

    def fetch() -> tuple[bool, int]:
        server.requests.clear()
        raw = fetch_shard(source, store, rules)
        return raw.has_vectors, [r.path for r in server.requests].count("/a.npy")

    # A server that is down is asked again, one that has none is not.
    server.put("/a.npy", send(503))
    with pytest.raises(ShardError, match=r"a\.npy"):
        fetch()
    server.put("/a.npy", send(404))
    assert fetch() == (False, 1)
    assert fetch() == (False, 0)

    # Another content of the shard may have some.
    pq.write_table(pa.table(texts(9)), parquet, compression="gzip")
    server.put("/a.parquet", Serve(parquet.read_bytes()))
    server.put("/a.npy", Serve(npy.read_bytes()))
    assert fetch() == (True, 1)
    assert store.vectors_path("a").read_bytes() == npy.read_bytes()
    np.save(npy, encode(9) * 2)
    server.put("/a.npy", Serve(npy.read_bytes()))
    assert fetch() == (True, 1)
    assert store.vectors_path("a").read_bytes() == npy.read_bytes()


def test_a_page_instead_of_a_file_of_vectors_is_none(
    settings: Settings, tmp_path: Path, server: FileServer, rules: SourceRules
) -> None:
    parquet, _ = write_layout(tmp_path / "source", "PD12M")
    server.put("/metadata/pd12m.00.parquet", Serve(parquet.read_bytes()))
    server.put("/embeddings/pd12m.00.npy", Serve(b"<html>Not found"))
    place = f"{server.origin}/metadata/pd12m.00.parquet"
    raw = fetch_shard(Source("pd12m.00", place, place), RawStore(settings.raw_dir), rules)
    assert not raw.has_vectors


def make_pickle() -> bytes:
    return pickle.dumps(encode(3))


WRONG: dict[str, tuple[NDArray[Any] | None, str]] = {
    "rows": (encode(4), "has 4 vectors, and the shard's file 3 rows"),
    "shape": (encode(3).reshape(-1), r"has the shape \(48,\); it has to be \(rows, dimension\)"),
    "no dimension": (np.zeros((3, 0), "f4"), r"has the shape \(3, 0\)"),
    "integers": (encode(3, "i4"), "has int32; write it as float16"),
    "complex": (encode(3, "c8"), "has complex64; write it as float16"),
    "objects": (encode(3).astype(object), "has object; write it as float16"),
}


@pytest.mark.parametrize(("values", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_does_not_fit_is_refused_and_named(
    settings: Settings, write_shard: WriteShard, values: NDArray[Any], reason: str
) -> None:
    source = write_shard("a", **texts(3))
    np.save(source.with_suffix(".npy"), values)
    with pytest.raises(ShardError, match=f"a.npy: {reason}") as refusal:
        bring(settings, source)
    assert "\n" not in str(refusal.value)
    assert "img_emb" not in LanceStore(settings.lance_dir).open("images").schema.names


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda content: content[:-5], "is cut off, 315 bytes instead of 320"),
        (lambda content: content[:40], "is no .npy file"),
        (lambda content: content + b"?", "is too long, 321 bytes instead of 320"),
        (lambda _: b"", "is no .npy file"),
        (lambda _: make_pickle(), "is no .npy file"),
        (lambda content: content[:6] + b"\x09" + content[7:], r"is .npy of version \(9, 0\)"),
    ],
    ids=["cut off", "cut in the header", "too long", "empty", "a pickle", "another version"],
)
def test_a_broken_file_is_refused_and_named(
    settings: Settings, write_shard: WriteShard, cut: Any, reason: str
) -> None:
    source = write_shard("a", **texts(3))
    path = source.with_suffix(".npy")
    np.save(path, encode(3))
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(ShardError, match=f"a.npy: ({reason})") as refusal:
        bring(settings, source)
    assert "\n" not in str(refusal.value)


def test_vectors_of_more_than_one_length_are_refused(
    settings: Settings, write_shard: WriteShard
) -> None:
    vectors = pa.array([None, [1.0, 2.0], [], [1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    with pytest.raises(ShardError, match="row 3 of img_emb has 3 numbers, and others have 2"):
        bring(settings, write_shard("a", **texts(4), img_emb=vectors))
    assert notes(settings) == {}


@pytest.mark.exhaustive
def test_a_shard_without_vectors_is_left_alone(settings: Settings, write_shard: WriteShard) -> None:
    columns = {
        **texts(2),
        "img_emb": ["path.npy", "path.npy"],
        "image_embedding": pa.array([None, []], pa.list_(pa.float32())),
    }
    source = write_shard("a", **columns)
    load(settings, "a", source)
    copy(settings, "a")
    assert add(settings) is None
    assert not RawStore(settings.raw_dir).read("a").has_vectors
    assert "img_emb" not in LanceStore(settings.lance_dir).open("images").schema.names


@pytest.mark.exhaustive
def test_another_dimension_is_refused_until_the_others_are_removed(
    settings: Settings, write_shard: WriteShard
) -> None:
    first = write_shard("a", **texts(3))
    np.save(first.with_suffix(".npy"), encode(3))
    bring(settings, first)
    version = LanceStore(settings.lance_dir).open("images").version
    second = write_shard("b", **texts(4))
    np.save(second.with_suffix(".npy"), encode(4, dimension=24))
    load(settings, "b", second)
    copy(settings, "b")
    with pytest.raises(
        LaionError, match=r"'b': .*\[24\], and .* is .*\[16\]; remove all"
    ) as refusal:
        add(settings, "b")
    assert "\n" not in str(refusal.value)
    store = LanceStore(settings.lance_dir)
    assert store.open("images").version == version + 1  # that of the copy
    assert read(settings) == {0: 0, 1: 1, 2: 2}

    remove_traces(Database(settings.database), store, RawStore(settings.raw_dir), ["a"])
    made = add(settings, "b")
    assert made is not None
    assert read(settings, "b") == {0: 0, 1: 1, 2: 2, 3: 3}
    np.save(first.with_suffix(".npy"), encode(3, dimension=24))
    bring(settings, first)
    assert read(settings) == {0: 0, 1: 1, 2: 2}


def test_a_column_that_becomes_another_one_meanwhile_is_seen_at_the_commit(
    settings: Settings, write_shard: WriteShard
) -> None:
    load(settings, "a", write_shard("a", **texts(3)))
    copy(settings, "a")
    store, schema = LanceStore(settings.lance_dir), vector_schema(BITS)

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in keys:
            yield pa.record_batch([pa.nulls(len(batch), schema.field(0).type)], schema=schema)
        store.open("images").drop_columns(["img_emb"])
        store.open("images").add_columns(vector_schema(24))

    order = ColumnOrder("a", ColumnSet("embeddings", schema), ("row_index",), "test", "run")
    with pytest.raises(StaleTableError, match="`img_emb` of the table became another one"):
        add_columns(Database(settings.database), store, order, compute)
    assert notes(settings)["a"].lance_version is None
    assert store.open("images").to_table(["img_emb"])["img_emb"].null_count == 3


@pytest.mark.exhaustive
def test_twice_gives_the_same_and_other_shards_stay(
    settings: Settings, write_shard: WriteShard
) -> None:
    for shard in ("a", "b"):
        source = write_shard(shard, **texts(9))
        np.save(source.with_suffix(".npy"), encode(9))
        bring(settings, source)
    before = notes(settings)
    made = add(settings, "a")
    assert made is not None
    after = notes(settings)
    assert after["a"].digest == before["a"].digest == before["b"].digest
    assert after["b"] == before["b"]
    assert read(settings, "a") == read(settings, "b") == {row: row for row in range(9)}


def test_a_new_load_keeps_the_vectors_of_the_same_rows(
    settings: Settings, write_shard: WriteShard
) -> None:
    source = write_shard("a", **texts(5000))
    np.save(source.with_suffix(".npy"), encode(5000))
    bring(settings, source)
    source.with_suffix(".npy").unlink()
    RawStore(settings.raw_dir).remove("a")

    # The next file has no vectors, another order, rows less, one row more, and one twice.
    order = [4999, 3, 3, *range(10, 4000)]
    moved = {name: [values[n] for n in order] for name, values in texts(5000).items()}
    moved["url"].append("https://a.test/new.jpg")
    moved["caption"].append("new")
    load(settings, "a", write_shard("a", **moved))
    copy(settings, "a")
    assert read(settings) == {**dict(enumerate(order)), len(order): None}
    note = notes(settings)["a"]
    assert (note.value_count, note.made_from) == (len(order), "carried over")
    # The asset finds nothing in the file, and takes nothing away.
    assert add(settings) is None
    assert notes(settings)["a"] == note
    assert find_broken(Database(settings.database), LanceStore(settings.lance_dir)) == (100, [])

    # A file with vectors brings exactly these.
    np.save(source.with_suffix(".npy"), encode(list(range(len(order) + 1))))
    bring(settings, source)
    assert read(settings) == {row: row for row in range(len(order) + 1)}


@pytest.mark.exhaustive
def test_another_file_of_vectors_replaces_those_of_before(
    settings: Settings, write_shard: WriteShard
) -> None:
    source = write_shard("a", **texts(3))
    np.save(source.with_suffix(".npy"), encode(3))
    first, _ = bring(settings, source)
    values = encode([7, 8, 9])
    values[1] = 0
    # Not into the same file, which is a link to the one that is here.
    source.with_suffix(".npy").unlink()
    np.save(source.with_suffix(".npy"), values)
    second, left_out = bring(settings, source)
    assert read(settings) == {0: 7, 1: None, 2: 9}
    assert second.made_from != first.made_from
    assert left_out["zero"] == 1


def test_vectors_wait_for_the_rows(settings: Settings, write_shard: WriteShard) -> None:
    source = write_shard("a", **texts(2))
    np.save(source.with_suffix(".npy"), encode(2))
    load(settings, "a", source)
    with pytest.raises(StaleTableError, match="materialize `images` and `lance_images`"):
        add(settings)
    copy(settings, "a")
    fetch_shard(describe_file(write_shard("a", **texts(2, 1))), RawStore(settings.raw_dir))
    with pytest.raises(StaleTableError, match="materialize `images` and `lance_images`"):
        add(settings)


@pytest.mark.exhaustive
def test_wrong_vectors_are_found(settings: Settings, write_shard: WriteShard) -> None:
    source = write_shard("a", **texts(4))
    np.save(source.with_suffix(".npy"), encode(4))
    bring(settings, source)
    database, store = Database(settings.database), LanceStore(settings.lance_dir)
    with database.write() as connection:
        connection.execute("UPDATE shard_columns SET value_count = 5")
    _, broken = find_broken(database, store)
    assert [one.what for one in broken] == ["4 vectors instead of 5"]

    schema = vector_schema(BITS)
    values = pa.array([[0.5] * BITS] * 4, schema.field(0).type)

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in keys:
            yield pa.record_batch([values], schema=schema)

    order = ColumnOrder("a", ColumnSet("embeddings", schema), ("row_index",), "test", "run")
    add_columns(database, store, order, compute)
    _, broken = find_broken(database, store)
    assert [one.what for one in broken] == ["a vector of the length 2.0000"]


def _add_in_process(settings: Settings, shard: str) -> None:
    assert add(replace(settings, sheets={}), shard) is not None


@pytest.mark.exhaustive
def test_two_shards_at_once_get_each_its_own(settings: Settings, write_shard: WriteShard) -> None:
    counts = {"a": 1500, "b": 1000}
    for shard, count in counts.items():
        source = write_shard(shard, **texts(count))
        np.save(source.with_suffix(".npy"), encode(count))
        load(settings, shard, source)
        copy(settings, shard)
    context = multiprocessing.get_context("forkserver")
    # Sheets are of no use here, and cannot be sent.
    plain = replace(settings, sheets={})
    jobs = [context.Process(target=_add_in_process, args=(plain, shard)) for shard in counts]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    for shard, count in counts.items():
        assert read(settings, shard) == {row: row for row in range(count)}
        assert notes(settings)[shard].value_count == count


def test_vectors_that_do_not_fit_on_the_disk_are_refused(
    settings: Settings, write_shard: WriteShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_shard("a", **texts(3), img_emb=encode(3).tolist())
    load(settings, "a", source)
    copy(settings, "a")
    monkeypatch.setattr("laion_assets.embeddings.add_embeddings.FLOAT16_BYTES", 1 << 50)

    with raises("disk-too-small"):
        add(settings)

    assert "img_emb" not in LanceStore(settings.lance_dir).open("images").schema.names
    monkeypatch.undo()
    assert add(settings) is not None
