"""The commands with `LAION_DATA_DIR=s3://…`, at moto's server; with Postgres for two machines."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests

from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets_tests.integration.conftest import Shell, write_source
from laion_assets_tests.integration.test_purge import (
    HOST,
    PATH,
    PICTURE,
    URL,
    WORD,
    find_words,
    list_releases,
)
from laion_assets_tests.integration.test_purge import write_source as write_secret
from laion_assets_tests.integration.test_serve import serve
from laion_assets_tests.servers.buckets import Buckets, run_buckets
from laion_assets_tests.servers.postgres import Postgres

pytestmark = pytest.mark.integration
SPEC = SampleSpec(shard_count=2, rows_per_shard=300, has_pictures=True)
DEMO_ENCODER = {"LAION_EMBEDDINGS": "compute", "LAION_ENCODER": "demo"}


def make_shell(folder: Path, place: str, environment: dict[str, str]) -> Shell:
    """A machine with a folder of its own, whose tables are in a bucket."""
    variables = {
        "LAION_HOME": str(folder / "home"),
        "LAION_DATA_DIR": place,
        "LAION_SHARDS": str(folder / "source" / "*.parquet"),
        **environment,
    }
    return Shell(folder / "data", variables)


@pytest.fixture
def shell(tmp_path: Path, bucket: str, buckets: Buckets) -> Shell:
    return make_shell(tmp_path, bucket, buckets.environment)


def read_table(shell: Shell) -> pa.Table:
    with shell.enter():
        table = LanceStore.of(shell.settings).open("images").to_table()
    return table.sort_by([("shard", "ascending"), ("row_index", "ascending")])


def run_at_once(
    machines: list[Shell], command: list[str]
) -> list[subprocess.CompletedProcess[str]]:
    with ThreadPoolExecutor(len(machines)) as pool:
        return list(pool.map(lambda machine: machine.start(*command), machines))


def show_release(shell: Shell) -> dict[str, str]:
    shown: dict[str, str] = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    return shown


@pytest.mark.exhaustive
@pytest.mark.usefixtures("unchecked")
def test_a_shard_is_loaded_released_found_and_published(shell: Shell, tmp_path: Path) -> None:
    write_source(shell, "one", "a red boat")
    loaded = shell.run("laion", "backfill", "--all")
    assert loaded.returncode == 0, loaded.stderr

    assert "a red boat" in shell.run("laion", "search", "boat").stdout
    looked = shell.run("laion", "doctor")
    assert looked.returncode == 0, looked.stdout
    place = shell.settings.lance_bucket
    assert f"ok    bucket: {place} can be written and keeps what is there" in looked.stdout
    published = shell.run("laion", "publish", str(tmp_path / "published"))
    assert published.returncode == 0, published.stderr
    assert list((tmp_path / "published").rglob("*.lance"))
    assert not list((tmp_path / "home").rglob("*.lance"))


# All of it, with all checks; `test_add_pictures.py` brings pictures to a bucket without programs.
@pytest.mark.exhaustive
def test_pictures_vectors_counts_and_release_are_those_of_a_folder(
    shell: Shell, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shards = [path.stem for path in write_sample_shards(source, ["Some Name"], SPEC)]
    local = Shell(tmp_path / "local", {"LAION_SHARDS": shell.variables["LAION_SHARDS"]})
    for each in (local, shell):
        each.variables.update(DEMO_ENCODER)
        loaded = each.run("laion", "backfill", "--all", "--pictures")
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr

    here, there = show_release(local), show_release(shell)
    assert there["content_sha256"] == here["content_sha256"]
    assert there["columns_sha256"] == here["columns_sha256"]
    table = read_table(shell)
    assert table.equals(read_table(local))
    assert table["image"].null_count < len(table)
    assert table["img_emb"].null_count < len(table)
    assert not list((tmp_path / "home").rglob("*.lance"))

    hits = [
        json.loads(each.run("laion", "search", "boat", "--json").stdout)["hits"]
        for each in (shell, local)
    ]
    assert hits[0]
    assert hits[0] == hits[1]
    with serve(shell) as url:
        home = requests.get(f"{url}/index.json", timeout=60).json()
        assert home["image_count"] == len(table)
        assert requests.get(f"{url}/search?q=boa*", timeout=60).status_code == 200
        pictured = table.filter(pc.is_valid(table["image"])).slice(0, 1).to_pylist()[0]
        address = f"{url}/pictures/{pictured['shard']}/{pictured['row_index']}.jpg"
        assert requests.get(address, timeout=60).content == pictured["image"]

    looked = shell.run("laion", "doctor")
    assert looked.returncode == 0, looked.stdout

    # A shard that is loaded again replaces itself alone.
    shutil.rmtree(source)
    write_source(shell, shards[1], "another boat")
    again = shell.run("laion", "backfill", shards[1])
    assert again.returncode == 0, again.stderr
    after = read_table(shell)
    assert after.filter(pc.equal(after["shard"], shards[0])).equals(
        table.filter(pc.equal(table["shard"], shards[0]))
    )
    assert (
        after.filter(pc.equal(after["shard"], shards[1]))["caption"].to_pylist()
        == ["another boat"] * 3
    )


@pytest.mark.exhaustive
@pytest.mark.usefixtures("unchecked")
def test_nothing_is_left_of_removed_rows_after_a_purge(
    shell: Shell, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    write_secret(shell, "one", is_secret=True)
    write_secret(shell, "two", is_secret=False)
    loaded = shell.run("laion", "backfill", "--all", "--pictures")
    assert loaded.returncode == 0, loaded.stderr
    (old,) = list_releases(shell)
    buckets.download(bucket, tmp_path / "before")
    assert find_words(tmp_path / "before").keys() == {WORD, HOST, PATH, "picture"}
    removals = tmp_path / "removals.csv"
    removals.write_text(f"what\n{URL}\n")
    shell.variables["LAION_REMOVALS"] = str(removals)
    refreshed = shell.run("laion", "backfill", "--missing", "--pictures")
    assert refreshed.returncode == 0, refreshed.stderr
    new, _ = list_releases(shell)
    # As a run leaves it that was killed before the list had the row.
    with shell.enter():
        chunks = ShardChunks.of(LanceStore.of(shell.settings), "one", "pictures", "size")
        cache = PictureCache(shell.settings.picture_cache_dir, "size", chunks)
        cache.put([FetchedPicture(URL, "success", picture=PICTURE)])
    buckets.download(bucket, tmp_path / "left")
    assert any("unfinished" in p for paths in find_words(tmp_path / "left").values() for p in paths)

    purged = shell.run("laion", "purge", old, "--yes")

    assert purged.returncode == 0, purged.stderr
    assert list_releases(shell) == [new]
    buckets.download(bucket, tmp_path / "after")
    assert find_words(tmp_path / "after") == {}
    assert find_words(tmp_path / "home") == {}
    assert read_table(shell)["caption"].to_pylist() == [
        *("a fox number 0", "a fox number 2"),
        *(f"a fox number {row}" for row in range(3)),
    ]
    status = shell.run("laion", "status", "--json")
    assert json.loads(status.stdout)["is_sound"], status.stdout


@pytest.mark.exhaustive
@pytest.mark.usefixtures("unchecked")
def test_declared_columns_are_made_and_made_again(shell: Shell, tmp_path: Path) -> None:
    rows = {
        "url": [f"https://a.test/{row}.jpg" for row in range(3)],
        "caption": ["a fox", None, "a boat"],
        "width": [10, 20, 30],
        "faces": [0, 1, 2],
    }
    path = Path(shell.variables["LAION_SHARDS"]).with_name("one.parquet")
    path.parent.mkdir()
    pq.write_table(pa.table(rows), path)
    scores = tmp_path / "scores.csv"
    scores.write_text("url,score\nhttps://a.test/2.jpg,0.5\n")
    curation = tmp_path / "curation.toml"
    shell.variables["LAION_CURATION"] = str(curation)
    doubled = '[columns.mine]\nsql = "2 * width"\n'
    joined = f'[columns.score]\nfile = "{scores}"\non = "url"\nvalue = "score"\n'
    curation.write_text(f'[keep]\nsource_columns = ["faces"]\n{doubled}{joined}')

    def load(*names: str) -> dict[str, list[object]]:
        loaded = shell.run("laion", "backfill", "--missing")
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr
        status = json.loads(shell.run("laion", "status", "--json").stdout)
        assert status["is_sound"], status
        table = read_table(shell)
        return {name: table[name].to_pylist() for name in names}

    made = {"mine": [20, 60], "score": [None, 0.5], "faces": [0, 2]}
    assert load("mine", "score", "faces") == made
    scores.write_text("url,score\nhttps://a.test/0.jpg,0.25\n")
    curation.write_text(doubled.replace("2 *", "3 *") + joined)
    assert load("mine", "score") == {"mine": [30, 90], "score": [0.25, None]}
    record = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    assert [(c["column"], c["value_count"]) for c in record["declared"]] == [
        ("mine", 2),
        ("score", 1),
    ]


@pytest.mark.exhaustive
def test_an_unsafe_store_is_refused_in_one_line(tmp_path: Path) -> None:
    with run_buckets(is_safe=False) as unsafe:
        place = unsafe.create()
        shell = make_shell(tmp_path, place, unsafe.environment)
        write_source(shell, "one")
        told = shell.run("laion", "doctor")
        loaded = shell.run("laion", "backfill", "--all")

        assert (told.returncode, loaded.returncode) == (1, 1)
        assert "wrong bucket: " in told.stdout
        assert "this store ignores `If-None-Match: *`" in loaded.stderr
        assert unsafe.list_names(place) == []


def test_backups_are_refused(shell: Shell, tmp_path: Path) -> None:
    result = shell.run("laion", "backup", str(tmp_path / "backup"))

    assert result.returncode == 1
    assert "backups are of folders alone" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# `test_bucket_database.py` shows both without programs.
@pytest.mark.exhaustive
def test_two_machines_write_one_table(
    tmp_path: Path, bucket: str, buckets: Buckets, postgres: Postgres
) -> None:
    """Each has a folder of its own; what they share is the bucket and Postgres."""
    environment = {**buckets.environment, "LAION_CATALOG": postgres.create_database()}
    machines = [make_shell(tmp_path / name, bucket, environment) for name in ("a", "b")]
    for machine in machines:
        for shard in ("one", "two"):
            write_source(machine, shard, f"a boat in {shard}", rows=50)
    # What both need is there before, as on machines that have run for a while.
    assert machines[0].run("laion", "discover").returncode == 0

    command = ["laion", "backfill", "one", "two", "--no-refresh"]
    results = run_at_once(machines, command)

    for result in results:
        assert result.returncode == 0, result.stdout + result.stderr
    table = read_table(machines[0])
    assert table["shard"].to_pylist() == ["one"] * 50 + ["two"] * 50
    assert table["row_index"].to_pylist() == [*range(50)] * 2


@pytest.mark.exhaustive
def test_a_third_machine_counts_and_releases_what_two_have_loaded(
    tmp_path: Path, bucket: str, buckets: Buckets, postgres: Postgres
) -> None:
    """It has an empty folder and no shard. All is as on a machine alone."""
    environment = {**buckets.environment, "LAION_CATALOG": postgres.create_database()}
    one, two, three = (
        make_shell(tmp_path / name, bucket, environment) for name in ("one", "two", "three")
    )
    alone = Shell(tmp_path / "alone", {"LAION_SHARDS": str(tmp_path / "both" / "*.parquet")})
    for machine, shard in ((one, "first"), (two, "second"), (alone, "first"), (alone, "second")):
        write_source(machine, shard, f"a boat in {shard}", rows=20)
    for machine, shards in ((one, ["first"]), (two, ["second"]), (alone, ["first", "second"])):
        loaded = machine.run("laion", "backfill", *shards, "--no-refresh")
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr

    for machine in (three, alone):
        refreshed = machine.run("laion", "backfill", "--missing")
        assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr

    here, there = show_release(alone), show_release(three)
    assert there["content_sha256"] == here["content_sha256"]
    assert there["count_digests"] == here["count_digests"]
    query = "SELECT shard, row_index, caption FROM images ORDER BY ALL"
    answers = [machine.run("laion", "sql", query).stdout for machine in (one, three, alone)]
    assert answers[0].count("a boat in") == 40
    assert answers == answers[:1] * 3
    for machine in (one, two, three, alone):
        status = machine.run("laion", "status", "--json")
        assert status.returncode == 0, status.stdout
        states = [
            (s["shard"], s["image_count"], s["state"]) for s in json.loads(status.stdout)["shards"]
        ]
        assert states == [("first", 20, "done"), ("second", 20, "done")]
    # It says nothing of raw files that another machine has.
    told = two.run("laion", "doctor")
    assert told.returncode == 0, told.stdout
