"""Pictures that a shard brings come into Lance byte for byte, whatever else the shard has."""

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.errors import ShardError, StaleTableError
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.schemas import LANCE_PICTURES
from laion_assets.settings import Settings
from laion_assets.stores.columns import NotedColumns, read_notes
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import copy, load

pytestmark = pytest.mark.slow

NAMES = [column.name for column in LANCE_PICTURES]
BROKEN = paint(9)[:200]


def add(settings: Settings, shard: str = "a") -> NotedColumns:
    return add_pictures(
        Database.of(settings),
        LanceStore.of(settings),
        RawStore(settings.raw_dir),
        shard,
        "run",
    )


def bring(settings: Settings, source: Path) -> NotedColumns:
    """Brings a shard with its pictures to Lance."""
    load(settings, source.stem, source)
    copy(settings, source.stem)
    return add(settings, source.stem)


def read_lance(settings: Settings, shard: str = "a") -> dict[int, dict[str, Any]]:
    dataset = LanceStore.of(settings).open("images")
    table = dataset.to_table(["row_index", "caption", *NAMES], filter=f"shard = '{shard}'")
    return {row["row_index"]: row for row in table.to_pylist()}


def read_facts(settings: Settings, shard: str = "a") -> list[tuple[object, ...]]:
    with Database.of(settings).read() as connection:
        query = (
            "SELECT row_index, status, error_message, source, format, byte_count, width, height "
            "FROM pictures WHERE shard = ? ORDER BY row_index"
        )
        return connection.execute(query, [shard]).fetchall()


def images(settings: Settings, shard: str = "a") -> list[bytes | None]:
    return [row["image"] for _, row in sorted(read_lance(settings, shard).items())]


def texts(rows: int, word: str = "row") -> dict[str, Sequence[object]]:
    return {
        "url": [f"https://a.test/{row}.jpg" for row in range(rows)],
        "caption": [f"{word} {row}" for row in range(rows)],
    }


COLUMNS = {
    "img2dataset": ("jpg", pa.binary()),
    "laion-1m": ("image", pa.large_binary()),
    "upper case": ("JPG", pa.binary()),
    "webp": ("webp", pa.binary_view()),
    "the Hub": ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "kind"), COLUMNS.values(), ids=COLUMNS.keys())
def test_every_form_of_a_column_is_read(
    settings: Settings, write_shard: WriteShard, name: str, kind: pa.DataType
) -> None:
    pictures: list[bytes | None] = [paint(1), None, paint(2, kind="PNG"), BROKEN, b""]
    values: list[object] = list(pictures)
    if pa.types.is_struct(kind):
        values = [None if p is None else {"bytes": p, "path": "x.jpg"} for p in pictures]
        values[4] = {"bytes": None, "path": "x.jpg"}
    note = bring(settings, write_shard("a", **texts(5), **{name: pa.array(values, kind)}))

    assert images(settings) == [pictures[0], None, pictures[2], None, None]
    rows = read_lance(settings)
    assert [rows[n]["status"] for n in range(5)] == [
        *("success", "not_given", "success", "undecodable", "not_given"),
    ]
    assert "truncated" in rows[3]["error_message"].lower()
    assert rows[0]["picture_sha256"] == hashlib.sha256(paint(1)).hexdigest()
    assert [n for n in range(5) if rows[n]["phash"] is not None] == [0, 2]
    facts = read_facts(settings)
    assert facts[0] == (0, "success", None, "given", "JPEG", len(paint(1)), 64, 48)
    assert facts[2][4] == "PNG"
    assert [row[3] for row in facts] == ["given", None, "given", None, None]
    assert note.value_count == 2


def test_what_the_source_says_of_its_pictures_comes_along(
    settings: Settings, write_shard: WriteShard
) -> None:
    rows = {
        **texts(4),
        "key": ["0", "1", "2", "3"],
        "status": ["success", "failed_to_download", "success", None],
        "error_message": [None, "HTTP Error 404: Not Found", None, None],
        "exif": ['{"Image Make": "Canon"}', None, "{}", None],
        "md5": ["aa", None, "bb", None],
        "width": [64, None, 64, None],
        "height": [48, None, 48, None],
        "original_width": pa.array([640.0, None, float("nan"), 1e300]),
        "original_height": pa.array([480, None, -1, 7]),
        "jpg": pa.array([paint(1), None, BROKEN, None], pa.binary()),
    }
    bring(settings, write_shard("a", **rows))
    found = read_lance(settings)
    assert [found[n]["status"] for n in range(4)] == [
        *("success", "failed_to_download", "undecodable", "not_given"),
    ]
    assert found[1]["error_message"] == "HTTP Error 404: Not Found"
    assert [found[n]["exif"] for n in range(4)] == rows["exif"]
    assert [found[n]["md5"] for n in range(4)] == rows["md5"]
    assert [found[n]["original_width"] for n in range(4)] == [640, None, None, None]
    assert [found[n]["original_height"] for n in range(4)] == [480, None, None, 7]


@pytest.mark.exhaustive
def test_a_text_hash_is_an_md5_and_a_path_is_no_picture(
    settings: Settings, write_shard: WriteShard
) -> None:
    columns = {**texts(2), "hash": ["aa", "bb"], "image": ["1.jpg", "2.jpg"]}
    note = bring(settings, write_shard("a", **columns))
    assert note.value_count == 0
    assert [row["md5"] for row in read_lance(settings).values()] == ["aa", "bb"]
    assert [row[1] for row in read_facts(settings)] == ["not_given", "not_given"]


def test_each_picture_is_on_its_row_though_rows_are_rejected(
    settings: Settings, write_shard: WriteShard
) -> None:
    count = 3000
    columns = texts(count)
    columns["caption"] = [None if n % 7 == 3 else f"row {n}" for n in range(count)]
    pictures = [None if n % 11 == 5 else paint(n % 50, 16, 16) for n in range(count)]
    source = write_shard("a", **columns)
    table = pa.table({**columns, "jpg": pa.array(pictures, pa.binary())})
    pq.write_table(table, source, row_group_size=700)
    bring(settings, source)
    found = read_lance(settings)
    assert sorted(found) == [n for n in range(count) if n % 7 != 3]
    assert all(row["image"] == pictures[n] for n, row in found.items())
    assert all(row["caption"] == f"row {n}" for n, row in found.items())


def write_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_beside_the_shard_brings_its_pictures_by_key(
    settings: Settings, write_shard: WriteShard
) -> None:
    keys = ["000000", "000001", "000002", "000003"]
    source = write_shard("a", **texts(4), key=keys)
    members = {
        "000002.jpg": paint(2),
        "000002.json": b"{}",
        "000000.jpg": paint(0),
        "000000.txt": b"row 0",
        "000003.jpg": BROKEN,
    }
    write_archive(source.with_suffix(".tar"), members)
    note = bring(settings, source)
    assert images(settings) == [paint(0), None, paint(2), None]
    assert [row[1] for row in read_facts(settings)] == [
        *("success", "not_given", "success", "undecodable"),
    ]
    assert note.value_count == 2

    # Another archive of the same shard.
    write_archive(source.with_suffix(".tar"), {"x/000001.jpg": paint(1), "000002.jpg": paint(5)})
    other = bring(settings, source)
    assert images(settings) == [paint(0), paint(1), paint(5), None]
    assert other.made_from != note.made_from


@pytest.mark.parametrize("content", [b"no archive" * 200, b""], ids=["other", "empty"])
def test_an_archive_that_cannot_be_read_is_named(
    settings: Settings, write_shard: WriteShard, content: bytes
) -> None:
    source = write_shard("a", **texts(1), key=["0"])
    source.with_suffix(".tar").write_bytes(content)
    with pytest.raises(ShardError, match=r"a.tar: is not an uncompressed tar archive"):
        bring(settings, source)


def test_an_archive_that_is_cut_off_is_named(settings: Settings, write_shard: WriteShard) -> None:
    source = write_shard("a", **texts(1), key=["0"])
    archive = write_archive(source.with_suffix(".tar"), {"0.jpg": paint(1, 300, 300)})
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(ShardError, match=r"a.tar: is cut off in 0.jpg"):
        bring(settings, source)


@pytest.mark.exhaustive
@pytest.mark.parametrize("settings", ["folder", "bucket"], indirect=True)
def test_a_new_load_keeps_the_pictures_of_the_same_rows(
    settings: Settings, write_shard: WriteShard
) -> None:
    columns = texts(6)
    pictures = [paint(n) for n in range(6)]
    bring(settings, write_shard("a", **columns, jpg=pa.array(pictures, pa.binary())))

    # The next file has no pictures, another order, a row less, a row more, and one twice.
    order = [5, 3, 3, 0, 1]
    moved = {name: [values[n] for n in order] for name, values in columns.items()}
    moved["url"].append("https://a.test/new.jpg")
    moved["caption"].append("new")
    source = write_shard("a", **moved)
    load(settings, "a", source)
    copy(settings, "a")

    kept = [paint(5), paint(3), paint(3), paint(0), paint(1), None]
    assert images(settings) == kept
    facts = read_facts(settings)
    assert [row[0] for row in facts] == [0, 1, 2, 3, 4]
    assert {row[1] for row in facts} == {"success"}
    with Database.of(settings).read() as connection:
        (note,) = read_notes(connection)
    assert (note.value_count, note.made_from) == (5, "carried over")

    # The asset itself finds nothing in the file, and takes nothing away.
    assert add(settings).value_count == 5
    assert images(settings) == kept
    assert [row[1] for row in read_facts(settings)] == [*["success"] * 5, "not_given"]
    assert read_facts(settings)[:5] == facts


@pytest.mark.exhaustive
def test_rows_that_repeat_keep_each_its_own_picture(
    settings: Settings, write_shard: WriteShard
) -> None:
    same = {"url": ["https://a.test/1.jpg"] * 3, "caption": ["same"] * 3}
    pictures = pa.array([paint(1), None, paint(3)], pa.binary())
    source = write_shard("a", **same, jpg=pictures)
    bring(settings, source)
    for _ in range(2):
        load(settings, "a", source)
        copy(settings, "a")
    assert images(settings) == [paint(1), None, paint(3)]
    assert [row[3] for row in read_facts(settings)] == ["given", None, "given"]


@pytest.mark.exhaustive
def test_a_new_load_with_other_rows_has_no_pictures(
    settings: Settings, write_shard: WriteShard
) -> None:
    bring(settings, write_shard("a", **texts(2), jpg=pa.array([paint(1)] * 2, pa.binary())))
    load(settings, "a", write_shard("a", **texts(3, "other")))
    copy(settings, "a")
    assert images(settings) == [None] * 3
    assert read_facts(settings) == []
    with Database.of(settings).read() as connection:
        assert read_notes(connection) == []


@pytest.mark.exhaustive
def test_new_pictures_replace_those_of_before(settings: Settings, write_shard: WriteShard) -> None:
    first = pa.array([paint(1), paint(2), paint(3)], pa.binary())
    bring(settings, write_shard("a", **texts(3), jpg=first))
    second = pa.array([paint(4), None, BROKEN], pa.binary())
    bring(settings, write_shard("a", **texts(3), jpg=second))
    assert images(settings) == [paint(4), paint(2), paint(3)]
    facts = read_facts(settings)
    assert [row[1] for row in facts] == ["success"] * 3
    assert [row[5] for row in facts] == [len(paint(n)) for n in (4, 2, 3)]


@pytest.mark.exhaustive
def test_a_table_from_before_gets_pictures_without_a_new_load(
    settings: Settings, write_shard: WriteShard
) -> None:
    pictures = [paint(n) for n in range(5)]
    for shard in ("a", "b"):
        source = write_shard(shard, **texts(5), jpg=pa.array(pictures, pa.binary()))
        load(settings, shard, source)
        copy(settings, shard)
    store = LanceStore.of(settings)
    # As older versions left them: in any order, and small fragments joined.
    dataset = store.open("images")
    rows = dataset.to_table().sort_by([("shard", "ascending"), ("row_index", "descending")])
    import lance

    lance.write_dataset(rows, store.uri("images"), mode="overwrite")
    with Database.of(settings).read() as connection:
        loads = connection.execute("SELECT load_id FROM shards ORDER BY shard").fetchall()

    add(settings, "a")

    assert images(settings, "a") == pictures
    assert images(settings, "b") == [None] * 5
    with Database.of(settings).read() as connection:
        assert connection.execute("SELECT load_id FROM shards ORDER BY shard").fetchall() == loads


@pytest.mark.exhaustive
def test_pictures_wait_for_the_rows(settings: Settings, write_shard: WriteShard) -> None:
    source = write_shard("a", **texts(2), jpg=pa.array([paint(1)] * 2, pa.binary()))
    load(settings, "a", source)
    with pytest.raises(StaleTableError, match="materialize `lance_images`"):
        add(settings)
    copy(settings, "a")
    source = write_shard("a", **texts(3), jpg=pa.array([paint(1)] * 3, pa.binary()))
    from laion_assets.raw_shards.fetch import fetch_shard
    from laion_assets.raw_shards.sources.files import describe_file

    fetch_shard(describe_file(source), RawStore(settings.raw_dir))
    with pytest.raises(StaleTableError, match="materialize `images`"):
        add(settings)


@pytest.mark.exhaustive
def test_pictures_of_one_large_row_group_are_read_piece_by_piece(
    write_shard: WriteShard,
) -> None:
    """However the file is cut, no more than some megabytes of pictures are asked for at once."""
    from laion_assets.pictures import given

    noise = np.random.default_rng(1)
    pictures = [noise.bytes(200_000) for _ in range(100)]
    source = write_shard("a", **texts(100))
    pq.write_table(pa.table({**texts(100), "jpg": pa.array(pictures, pa.binary())}), source)
    with given.open_given(source, None) as opened:
        parts = list(opened.take(np.arange(100)))
    assert max(part["image"].nbytes for part in parts) <= 2 * given.HELD_BYTES
    assert [p for part in parts for p in part["image"].to_pylist()] == pictures
