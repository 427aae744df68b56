"""A release as a SQLite file, and what Datasette answers from it."""

import csv
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import requests
import yaml

from laion_assets.errors import LaionError
from laion_assets.exports import caption_index, datasette
from laion_assets.exports.datasette import Export, export_datasette
from laion_assets.releases.catalog import find_release
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import DiskSpaceError
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests import pipeline
from laion_assets_tests.conftest import WriteSheet, copy_made, make_settings
from laion_assets_tests.pipeline import copy, ingest, load, read_removals, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

CELEBRITIES = ("Dwayne 'The Rock' Johnson", "Beyoncé", 'Weird "Al" Yankovic', "Nobody", "???")
CAPTIONS = (
    "Dwayne 'The Rock' Johnson in a hat",
    "dwayne the rock JOHNSON",
    "beyonce on a stage",
    'Weird "Al" Yankovic',
    "a lemur in a tree, a lemur",
    "two lemurs",
    "plain",
)
SAME = ("url", "width", "height", "similarity", "punsafe", "pwatermark", "aesthetic", "row_index")


def store(settings: Settings) -> LanceStore:
    return LanceStore(settings.lance_dir)


def select(path: Path, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, parameters).fetchall()


def bring(settings: Settings, shard: str, **columns: Sequence[object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = settings.data_dir / "shards" / f"{shard}.parquet"
    source.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), source)
    load(settings, shard, source)
    copy(settings, shard)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A release of two shards on three hosts, with scores, gaps and unsafe images."""
    folder = tmp_path_factory.mktemp("released")
    settings = make_settings(folder, artists=("Lemur", "a lemur"))
    with Path(settings.sheets["celebrities"]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("known_for", "name"), *enumerate(CELEBRITIES)])
    rows = range(len(CAPTIONS))
    bring(
        settings,
        "a",
        URL=[f"https://{'big' if n else 'small'}.test/{n}.jpg" for n in rows],
        TEXT=CAPTIONS,
        WIDTH=[None, *rows[1:]],
        HEIGHT=list(rows),
        similarity=[n / 10 for n in rows],
        punsafe=[0.9 if n == 1 else None if n == 2 else 0.1 for n in rows],
        NSFW=["NSFW" if n == 2 else "UNLIKELY" for n in rows],
        AESTHETIC_SCORE=[5 + n / 10 for n in rows],
        hash=[None, *(-(2**62) - n for n in rows[1:])],
    )
    ingest(settings, "b", "a lemur", "a lemur")
    refresh(settings, "one")
    return settings


@pytest.fixture
def released(settings: Settings, made: Settings) -> Settings:
    """A copy of that release."""
    return copy_made(made, settings)


@pytest.fixture(scope="module")
def exported(made: Settings, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export of that release, with the files beside it; nobody changes it."""
    return export_datasette(store(made), tmp_path_factory.mktemp("exported") / "laion.db")


@pytest.mark.exhaustive
def test_the_file_has_the_rows_of_the_release(made: Settings, exported: Export) -> None:
    columns = ", ".join((*SAME, "text", "domain", "hash", "shard"))
    found = select(
        exported.path,
        f"SELECT {columns} FROM images JOIN domain ON domain.id = domain_id ORDER BY images.id",
    )
    with Database(made.database).read() as connection:
        query = f"SELECT {columns} FROM images ORDER BY shard, row_index"
        query = query.replace("text", "caption").replace("hash", "hash::VARCHAR")
        expected = connection.execute(query).fetchall()
    assert found == expected
    assert (exported.image_count, exported.domain_count, exported.name_count) == (9, 3, 8)
    assert select(exported.path, "SELECT min(id), max(id) FROM images") == [(1, 9)]
    assert select(exported.path, "SELECT typeof(width), typeof(hash) FROM images LIMIT 2") == [
        ("null", "null"),
        ("integer", "text"),
    ]
    assert select(exported.path, "SELECT domain, image_counts FROM domain ORDER BY id") == [
        ("big.test", 6),
        ("b.test", 2),
        ("small.test", 1),
    ]


def test_every_name_has_the_count_of_fts5(made: Settings, exported: Export) -> None:
    assert select(exported.path, "SELECT name, image_counts FROM celebrities") == list(
        zip(CELEBRITIES, (2, 1, 1, 0, 0), strict=True)
    )
    for kind in made.sheets:
        for name, count in select(exported.path, f"SELECT name, image_counts FROM {kind}"):
            quoted = '"' + name.replace('"', '""') + '"'
            query = "SELECT count(*) FROM images_fts WHERE images_fts MATCH ?"
            assert select(exported.path, query, quoted) == [(count,)], name


def test_facets_filters_and_sorting_find_an_index(exported: Export) -> None:
    for query in (
        "SELECT domain_id, count(*) FROM images GROUP BY domain_id",
        "SELECT * FROM images WHERE domain_id = 1",
        "SELECT * FROM images ORDER BY aesthetic DESC LIMIT 100",
    ):
        plan = select(exported.path, f"EXPLAIN QUERY PLAN {query}")
        assert "USING" in plan[0][3]
        assert "INDEX" in plan[0][3]
    # A rare word is looked up, and not every row is asked whether it has it.
    query = (
        "SELECT * FROM images WHERE id IN (SELECT rowid FROM images_fts "
        "WHERE images_fts MATCH 'lemur') ORDER BY aesthetic DESC LIMIT 100"
    )
    details = [row[3] for row in select(exported.path, f"EXPLAIN QUERY PLAN {query}")]
    assert "SEARCH images USING INTEGER PRIMARY KEY (rowid=?)" in details


@pytest.mark.exhaustive
def test_unsafe_images_are_left_out_with_their_counts(
    made: Settings, exported: Export, tmp_path: Path
) -> None:
    safe = export_datasette(store(made), tmp_path / "safe" / "x.db", is_safe=True)

    assert (safe.image_count, safe.hidden_count) == (7, 2)
    query = "SELECT id, text FROM images"
    left = set(select(exported.path, query)) - set(select(safe.path, query))
    assert {text for _, text in left} == {CAPTIONS[1], CAPTIONS[2]}
    counts = dict(select(safe.path, "SELECT name, image_counts FROM celebrities"))
    assert (counts["Dwayne 'The Rock' Johnson"], counts["Beyoncé"]) == (1, 0)
    assert dict(select(safe.path, "SELECT domain, image_counts FROM domain"))["big.test"] == 4
    assert "2 images were left out" in safe.path.with_name("metadata.yaml").read_text("utf-8")


def test_removed_images_are_left_out_with_their_counts(
    released: Settings, exported: Export, tmp_path: Path
) -> None:
    read_removals(released, "https://big.test/1.jpg", "b.test")
    made = export_datasette(store(released), tmp_path / "left.db")
    safe = export_datasette(store(released), tmp_path / "safe.db", is_safe=True)

    query = "SELECT id, text FROM images"
    left = sorted(set(select(exported.path, query)) - set(select(made.path, query)))
    assert [text for _, text in left] == [CAPTIONS[1], "a lemur", "a lemur"]
    assert (made.image_count, made.hidden_count, safe.hidden_count) == (6, 0, 1)
    domains = dict(select(made.path, "SELECT domain, image_counts FROM domain"))
    assert domains == {"small.test": 1, "big.test": 5}
    counts = dict(select(made.path, "SELECT name, image_counts FROM artists"))
    assert (
        counts["a lemur"]
        == dict(select(exported.path, "SELECT name, image_counts FROM artists"))["a lemur"] - 2
    )


@pytest.mark.exhaustive
def test_an_old_release_is_exported_as_it_was(
    released: Settings, write_sheet: WriteSheet, tmp_path: Path
) -> None:
    ingest(released, "c", "a newer lemur")
    write_sheet("artists", "Newer")
    refresh(released, "two")

    newest = export_datasette(store(released), tmp_path / "two.db")
    old = export_datasette(store(released), tmp_path / "old" / "one.db", "one")

    assert (newest.release, newest.image_count) == ("two", 10)
    assert (old.release, old.image_count) == ("one", 9)
    assert select(old.path, "SELECT name FROM artists") == [("Lemur",), ("a lemur",)]


@pytest.mark.exhaustive
def test_the_files_beside_say_what_is_in_it(released: Settings, tmp_path: Path) -> None:
    made = export_datasette(store(released), tmp_path / "site")

    assert made.path == tmp_path / "site"
    (tmp_path / "folder").mkdir()
    made = export_datasette(store(released), tmp_path / "folder")
    assert made.path == tmp_path / "folder" / "laion.db"
    site = yaml.safe_load((tmp_path / "folder" / "metadata.yaml").read_text("utf-8"))
    manifest = find_release(store(released), "one")
    assert manifest.content_sha256 in site["source"]
    tables = site["databases"]["laion"]["tables"]
    assert tables.keys() == {"images", "domain", *released.sheets}
    assert tables["images"]["units"] == {"width": "px", "height": "px"}
    for table, described in tables.items():
        columns = {row[1] for row in select(made.path, f"PRAGMA table_info({table})")}
        assert described["columns"].keys() <= columns
        assert described["label_column"] in columns


@pytest.mark.parametrize("name", ["laion.duckdb", "notes.txt", "other.db"])
def test_a_file_of_others_is_not_replaced(released: Settings, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    if name == "notes.txt":
        path.write_text("mine", encoding="utf-8")
    before = path.read_bytes()

    with raises("export-place-taken"):
        export_datasette(store(released), path)

    assert path.read_bytes() == before


def test_a_description_of_others_is_not_replaced(released: Settings, tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("title: mine\n", encoding="utf-8")

    with raises("export-metadata-of-others"):
        export_datasette(store(released), tmp_path / "x.db")

    assert not (tmp_path / "x.db").exists()


@pytest.mark.exhaustive
def test_a_failed_export_leaves_the_one_before(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "site" / "x.db"
    export_datasette(store(released), path)
    before = {p: p.read_bytes() for p in path.parent.iterdir()}
    ingest(released, "c", "one more")
    refresh(released)
    check = datasette._check

    def damage(made: Path, *rest: Any) -> tuple[dict[str, int], str]:
        with closing(sqlite3.connect(made)) as connection, connection:
            connection.execute("DELETE FROM images_fts_data")
        return check(made, *rest)

    monkeypatch.setattr(datasette, "_check", damage)

    with pytest.raises(LaionError, match="damaged"):
        export_datasette(store(released), path)

    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before
    monkeypatch.undo()
    assert export_datasette(store(released), path).image_count == 10


@pytest.mark.exhaustive
def test_a_row_that_is_removed_meanwhile_is_not_exported(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time the file would be newer than the removal, and no purge would delete it."""
    check = datasette._check

    def remove(*of: Any) -> tuple[dict[str, int], str]:
        read_removals(released, "https://big.test/1.jpg")
        return check(*of)

    monkeypatch.setattr(datasette, "_check", remove)

    with raises("export-removals-changed"):
        export_datasette(store(released), tmp_path / "x.db")

    assert list(tmp_path.glob("*x.db*")) == []
    monkeypatch.undo()
    assert export_datasette(store(released), tmp_path / "x.db").image_count == 8


@pytest.mark.exhaustive
def test_the_index_has_the_captions_of_the_rows(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes it: what it has, and the rows have not, is found."""
    start = caption_index.Indexer.start
    monkeypatch.setattr(
        caption_index.Indexer, "start", lambda *of, is_safe: start(*of, is_safe=not is_safe)
    )

    with raises("export-full-text-damaged"):
        export_datasette(store(released), tmp_path / "x.db", is_safe=True)

    assert list(tmp_path.glob("*x.db*")) == []


def test_the_index_is_checked_while_others_read_and_nothing_is_written(
    exported: Export,
) -> None:
    """The pages are checked at the same time, and the digest is made then."""
    before = exported.path.read_bytes()

    with closing(sqlite3.connect(exported.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM images").fetchall()
        datasette._check_captions(exported.path)

    assert exported.path.read_bytes() == before


def test_the_index_is_that_of_rows_that_are_indexed_as_they_come(
    exported: Export, tmp_path: Path
) -> None:
    """Ranking and snippets come from the tables that another process made."""
    copied_file = Path(shutil.copy(exported.path, tmp_path))

    with closing(sqlite3.connect(copied_file)) as connection:
        select_words = (
            "SELECT rowid, rank, snippet(images_fts, 0, '[', ']', '…', 3) FROM images_fts "
            "WHERE images_fts MATCH ? ORDER BY rank, rowid"
        )
        queries = ("lemur", '"a lemur"', "lemur NOT tree", "be*", "rock + johnson", "^two")
        copied = [connection.execute(select_words, (query,)).fetchall() for query in queries]
        connection.execute("INSERT INTO images_fts (images_fts) VALUES ('rebuild')")
        rebuilt = [connection.execute(select_words, (query,)).fetchall() for query in queries]
    assert all(copied)
    assert copied == rebuilt


def test_a_stopped_export_ends_its_process(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the index, and leaves nothing."""
    endless = SimpleNamespace(column="text", build=partial(time.sleep, 3_600))
    monkeypatch.setattr(caption_index, "CaptionIndex", lambda *_: endless)
    monkeypatch.setattr(datasette, "INDEXED", ("no such column",))

    with raises("export-not-written"):
        export_datasette(store(released), tmp_path / "x.db")

    assert list(tmp_path.glob("*x.db*")) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("table", ["domain_counts", "entity_counts"])
def test_counts_that_differ_from_the_images_are_refused(
    released: Settings, tmp_path: Path, table: str
) -> None:
    """As after somebody wrote into the Lance table and moved the tag."""
    dataset = store(released).open(table, "one")
    changed = dataset.to_table()
    counts = [n + 1 for n in changed["image_count"].to_pylist()]
    column = changed.schema.get_field_index("image_count")
    changed = changed.set_column(column, changed.schema.field(column), [counts])
    version = store(released).overwrite(table, changed).version
    store(released).open(table).tags.update("one", version)

    with raises("export-differs"):
        export_datasette(store(released), tmp_path / "x.db")

    assert list(tmp_path.glob("*x.db*")) == []


def test_a_full_disk_is_noticed_before_anything_is_written(
    released: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasette, "_BYTES_A_ROW", 1 << 50)

    with pytest.raises(DiskSpaceError, match="exporting release one: needs up to"):
        export_datasette(store(released), tmp_path / "x.db")

    assert list(tmp_path.glob("*x.db*")) == []


@pytest.mark.exhaustive
def test_the_estimate_of_the_disk_is_an_upper_bound(settings: Settings, tmp_path: Path) -> None:
    ingest(
        settings,
        "a",
        *(f"the {n:x} quick {n * 7919:x} foxes of caption {n}" for n in range(20_000)),
    )
    refresh(settings)

    made = export_datasette(store(settings), tmp_path / "x.db")

    images = store(settings).open("images", made.release)
    assert made.file_bytes < datasette.estimate_export(images) < 6 * made.file_bytes


@pytest.mark.exhaustive
def test_two_exports_to_one_path_take_turns(released: Settings, tmp_path: Path) -> None:
    path, failures = tmp_path / "x.db", []

    def export() -> None:
        try:
            export_datasette(store(released), path)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=export) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert select(path, "SELECT count(*) FROM images") == [(9,)]
    assert sorted(p.name for p in tmp_path.glob("*x.db*")) == ["x.db"]


@pytest.mark.exhaustive
def test_a_list_with_the_name_of_a_table_is_refused(settings: Settings, tmp_path: Path) -> None:
    for kind in ("domain", "images_fts_data", "datasette", "sqlite_names"):
        with raises("kind-name-invalid"):
            Settings.from_environment({f"LAION_SHEET_{kind.upper()}": "x.csv"})
    # A release from before that rule, or from a list in the project's folder.
    sheets = MappingProxyType({"domain": settings.sheets["artists"]})
    settings = replace(settings, sheets=sheets)
    ingest(settings, "a", "a fox")
    refresh(settings)

    with raises("export-list-name-taken"):
        export_datasette(store(settings), tmp_path / "x.db")


@pytest.mark.exhaustive
def test_the_other_columns_of_a_list_come_along(
    released: Settings, write_sheet: WriteSheet, tmp_path: Path
) -> None:
    """As the release has them, whatever became of the list since."""
    sheet = Path(released.sheets["artists"])
    sheet.write_text(
        'born,name,Image_Counts,"""odd"" one"\n1452,a lemur,7,x\n,Lemur,,"y, z"\n', encoding="utf-8"
    )
    refresh(released, "two")
    write_sheet("artists", "a lemur", "Lemur")
    pipeline.count(released)

    made = export_datasette(store(released), tmp_path / "x.db")

    assert (made.release, made.name_count) == ("two", 8)
    query = 'SELECT name, born, Image_Counts_of_list, """odd"" one", image_counts FROM artists'
    assert select(made.path, query) == [
        ("a lemur", "1452", "7", "x", 3),
        ("Lemur", "", "", "y, z", 3),
    ]
    site = yaml.safe_load(made.path.with_name("metadata.yaml").read_text("utf-8"))
    described = site["databases"]["x"]["tables"]["artists"]["columns"]
    assert list(described) == ["name", "born", "Image_Counts_of_list", '"odd" one', "image_counts"]
    old = export_datasette(store(released), tmp_path / "x.db", "one")
    assert select(old.path, "SELECT * FROM artists") == [("Lemur", 3), ("a lemur", 3)]


@pytest.mark.exhaustive
def test_a_list_with_more_columns_than_sqlite_takes_is_refused(
    released: Settings, tmp_path: Path
) -> None:
    others = [f"c{n}" for n in range(datasette.MOST_LIST_COLUMNS + 1)]
    header, row = ",".join(["name", *others]), ",".join(["a lemur", *others])
    Path(released.sheets["artists"]).write_text(f"{header}\n{row}\n", encoding="utf-8")
    refresh(released, "two")

    with raises("export-list-too-wide"):
        export_datasette(store(released), tmp_path / "x.db")


@pytest.fixture
def site(exported: Export) -> Iterator[str]:
    """The address of Datasette, over an export, with the files beside it."""
    program = str(Path(sys.executable).with_name("datasette"))
    arguments = ("--inspect-file", "inspect.json", "-m", "metadata.yaml", "--port", "0")
    with subprocess.Popen(
        [program, "serve", "-i", "laion.db", *arguments],
        cwd=exported.path.parent,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr
        try:
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            else:
                raise AssertionError(said)
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


@pytest.mark.exhaustive
def test_datasette_searches_counts_and_links(site: str, made: Settings) -> None:
    def ask(address: str, **parameters: str) -> requests.Response:
        response = requests.get(site + address, parameters, timeout=60)
        assert response.status_code == 200, response.text
        return response

    found = ask("/laion/images.json", _search="lemur", _shape="objects").json()
    assert found["filtered_table_rows_count"] == 3
    assert {row["text"] for row in found["rows"]} == {CAPTIONS[4], "a lemur"}

    facets = found["facet_results"]["domain_id"]["results"]
    assert [(each["label"], each["count"]) for each in facets] == [("b.test", 2), ("big.test", 1)]

    labelled = ask("/laion/images.json", _labels="on", _shape="array", _size="1").json()
    assert labelled[0]["domain_id"] == {"value": 3, "label": "small.test"}

    (row,) = ask("/laion/images/5.json", _shape="objects").json()["rows"]
    assert (row["text"], row["hash"]) == (CAPTIONS[4], str(-(2**62) - 4))
    assert "a lemur in a tree" in ask("/laion/images/5").text

    domains = ask("/laion/domain.json", _shape="array").json()
    assert [row["image_counts"] for row in domains] == [6, 2, 1]

    page = ask("/laion/images").text
    assert find_release(store(made), "one").content_sha256 in page
    assert "Host of the URL" in page

    names = ask("/laion/celebrities.json", _shape="array").json()
    # The query of 2022, which reads a double quote in a name as one of its own.
    query = (
        "select name, (select count(*) from images_fts where images_fts match '\"' || name || '\"')"
        " as search_count from celebrities order by search_count desc"
    )
    counted = ask("/laion.json", sql=query, _shape="array").json()
    assert len(counted) == len(CELEBRITIES)
    assert {row["name"]: row["search_count"] for row in counted} == {
        row["name"]: row["image_counts"] for row in names
    }

    # And what its author did with it: the counts as a column of the table, beside the sheet's own.
    query = (
        "with counts as (select name, (select count(*) from images_fts where images_fts match "
        "'\"' || name || '\"') as search_count from celebrities) "
        "select celebrities.name, known_for, image_counts from celebrities "
        "join counts on counts.name = celebrities.name "
        "where image_counts = search_count order by image_counts desc, known_for"
    )
    joined = ask("/laion.json", sql=query, _shape="arrays").json()["rows"]
    assert joined == [
        ["Dwayne 'The Rock' Johnson", "0", 2],
        ["Beyoncé", "1", 1],
        ['Weird "Al" Yankovic', "2", 1],
        ["Nobody", "3", 0],
        ["???", "4", 0],
    ]

    inspected = ask("/-/databases.json").json()
    (database,) = [each for each in inspected if each["name"] == "laion"]
    assert (database["is_mutable"], len(database["hash"])) == (False, 64)
    tables = {table["name"]: table["count"] for table in ask("/laion.json").json()["tables"]}
    assert (tables["images"], tables["domain"], tables["celebrities"]) == (9, 3, 5)


@pytest.mark.exhaustive
def test_what_datasette_would_inspect_is_what_is_written(exported: Export) -> None:
    program = str(Path(sys.executable).with_name("datasette"))
    result = subprocess.run(
        [program, "inspect", exported.path.name],
        cwd=exported.path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == json.loads(
        exported.path.with_name("inspect.json").read_text("utf-8")
    )
