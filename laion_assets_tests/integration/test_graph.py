"""The whole graph, from parquet files to a release, in a Dagster instance of its own."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import urlsplit

import dagster as dg
import duckdb
import lance
import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.definitions import build_defs
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.releases.catalog import find_release, newest_release
from laion_assets.runs.backfill import Outcome, discover_shards, find_missing, run_job
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard, WriteSheet

pytestmark = pytest.mark.usefixtures("unchecked")


# Captions with every kind of Unicode trouble that FTS5 has an opinion on.
CAPTIONS = [
    "Portrait by Claude Monet, 1880",
    "CLAUDE MONET – Water Lilies",
    "claude-monet's garden",
    "Monet, Claude",
    "cafe\u0301 by Ch\u00e2teau D\u2019Artagnan",
    "D'Artagnan & the three musketeers &amp; friends",
    "葛飾北斎 の 富嶽三十六景",
    "か\u3099 ガ が",
    "हिंदी में चित्र",
    "Straße in İstanbul 🧑‍🎨 Ⅻ ﬁn",
    "soft\u00adhyphen claude\u200dmonet",
    "NUL\x00claude monet",
]
NAMES = [
    "Claude Monet",
    "D'Artagnan",
    "葛飾北斎",
    "हिंदी",
    "Straße",
    "ガ",
    "İstanbul",
    "🧑",
    "é",
    '"',
]


def run_graph(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Outcome]:
    """Materializes every shard and then everything after; returns the outcome of each run."""
    discover_shards(settings, instance)
    defs = build_defs(settings)
    ingest = defs.resolve_job_def("ingest_shards")
    outcomes = {
        shard: run_job(ingest, instance, shard)
        for shard in sorted(instance.get_dynamic_partitions("shards"))
    }
    outcomes["refresh"] = run_job(defs.resolve_job_def("refresh_counts"), instance)
    return outcomes


def read_duckdb(settings: Settings, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def read_lance(settings: Settings, table: str = "images") -> pa.Table:
    return lancedb.connect(settings.lance_dir).open_table(table).to_arrow()


def count_with_fts5(captions: list[str], name: str) -> int:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE images_fts USING fts5(caption)")
    connection.executemany("INSERT INTO images_fts VALUES (?)", [(c,) for c in captions])
    query = "SELECT count(*) FROM images_fts WHERE images_fts MATCH '\"' || ? || '\"'"
    ((count,),) = connection.execute(query, (name.replace('"', '""'),)).fetchall()
    connection.close()
    return int(count)


@dataclass(frozen=True)
class Released:
    """Sample shards that went through the whole graph; tests only read it."""

    settings: Settings
    outcomes: Mapping[str, Outcome]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Three sample shards of 500 rows, with names that occur in them."""
    folder = tmp_path_factory.mktemp("released")
    names = {"artists": "Claude Monet", "characters": "Sherlock Holmes"}
    for kind, name in names.items():
        (folder / f"{kind}.csv").write_text(f"name\n{name}\nNobody At All\n", encoding="utf-8")
    sheets = MappingProxyType({kind: str(folder / f"{kind}.csv") for kind in names})
    settings = replace(Settings.default(folder / "data"), sheets=sheets)
    spec = SampleSpec(shard_count=3, rows_per_shard=500)
    write_sample_shards(settings.data_dir / "shards", list(names.values()), spec)
    with dg.DagsterInstance.ephemeral() as instance:
        return Released(settings, run_graph(settings, instance))


def test_every_row_of_a_file_is_in_images_or_rejected(released: Released) -> None:
    query = (
        "SELECT shard, count(*) FROM (SELECT shard, row_index FROM images "
        "UNION ALL SELECT shard, row_index FROM rejected_images) GROUP BY shard ORDER BY shard"
    )
    expected = [
        (path.stem, pq.read_metadata(path).num_rows)
        for path in sorted(released.settings.raw_dir.glob("*.parquet"))
    ]
    assert read_duckdb(released.settings, query) == expected
    assert len(expected) == 3


def test_lance_holds_the_rows_of_duckdb_value_for_value(released: Released) -> None:
    with duckdb.connect(str(released.settings.database), read_only=True) as connection:
        rows = connection.sql("SELECT * FROM images ORDER BY shard, row_index").to_arrow_table()
    copied = read_lance(released.settings).sort_by(
        [("shard", "ascending"), ("row_index", "ascending")]
    )
    # What a source says of a picture comes to Lance with the pictures.
    rows = rows.drop_columns(["md5", "original_width", "original_height"])
    # The words that Lance reads otherwise are in Lance alone.
    assert copied.column_names == [*rows.column_names, "caption_words"]
    assert copied.drop_columns(["caption_words"]).to_pylist() == rows.to_pylist()


def test_domain_counts_equal_a_recount_of_the_raw_files(released: Released) -> None:
    counted: Counter[str] = Counter()
    for path in (released.settings.data_dir / "shards").glob("*.parquet"):
        for row in pq.read_table(path, columns=["URL", "TEXT"]).to_pylist():
            host = urlsplit(row["URL"] or "").hostname
            if (row["URL"] or "").strip() and host and (row["TEXT"] or "").strip():
                counted[host] += 1
    assert dict(read_duckdb(released.settings, "FROM domain_counts")) == counted  # type: ignore[arg-type]
    assert sum(counted.values()) == len(read_lance(released.settings))


def test_entity_counts_equal_sqlite_fts5(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    write_sheet: WriteSheet,
) -> None:
    for number in range(2):
        captions = CAPTIONS[number * 3 :]
        urls = [f"https://a.test/{number}/{i}.jpg" for i in range(len(captions))]
        write_shard(f"s{number}", URL=urls, TEXT=captions)
    write_sheet("artists", *NAMES)
    run_graph(settings, instance)
    captions = [str(c) for (c,) in read_duckdb(settings, "SELECT caption FROM images")]
    query = "SELECT name, image_count FROM entity_counts WHERE kind = 'artists'"
    counts = {str(name): count for name, count in read_duckdb(settings, query)}
    assert counts == {name: count_with_fts5(captions, name) for name in NAMES}
    assert counts["Claude Monet"] == 7


def test_the_release_pins_images_and_counts_with_one_tag(released: Released) -> None:
    outcomes = released.outcomes
    tag = outcomes["refresh"].metadata["release"]["tag"]
    assert isinstance(tag, str)
    for table in ("images", "domain_counts", "site_counts", "entity_counts"):
        dataset = lance.dataset(released.settings.lance_dir / f"{table}.lance", version=tag)
        (rows,) = read_duckdb(released.settings, f"SELECT count(*) FROM {table}")[0]
        assert dataset.count_rows() == rows


def test_a_second_run_changes_no_row_and_makes_no_release(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1", "https://a.test/2"], caption=["one", "two"])
    first = run_graph(settings, instance)
    rows = read_duckdb(settings, "FROM images ORDER BY row_index")
    second = run_graph(settings, instance)
    assert read_duckdb(settings, "FROM images ORDER BY row_index") == rows
    assert len(read_lance(settings)) == 2
    releases = [run["refresh"].metadata["release"] for run in (first, second)]
    assert [release["is_new"] for release in releases] == [True, False]
    assert releases[0]["tag"] == releases[1]["tag"]


def test_a_bad_shard_leaves_the_others_and_its_own_old_rows(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("good", url=["https://a.test/1"], caption=["one"])
    bad = write_shard("bad", url=["https://a.test/2"], caption=["two"])
    run_graph(settings, instance)
    bad.unlink()
    bad.write_text("<html>not found</html>")
    outcomes = run_graph(settings, instance)
    reason = outcomes["bad"].reason
    assert reason is not None
    assert str(bad) in reason
    assert "\n" not in reason
    assert "Error" not in reason
    assert outcomes["good"].reason is None
    assert outcomes["refresh"].reason is None
    assert read_duckdb(settings, "SELECT shard FROM images ORDER BY shard") == [
        ("bad",),
        ("good",),
    ]


@pytest.mark.exhaustive
def test_a_release_is_refused_while_the_counts_are_older_than_the_shards(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"])
    run_graph(settings, instance)
    write_shard("two", url=["https://a.test/2"], caption=["two"])
    discover_shards(settings, instance)
    defs = build_defs(settings)
    run_job(defs.resolve_job_def("ingest_shards"), instance, "two")
    result = dg.materialize(
        [defs.get_assets_def("release")],
        instance=instance,
        resources=defs.resources,
        raise_on_error=False,
    )
    assert not result.success
    assert len(lance.dataset(settings.lance_dir / "images.lance").tags.list()) == 1


@pytest.mark.exhaustive
def test_a_shard_that_lance_lacks_neither_is_released_nor_holds_a_release_back(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"])
    run_graph(settings, instance)
    write_shard("two", url=["https://a.test/2"], caption=["two"])
    discover_shards(settings, instance)
    defs = build_defs(settings)
    dg.materialize(
        [defs.get_assets_def("raw_shards"), defs.get_assets_def("images")],
        instance=instance,
        resources=defs.resources,
        partition_key="two",
    )
    outcome = run_job(defs.resolve_job_def("refresh_counts"), instance)
    assert outcome.reason is None
    released = find_release(LanceStore(settings.lance_dir))
    assert [shard.shard for shard in released.shards] == ["one"]


def test_each_materialization_carries_what_an_operator_wants_to_see(released: Released) -> None:
    outcomes = released.outcomes
    shard = next(iter(outcomes))
    raw, images, copied = (
        outcomes[shard].metadata[asset] for asset in ("raw_shards", "images", "lance_images")
    )
    assert raw["dagster/partition_row_count"] == 500
    assert {"bytes", "sha256", "source", "duration_s"} <= raw.keys()
    assert {"rejected", "repeated", "preview", "sha256", "duration_s"} <= images.keys()
    rejected = [int(str(v)) for k, v in images.items() if k.startswith("rejected_")]
    assert sum(rejected) == images["rejected"]
    assert copied["dagster/partition_row_count"] == images["dagster/partition_row_count"]
    assert {"lance_version", "bytes", "duration_s"} <= copied.keys()


@pytest.mark.exhaustive
def test_a_release_is_refused_while_lance_has_an_older_load_with_the_same_ids(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"], aesthetic=[6.0])
    run_graph(settings, instance)
    write_shard("one", url=["https://a.test/1"], caption=["one"], aesthetic=[7.5])
    defs = build_defs(settings)
    dg.materialize(
        [defs.get_assets_def("raw_shards"), defs.get_assets_def("images")],
        instance=instance,
        resources=defs.resources,
        partition_key="one",
    )
    refresh = defs.resolve_job_def("refresh_counts")
    assert "lance_images" in str(run_job(refresh, instance).reason)
    assert find_missing(settings, instance, ["one"]) == ["one"]
    run_job(defs.resolve_job_def("ingest_shards"), instance, "one")
    assert find_missing(settings, instance, ["one"]) == []
    assert run_job(refresh, instance).reason is None
    assert read_lance(settings)["aesthetic"].to_pylist() == [7.5]


@pytest.mark.exhaustive
def test_what_was_deleted_is_missing(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"])
    run_graph(settings, instance)
    shutil.rmtree(settings.lance_dir)
    assert find_missing(settings, instance, ["one"]) == ["one"]
    outcomes = run_graph(settings, instance)
    assert [outcome.reason for outcome in outcomes.values()] == [None, None]
    settings.database.unlink()
    assert find_missing(settings, instance, ["one"]) == ["one"]


@pytest.mark.exhaustive
def test_a_release_is_refused_while_a_list_of_names_is_not_counted(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    write_sheet: WriteSheet,
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"])
    run_graph(settings, instance)
    write_sheet("artists", "Somebody Else")
    defs = build_defs(settings)
    result = dg.materialize(
        [defs.get_assets_def("artists"), defs.get_assets_def("release")],
        instance=instance,
        resources=defs.resources,
        raise_on_error=False,
    )
    assert not result.success


@pytest.mark.exhaustive
def test_a_tag_of_somebody_else_hides_no_release(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("one", url=["https://a.test/1"], caption=["one"])
    tag = run_graph(settings, instance)["refresh"].metadata["release"]["tag"]
    dataset = lance.dataset(settings.lance_dir / "images.lance")
    dataset.tags.create("paper", dataset.version)
    release = newest_release(LanceStore(settings.lance_dir))
    assert release is not None
    assert release.release == tag
    assert run_graph(settings, instance)["refresh"].metadata["release"]["is_new"] is False


@pytest.mark.exhaustive
def test_a_shard_without_a_good_row_is_part_of_the_release(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("good", url=["https://a.test/1"], caption=["one"])
    write_shard("none", url=pa.nulls(2), caption=["one", "two"])
    outcomes = run_graph(settings, instance)
    assert outcomes["none"].metadata["images"]["rejected_missing_url"] == 2
    assert outcomes["refresh"].metadata["release"]["shards"] == 2
