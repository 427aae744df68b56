"""What the asset pages say of a shard, against a plain recount in Python."""

import math
from collections import Counter
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.definitions import build_defs
from laion_assets.runs.backfill import discover_shards
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard, make_settings

CAPTIONS = ["é", "ab", "abc", "葛飾", "abcde", "abcdef", "a" * 300, "ab", None, " "]
HOSTS = ["a.test", "b.test", "a.test", "a.test", "c.test", "c.test", "b.test", "b.test"]
PUNSAFE = [0.0, 0.05, 0.1, 0.7, 0.95, 1.0, None, 0.7, 0.1, 0.1]
SIMILARITY = [0.28, 0.29, 0.3, 0.3, -1.0, 1.0, 0.58, None, 0.3, 0.3]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The metadata of one shard's materializations, by asset; nobody changes it."""
    settings = make_settings(tmp_path_factory.mktemp("pages"))
    urls = [f"https://{host}/{n}" for n, host in enumerate([*HOSTS, "d.test", "d.test"])]
    urls[7] = urls[1]
    columns = {"URL": urls, "TEXT": CAPTIONS, "punsafe": PUNSAFE, "similarity": SIMILARITY}
    source = settings.data_dir / "shards" / "s.parquet"
    source.parent.mkdir(parents=True)
    pq.write_table(pa.table({**columns, "mood": ["k"] * 10}), source)
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        discover_shards(settings, instance)
        run = defs.resolve_job_def("ingest_shards").execute_in_process(
            instance=instance, partition_key="s"
        )
    return {
        event.materialization.asset_key.to_user_string(): dict(event.materialization.metadata)
        for event in run.get_asset_materialization_events()
    }


def read_table(value: dg.TableMetadataValue) -> list[dict[str, object]]:
    return [dict(record.data) for record in value.records]


@pytest.mark.exhaustive
def test_the_figures_of_a_shard_are_those_of_its_rows(pages: dict[str, dict[str, Any]]) -> None:
    page = pages["images"]
    captions = [c for c in CAPTIONS if c and c.strip()]
    lengths = sorted(map(len, captions))
    quantiles = [lengths[math.ceil(q * len(lengths)) - 1] for q in (0.05, 0.5, 0.95, 1)]
    names = ("p05", "median", "p95", "longest")
    assert [page[f"caption_length_{name}"].value for name in names] == quantiles
    figures = {
        "dagster/partition_row_count": 8,
        "rejected": 2,
        "percent_rejected": 20.0,
        "rejected_missing_caption": 2,
        "repeated": 1,
        "percent_repeated": 12.5,
        "percent_non_ascii_captions": 25.0,
        "domains": 3,
        "file_rows": 10,
    }
    assert {name: page[name].value for name in figures} == figures


def test_the_domains_of_a_shard_are_ranked_with_bars(pages: dict[str, dict[str, Any]]) -> None:
    rows = read_table(pages["images"]["top_domains"])
    assert [(r["domain"], r["image_count"]) for r in rows] == sorted(
        Counter(HOSTS).items(), key=lambda item: (-item[1], item[0])
    )
    assert [r["share_percent"] for r in rows] == [37.5, 37.5, 25.0]
    assert str(rows[0]["bar"]).count("█") == 20


def test_histograms_show_the_scores_that_a_shard_has(pages: dict[str, dict[str, Any]]) -> None:
    page = pages["images"]
    assert {name for name in page if name.endswith("_scores")} == {
        "punsafe_scores",
        "similarity_scores",
    }
    punsafe = {r["punsafe"]: r["image_count"] for r in read_table(page["punsafe_scores"])}
    assert punsafe == {
        "0.00 to 0.10": 2,
        "0.10 to 0.20": 1,
        "0.70 to 0.80": 2,
        "0.90 to 1.00": 2,
    }
    similarity = {r["similarity"]: r["image_count"] for r in read_table(page["similarity_scores"])}
    assert similarity == {
        "-1.00 to -0.98": 1,
        "0.28 to 0.30": 2,
        "0.30 to 0.32": 2,
        "0.58 to 0.60": 1,
        "0.98 to 1.00": 1,
    }


def test_rejections_have_examples_and_columns_what_they_lack(
    pages: dict[str, dict[str, Any]],
) -> None:
    page = pages["images"]
    examples = [(r["reason"], r["row_index"]) for r in read_table(page["rejection_examples"])]
    assert examples == [("missing_caption", 8), ("missing_caption", 9)]
    missing = {r["column"]: r["rows_without"] for r in read_table(page["missing_values"])}
    assert (missing["punsafe"], missing["similarity"], missing["width"]) == (1, 1, 8)
    assert len(read_table(page["preview"])) == 5


def test_the_file_says_how_each_of_its_columns_is_read(pages: dict[str, dict[str, Any]]) -> None:
    schema = pages["raw_shards"]["dagster/column_schema"].value
    read = {c.name: (c.type, c.description.split(".")[0]) for c in schema.columns}
    assert read == {
        "URL": ("string", "Read as `url`"),
        "TEXT": ("string", "Read as `caption`"),
        "punsafe": ("double", "Read as `punsafe`"),
        "similarity": ("double", "Read as `similarity`"),
        "mood": ("string", "Not read"),
    }


@pytest.mark.exhaustive
def test_a_shard_without_an_image_has_a_page(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("none", url=["", ""], caption=["a", "b"])
    discover_shards(settings, instance)
    run = build_defs(settings).resolve_job_def("ingest_shards")
    result = run.execute_in_process(instance=instance, partition_key="none")
    (page,) = (
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("images")
    )
    assert page["dagster/partition_row_count"].value == 0
    assert page["caption_length_median"].value == 0
    assert page["percent_rejected"].value == 100


def test_every_column_is_described_and_every_asset_has_an_example(settings: Settings) -> None:
    for spec in build_defs(settings).resolve_all_asset_specs():
        schema = spec.metadata.get("dagster/column_schema")
        columns = schema.columns if isinstance(schema, dg.TableSchema) else []
        assert [c.name for c in columns if not c.description] == []
        if spec.key != dg.AssetKey("raw_shards"):
            assert "```" in str(spec.description)
        assert spec.tags.get("holds")


def test_the_page_names_the_columns_that_are_not_read(pages: dict[str, dict[str, Any]]) -> None:
    assert pages["raw_shards"]["columns_not_read"].value == "mood"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ([None, None, "https://a.test/1"], "missing_url"),
        (["no host", "no host", "https://a.test/1"], "invalid_url"),
        ([None, "no host", "https://a.test/1"], None),
        ([None, None, "https://a.test/1", "https://a.test/2"], None),
    ],
    ids=["most", "most invalid", "two reasons", "exactly half"],
)
def test_a_shard_that_is_mostly_rejected_for_one_reason_warns(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    urls: list[str | None],
    reason: str | None,
) -> None:
    write_shard("s", URL=urls, TEXT=["a"] * len(urls))
    discover_shards(settings, instance)
    job = build_defs(settings).resolve_job_def("ingest_shards")
    run = job.execute_in_process(instance=instance, partition_key="s")

    checks = {check.check_name: check for check in run.get_asset_check_evaluations()}
    check = checks["mostly_accepted"]
    assert (check.passed, check.severity) == (reason is None, dg.AssetCheckSeverity.WARN)
    assert check.metadata["main_reason"].value == (reason or "none")
    assert run.success
