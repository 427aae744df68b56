"""Declared columns come to each row of a shard, and are made again when something changed."""

import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.curation.curation_file import Curation, read_curation
from laion_assets.declared_columns.add_declared import MadeColumn, add_declared
from laion_assets.declared_columns.origin import find_behind, look_at_files
from laion_assets.settings import Settings
from laion_assets.stores.columns import read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import bring
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

RATIO = '[columns.ratio]\nsql = "CAST(width AS DOUBLE) / height"\n'


def declare(settings: Settings, text: str) -> Curation:
    settings.data_dir.mkdir(exist_ok=True)
    settings.curation_file.write_text(text, encoding="utf-8")
    return read_curation(settings.curation_file)


def join(file: str, on: str = "url", value: str = "score", kind: str = "") -> str:
    more = f'type = "{kind}"\n' if kind else ""
    return f'[columns.mine]\nfile = "{file}"\non = "{on}"\nvalue = "{value}"\n{more}'


def add(settings: Settings, curation: Curation, shard: str = "a") -> dict[str, MadeColumn]:
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    return add_declared(*stores, curation, shard, "run", RawStore(settings.raw_dir))


def make_rows(count: int, **more: Any) -> pa.Table:
    columns = {
        "url": [f"https://a.test/{row}.jpg" for row in range(count)],
        "caption": [f"row {row}" if row % 7 != 3 else None for row in range(count)],
        "width": pa.array([row * 10 for row in range(count)], pa.int32()),
        "height": pa.array([row % 5 for row in range(count)], pa.int32()),
    }
    return pa.table({**columns, **more})


def read(settings: Settings, name: str, shard: str = "a") -> dict[int, Any]:
    dataset = LanceStore(settings.lance_dir).open("images")
    table = dataset.to_table(["row_index", name], filter=f"shard = '{shard}'")
    return dict(zip(table["row_index"].to_pylist(), table[name].to_pylist(), strict=True))


def kept(count: int) -> list[int]:
    return [row for row in range(count) if row % 7 != 3]


def write(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".lance":
        lance.write_dataset(rows, str(path), mode="overwrite")
    elif path.suffix == ".parquet":
        pq.write_table(rows, path)
    else:
        lines = [
            ",".join("" if v is None else str(v) for v in r.values()) for r in rows.to_pylist()
        ]
        path.write_text("\n".join([",".join(rows.schema.names), *lines]) + "\n", encoding="utf-8")


def list_behind(settings: Settings, curation: Curation) -> dict[str, list[str]]:
    database = Database(settings.database)
    with database.read() as connection:
        notes = read_notes(connection)
        loads = dict(connection.execute("SELECT shard, load_id FROM shards").fetchall())
    behind = find_behind(look_at_files(database, curation), notes, loads)
    return {shard: list(origins) for shard, origins in behind.items()}


@pytest.mark.exhaustive
def test_a_computed_column_is_on_its_row_though_rows_are_rejected(settings: Settings) -> None:
    count = 40_000
    bring(settings, "a", make_rows(count))
    bring(settings, "b", make_rows(5))
    curation = declare(settings, RATIO)
    assert list_behind(settings, curation) == {"a": ["ratio"], "b": ["ratio"]}

    made = add(settings, curation)["ratio"]
    expected = {row: row * 10 / (row % 5) if row % 5 else None for row in kept(count)}
    assert read(settings, "ratio") == expected
    assert made.note.value_count == sum(value is not None for value in expected.values())
    assert made.type == "DOUBLE"
    # Other shards, and all other columns, are as before.
    assert set(read(settings, "ratio", "b").values()) == {None}
    assert read(settings, "width") == {row: row * 10 for row in kept(count)}
    assert list_behind(settings, curation) == {"b": ["ratio"]}
    assert add(settings, curation) == {}


TYPES = {
    "width > 20": (pa.bool_(), True),
    "width // 3": (pa.int32(), 36),
    "(width // 3)::UTINYINT": (pa.uint8(), 36),
    "(width // 3)::SMALLINT": (pa.int16(), 36),
    "width::FLOAT": (pa.float32(), 110.0),
    "upper(caption)": (pa.string(), "ROW 11"),
    "DATE '2020-01-01' + width": (pa.date32(), date(2020, 4, 20)),
    "TIMESTAMP '2020-01-01 10:00:00'": (pa.timestamp("us"), datetime(2020, 1, 1, 10)),
    "length(md5)": (pa.int64(), None),
}


@pytest.mark.exhaustive
def test_every_kind_of_value_is_kept_as_it_is(settings: Settings) -> None:
    bring(settings, "a", make_rows(12))
    names = {sql: f"mine_{number}" for number, sql in enumerate(TYPES)}
    text = "\n".join(f'[columns.{name}]\nsql = "{sql}"' for sql, name in names.items())
    add(settings, declare(settings, text))
    schema = LanceStore(settings.lance_dir).open("images").schema
    for sql, (kind, value) in TYPES.items():
        assert schema.field(names[sql]).type == kind
        assert read(settings, names[sql])[11] == value


@pytest.mark.exhaustive
def test_a_row_without_a_result_is_named_and_nothing_is_written(settings: Settings) -> None:
    bring(settings, "a", make_rows(5))
    curation = declare(settings, '[columns.mine]\nsql = "CAST(caption AS INTEGER)"\n' + RATIO)
    with raises("expression-failed"):
        add(settings, curation)
    # The other column was made all the same.
    assert list_behind(settings, curation) == {"a": ["mine"]}
    assert read(settings, "ratio")[1] == 10


FILES = ["labels/scores.parquet", "labels/scores.csv", "labels/scores.lance"]


PAIRS = [*zip(FILES, ("url", "key", "image_id"), strict=True), (FILES[1], "md5"), (FILES[2], "key")]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("file", "on"), PAIRS)
def test_values_are_joined_from_every_file_by_every_key(
    settings: Settings, file: str, on: str
) -> None:
    count = 3000
    keys = [f"k{row}" for row in range(count)]
    bring(settings, "a", make_rows(count, key=keys))
    labels = {row: row / 8 for row in kept(count) if row % 11}
    known = read(settings, on) if on != "md5" else {}
    # Rows of pictures, and with them `md5`, are not here: then no row has a value.
    rows = [row for row in reversed(labels) if known.get(row) is not None]
    write(
        settings.data_dir / file,
        pa.table(
            {
                on: pa.array(
                    [known[row] for row in rows], pa.int64() if on == "image_id" else pa.string()
                ),
                "score": pa.array([labels[row] for row in rows], pa.float64()),
            }
        ),
    )
    kind = "" if rows else "DOUBLE"
    made = add(settings, declare(settings, join(file, on, kind=kind)))["mine"]
    expected = {row: labels.get(row) if rows else None for row in kept(count)}
    assert read(settings, "mine") == expected
    assert made.type == "DOUBLE"
    assert made.note.value_count == len(rows)
    missing = len(expected) - len(rows)
    what = "rows without a key" if on == "md5" else "rows that the file does not have"
    assert made.oddities == f"{missing:,} {what}"


@pytest.mark.parametrize(
    "file", [*(pytest.param(file, marks=pytest.mark.exhaustive) for file in FILES[:2]), FILES[2]]
)
def test_what_is_odd_in_a_file_is_counted_and_the_first_line_counts(
    settings: Settings, file: str
) -> None:
    bring(settings, "a", make_rows(8))
    url = make_rows(8)["url"].to_pylist()
    lines = [
        (url[0], None),
        (url[0], "7"),
        (url[1], "1"),
        (url[1], "2"),
        (url[2], "none"),
        (url[4], "4.5"),
        (url[5], "5"),
        ("https://other.test", "9"),
        ("https://other.test", "9"),
    ]
    keys, values = zip(*lines, strict=True)
    write(settings.data_dir / file, pa.table({"url": keys, "score": pa.array(values)}))
    made = add(settings, declare(settings, join(file, kind="INTEGER")))["mine"]
    assert read(settings, "mine") == {0: None, 1: 1, 2: None, 4: None, 5: 5, 6: None, 7: None}
    assert made.oddities == (
        "2 rows that the file does not have; 1 rows that are NULL in the file; 2 rows with a value "
        "of another type; 2 keys that the file repeats, of which the first line counts"
    )


@pytest.mark.exhaustive
def test_keys_of_another_type_are_counted(settings: Settings) -> None:
    bring(settings, "a", make_rows(3))
    ids = read(settings, "image_id")
    keys = [str(ids[0]), "none", f"{ids[1]}.5"]
    write(settings.data_dir / "x.parquet", pa.table({"image_id": keys, "score": ["a", "b", "c"]}))
    made = add(settings, declare(settings, join("x.parquet", "image_id")))["mine"]
    assert read(settings, "mine") == {0: "a", 1: None, 2: None}
    assert "2 lines of the file with a key of another type" in made.oddities


WRONG = {
    "value-file-unreadable": ("none.parquet", "url", "score"),
    "value-file-no-lance": ("none.lance", "url", "score"),
    "join-column-missing": ("x.parquet", "url", "scores"),
    "join-type": ("x.parquet", "url", "list"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", WRONG)
def test_a_file_that_cannot_be_joined_is_refused(settings: Settings, code: str) -> None:
    bring(settings, "a", make_rows(3))
    rows = pa.table({"url": ["u"], "score": [1], "list": [[1]]})
    write(settings.data_dir / "x.parquet", rows)
    curation = declare(settings, join(*WRONG[code]))
    with raises(code):
        add(settings, curation)
    assert "mine" not in LanceStore(settings.lance_dir).open("images").schema.names
    assert list_behind(settings, curation) == {"a": ["mine"]}


def test_only_what_changed_is_made_again(settings: Settings) -> None:
    bring(settings, "a", make_rows(6))
    path = settings.data_dir / "x.csv"
    urls = make_rows(6)["url"].to_pylist()
    write(path, pa.table({"url": urls, "score": [1] * 6}))
    text = RATIO + join("x.csv")
    assert set(add(settings, declare(settings, text))) == {"ratio", "mine"}
    assert add(settings, declare(settings, text)) == {}
    # Another definition.
    assert set(add(settings, declare(settings, text.replace("/ height", "* height")))) == {"ratio"}
    assert read(settings, "ratio")[2] == 40
    # Another content; the time of the file is that of before.
    text = text.replace("/ height", "* height")
    before = path.stat()
    write(path, pa.table({"url": urls, "score": [12] * 6}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(add(settings, declare(settings, text))) == {"mine"}
    assert set(read(settings, "mine").values()) == {12}
    # Another load.
    bring(settings, "a", make_rows(9))
    assert set(read(settings, "mine").values()) == {None}
    assert set(add(settings, declare(settings, text))) == {"ratio", "mine"}
    assert [row for row, value in read(settings, "mine").items() if value is None] == [6, 7, 8]


@pytest.mark.exhaustive
def test_another_type_replaces_the_column_of_all_shards(settings: Settings) -> None:
    for shard in ("a", "b"):
        bring(settings, shard, make_rows(6))
        add(settings, declare(settings, '[columns.mine]\nsql = "width"'), shard)
    curation = declare(settings, '[columns.mine]\nsql = "caption"')
    add(settings, curation)
    assert read(settings, "mine")[1] == "row 1"
    assert set(read(settings, "mine", "b").values()) == {None}
    assert list_behind(settings, curation) == {"b": ["mine"]}


@pytest.mark.exhaustive
def test_a_column_that_somebody_added_by_hand_is_not_dropped(settings: Settings) -> None:
    bring(settings, "a", make_rows(6))
    LanceStore(settings.lance_dir).open("images").add_columns({"mine": "width + 1"})
    with raises("declared-column-conflict"):
        add(settings, declare(settings, '[columns.mine]\nsql = "caption"'))
    with raises("declared-column-conflict"):
        add(settings, declare(settings, '[columns.Mine]\nsql = "width"'))
    assert read(settings, "mine")[1] == 11
    # Of the same type, it is taken over.
    add(settings, declare(settings, '[columns.mine]\nsql = "width + 2"'))
    assert read(settings, "mine")[1] == 12


@pytest.mark.exhaustive
def test_a_shard_that_is_not_in_lance_is_refused(settings: Settings) -> None:
    bring(settings, "a", make_rows(6))
    with Database(settings.database).write() as connection:
        connection.execute("UPDATE shards SET lance_version = NULL")
    with raises("declared-before-rows"):
        add(settings, declare(settings, RATIO))


@pytest.mark.exhaustive
def test_a_table_that_somebody_compacted_gets_all_columns_again(settings: Settings) -> None:
    text = '[columns.other]\nsql = "width + 1"\n' + RATIO
    for shard in ("a", "b"):
        bring(settings, shard, make_rows(9))
        add(settings, declare(settings, text), shard)
    LanceStore(settings.lance_dir).open("images").optimize.compact_files()
    expected = read(settings, "other")
    curation = declare(settings, text)
    assert list_behind(settings, curation) == {}

    # The copy of the shard that this needs leaves no column behind.
    curation = declare(settings, text.replace("/ height", "* height"))
    assert set(add(settings, curation)) == {"other", "ratio"}
    assert read(settings, "ratio")[2] == 40
    assert read(settings, "other") == read(settings, "other", "b") == expected
    assert list_behind(settings, curation) == {"b": ["ratio"]}


@pytest.mark.exhaustive
def test_a_column_that_does_not_fit_on_the_disk_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(settings, "a", make_rows(3))
    curation = declare(settings, '[columns.word]\nsql = "upper(caption)"\n')
    monkeypatch.setattr("laion_assets.declared_columns.add_declared.TEXT_BYTES", 1 << 50)

    with raises("disk-too-small"):
        add(settings, curation)

    assert "word" not in LanceStore(settings.lance_dir).open("images").schema.names
    monkeypatch.undo()
    assert add(settings, curation).keys() == {"word"}
