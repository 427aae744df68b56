"""After a removal, a refresh and a purge, no file of the data folder has a word of it."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import lance
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lance.file import LanceFileReader

from laion_assets.cli.environment import load_settings, open_instance
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.stores.fst import KeyMap
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.integration.conftest import Shell, release_source
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import read_removals

pytestmark = pytest.mark.usefixtures("unchecked")


WORD, HOST, PATH = "zqxcaption", "zqxhost", "zqxpath"
URL = f"https://{HOST}.test/{PATH}.jpg"
PICTURE = paint(7)
HALVES = (".laion.db.unfinished", ".laion.db.unfinished.captions.unfinished")


def write_source(shell: Shell, shard: str, *, is_secret: bool) -> Path:
    path = Path(shell.variables["LAION_SHARDS"]).parent / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        "url": [f"https://{shard}.test/{row}.jpg" for row in range(3)],
        "caption": [f"a fox number {row}" for row in range(3)],
        "image": pa.array([paint(row) for row in range(3)], pa.binary()),
        "img_emb": [[float(row), 1.0, 2.0] for row in range(3)],
    }
    if is_secret:
        rows["url"][1], rows["caption"][1] = URL, f"a {WORD} Ünïcode"
        rows["image"] = pa.array([paint(0), PICTURE, paint(2)], pa.binary())
    pq.write_table(pa.table(rows), path, compression="zstd")
    return path


def read_decoded(path: Path) -> str | bytes:
    """Returns what a file holds once its pages are unpacked."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    if path.suffix == ".lance":
        table = LanceFileReader(str(path)).read_all().to_table()
        texts = [str(column.to_pylist()) for column in table.columns]
        if "_token_fst_bytes" in table.column_names:
            # The words of a full-text index share their beginnings and ends.
            words = KeyMap(table["_token_fst_bytes"][0].as_py()).find(b"")
            texts += [word.decode() for word in words]
        return "\n".join(texts)
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            return str([connection.sql(f'FROM "{table}"').fetchall() for (table,) in tables])
    return b""


def find_words(data_dir: Path) -> dict[str, list[str]]:
    """Returns the files that have a word of what was removed, by word; also from back to front."""
    found: dict[str, list[str]] = {}
    words = [WORD, HOST, PATH]
    for path in sorted(p for p in data_dir.rglob("*") if p.is_file()):
        raw, decoded = path.read_bytes(), read_decoded(path)
        text = decoded if isinstance(decoded, str) else ""
        for word in words:
            forms = (word, word[::-1])
            in_raw = any(
                form.encode(encoding) in raw.lower()
                for form in forms
                for encoding in ("utf-8", "utf-16-le")
            )
            if in_raw or any(form in text.lower() for form in forms):
                found.setdefault(word, []).append(path.relative_to(data_dir).as_posix())
        if PICTURE[-400:-100] in raw:
            found.setdefault("picture", []).append(path.relative_to(data_dir).as_posix())
    return found


def list_named(data_dir: Path) -> Iterator[str]:
    """Yields the data files that a version of a Lance table names."""
    for path in (data_dir / "lance").glob("*.lance"):
        dataset = lance.dataset(path)
        for version in dataset.versions():
            for fragment in dataset.checkout_version(version["version"]).get_fragments():
                for file in fragment.data_files():
                    yield f"lance/{path.name}/data/{file.path}"


def list_releases(shell: Shell) -> list[str]:
    listed = shell.run("laion", "release", "list", "--json").stdout
    return [release["release"] for release in json.loads(listed)]


def test_a_purge_leaves_no_word_of_a_removed_row(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name\nfox\n")
    shell.variables.update(
        {f"LAION_SHEET_{kind}": str(tmp_path / "names.csv") for kind in ("ARTISTS", "CHARACTERS")},
        LAION_SHEET_CELEBRITIES=str(tmp_path / "names.csv"),
    )
    source = write_source(shell, "one", is_secret=True)
    old = release_source(shell, source)
    shell.settings.parquet_dir.mkdir(parents=True)
    assert shell.run("laion", "export", "parquet").returncode == 0
    note_run(shell, "one")
    read_removals(shell.settings, URL)
    new = release_source(shell, source)
    held = {path.split("/")[0] for path in find_words(shell.data_dir)[WORD]}
    assert held >= {"lance", "parquet"}

    asked = shell.run("laion", "purge", old)

    assert asked.returncode == 1
    assert asked.stdout.splitlines()[1].split()[::4] == [old, "1"]
    assert list_releases(shell) == [new, old]
    purged = shell.run("laion", "purge", old, "--yes")
    assert (purged.returncode, purged.stderr) == (0, "")
    assert "deleted 1 release, " in purged.stdout
    assert ", 1 run, " in purged.stdout
    assert "`laion export parquet` again" in purged.stdout
    assert list_releases(shell) == [new]
    assert find_words(shell.data_dir) == {}
    assert shell.run("laion", "search", "fox", "--json").returncode == 0


def note_run(shell: Shell, shard: str) -> None:
    """Notes in the history that a run of a shard has ended."""
    tags = {PARTITION_TAG: shard}
    run = dg.DagsterRun("ingest_shards", status=dg.DagsterRunStatus.SUCCESS, tags=tags)
    with shell.enter():
        load_settings()
        with open_instance() as instance:
            instance.add_run(run)


@pytest.mark.exhaustive
def test_nothing_is_left_of_what_was_removed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name\nfox\n")
    removals = tmp_path / "removals.csv"
    shell.variables.update(
        {f"LAION_SHEET_{kind}": str(tmp_path / "names.csv") for kind in ("ARTISTS", "CHARACTERS")},
        LAION_SHEET_CELEBRITIES=str(tmp_path / "names.csv"),
    )
    curation = shell.data_dir / "curation.toml"
    curation.parent.mkdir(exist_ok=True)
    silent = '[subsets.silent]\ncolumns = ["caption", "image"]\n'
    curation.write_text(f'{silent}[subsets.forgotten]\nwhere = "true"\n')
    source = write_source(shell, "one", is_secret=True)
    write_source(shell, "two", is_secret=False)
    loaded = shell.run("laion", "backfill", "--all", "--pictures")
    assert loaded.returncode == 0, loaded.stderr
    settings = shell.settings
    export_and_leave_halves(shell)
    cache = PictureCache(settings.picture_cache_dir, "")
    cache.put([FetchedPicture(URL, "success", picture=PICTURE), FetchedPicture("https://a", "x")])
    (old,) = list_releases(shell)
    before = find_words(shell.data_dir)
    kinds = {path.split("/")[0] for paths in before.values() for path in paths}
    exports = {"datasette", "parquet", ".parquet.part-x"}
    assert kinds == {"dagster", "laion.duckdb", "lance", "pictures", "raw", *exports}
    assert any("_indices" in path for path in before[WORD])

    assert {f"lance/{name}.lance" for name in ("silent", "forgotten")} < {
        "/".join(path.split("/")[:2]) for path in before[WORD]
    }

    curation.write_text(silent)
    removals.write_text(f"what\n{URL}\nnobody.test\n")
    shell.variables["LAION_REMOVALS"] = str(removals)
    refreshed = shell.run("laion", "backfill", "--missing", "--pictures")
    assert refreshed.returncode == 0, refreshed.stderr
    new, before_it = list_releases(shell)
    assert before_it == old
    record = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    assert [shard["removed_count"] for shard in record["shards"]] == [1, 0]
    assert [shard["image_count"] for shard in record["shards"]] == [2, 3]
    # Old releases have it still, and nothing shows it.
    assert find_words(shell.data_dir)
    assert "0 captions" in shell.run("laion", "search", WORD, "--release", old).stdout
    refused = shell.run("laion", "purge", new, "--yes")
    assert (refused.returncode, "holds no removed row" in refused.stderr) == (1, True)

    shown = shell.run("laion", "purge", old)
    assert shown.returncode == 1
    assert old in shown.stdout
    assert list_releases(shell) == [new, old]
    purged = shell.run("laion", "purge", old, "--yes")

    assert purged.returncode == 0, purged.stderr
    assert list_releases(shell) == [new]
    check_what_is_said_of_exports(purged.stdout)
    check_the_subset_that_is_left(shell, purged.stderr)
    assert find_words(shell.data_dir) == {}
    check_all_is_written_anew(shell)
    check_it_goes_on(shell, source, new)


def export_and_leave_halves(shell: Shell) -> None:
    """Exports in both forms, and leaves what a killed export of each would have left."""
    for form in ("datasette", "parquet"):
        assert shell.run("laion", "export", form).returncode == 0
    for name in HALVES:
        shutil.copy(shell.settings.datasette_file, shell.settings.datasette_file.with_name(name))
    parquet = shell.settings.parquet_dir
    shutil.copytree(parquet, parquet.with_name(f".{parquet.name}.part-x"))


def check_what_is_said_of_exports(said: str) -> None:
    assert "materialize `datasette` again" in said
    assert "`laion export parquet` again" in said


def check_the_subset_that_is_left(shell: Shell, said: str) -> None:
    """The table of a subset that is declared no more is the user's to drop."""
    assert "the subset forgotten still holds removed rows" in said
    assert "silent" not in said
    places = {path for paths in find_words(shell.data_dir).values() for path in paths}
    assert {"/".join(path.split("/")[:2]) for path in places} == {"lance/forgotten.lance"}
    lancedb.connect(str(shell.data_dir / "lance")).drop_table("forgotten")
    assert "forgotten" not in shell.run("laion", "purge", "--yes").stderr


def check_all_is_written_anew(shell: Shell) -> None:
    settings = shell.settings
    on_disk = {
        path.relative_to(shell.data_dir).as_posix()
        for path in (shell.data_dir / "lance").glob("*.lance/data/*")
    }
    assert on_disk == set(list_named(shell.data_dir))
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        assert connection.sql("SELECT free_blocks FROM pragma_database_size()").fetchall() == [(0,)]
        assert connection.sql("SELECT count(*) FROM images").fetchall() == [(5,)]
        assert connection.sql("SELECT * FROM rejected_images").fetchall() == [
            ("one", 1, None, None, "removed")
        ]
    with sqlite3.connect(settings.picture_cache_dir / "fetched.sqlite") as connection:
        assert connection.execute("SELECT url FROM fetched").fetchall() == [("https://a",)]


def check_it_goes_on(shell: Shell, source: Path, new: str) -> None:
    settings = shell.settings
    # The user's own file is his own.
    raw = RawStore(settings.raw_dir).read("one")
    assert raw.kept_sha256 not in {None, raw.sha256}
    assert WORD in str(pq.read_table(source))
    status = shell.run("laion", "status", "--json")
    assert json.loads(status.stdout)["is_sound"], status.stdout
    assert shell.run("laion", "backfill", "--missing").returncode == 0
    assert list_releases(shell) == [new]
    assert find_words(shell.data_dir) == {}
    audit = LanceStore(settings.lance_dir).removals.read().audits[0]
    assert (audit.entry_count, audit.row_count, audit.shard_count) == (2, 1, 0)
    assert [line for line, _ in audit.unmatched] == [3]
