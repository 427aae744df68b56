"""The asset, its check, what is due of it, and its setting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.curation.curation_file import Curation
from laion_assets.definitions import build_defs
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.runs.due import Stage
from laion_assets.runs.status import look_around, read_due
from laion_assets.settings import Settings, SettingsError
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.embeddings.test_add_embeddings import bring, encode, read, texts

pytestmark = pytest.mark.slow


def write(write_shard: WriteShard, rows: int = 8) -> Path:
    source = write_shard("a", **texts(rows, rejected=3))
    values = encode(rows)
    values[1] = 0
    np.save(source.with_suffix(".npy"), values)
    return source


def ingest(settings: Settings, instance: dg.DagsterInstance) -> dict[str, Any]:
    outcome = run_job(build_defs(settings).resolve_job_def("ingest_shards"), instance, "a")
    assert outcome.reason is None
    return outcome.metadata.get("embeddings", {})


def find_stage(settings: Settings) -> Stage | None:
    due = read_due(settings, ["a"], look_around(settings, ["a"]), Curation())
    return due.steps["a"].stage if "a" in due.steps else None


def test_vectors_come_with_the_shard(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write(write_shard)
    discover_shards(settings, instance)
    metadata = ingest(settings, instance)
    assert read(settings) == {0: 0, 1: None, 2: 2, 4: 4, 5: 5, 6: 6, 7: 7}
    assert (metadata["vectors"], metadata["percent_with_vector"]) == (6, 85.71)
    assert metadata["without_vector_zero"] == 1
    assert metadata["without_vector_not_given"] == metadata["without_vector_not_finite"] == 0
    assert find_stage(settings) is None

    with Database(settings.database).write() as connection:
        connection.execute("UPDATE shard_columns SET lance_version = NULL")
    assert find_stage(settings) == Stage.EMBED
    assert find_stage(replace(settings, embeddings="none")) is None
    ingest(settings, instance)
    assert find_stage(settings) is None


@pytest.mark.exhaustive
def test_a_shard_without_vectors_is_not_behind(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", **texts(3))
    discover_shards(settings, instance)
    assert ingest(settings, instance) == {}
    assert find_stage(settings) is None


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["[0.1, 0.2]"] * 3), "string"),
        (pa.array([[1, 2]] * 3, pa.list_(pa.int8())), "list<element: int8>"),
        (pa.array([0.5] * 3), "double"),
    ],
    ids=["text", "whole numbers", "one number"],
)
def test_a_column_that_only_has_the_name_of_vectors_is_told_of(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    caplog: pytest.LogCaptureFixture,
    values: pa.Array,
    kind: str,
) -> None:
    write_shard("a", **texts(3), Img_Emb=values)
    discover_shards(settings, instance)
    with caplog.at_level("WARNING", "laion_assets"):
        assert ingest(settings, instance) == {}
    assert [r.getMessage() for r in caplog.records if r.name.startswith("laion_assets")] == [
        f"a: column Img_Emb is {kind} and not read; write vectors as lists of float16, float32 or "
        "float64"
    ]


@pytest.mark.exhaustive
def test_a_column_without_any_value_is_no_oddity(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_shard("a", **texts(3), img_emb=pa.nulls(3))
    discover_shards(settings, instance)
    with caplog.at_level("WARNING", "laion_assets"):
        assert ingest(settings, instance) == {}
    assert not [r for r in caplog.records if r.name.startswith("laion_assets")]


@pytest.mark.exhaustive
def test_none_keeps_no_vectors(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    settings = replace(settings, embeddings="none")
    write(write_shard)
    discover_shards(settings, instance)
    assert ingest(settings, instance) == {}
    assert "img_emb" not in LanceStore(settings.lance_dir).open("images").schema.names
    assert find_stage(settings) is None


@pytest.mark.exhaustive
def test_a_wrong_file_fails_by_its_reason_and_captions_are_there(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    source = write(write_shard)
    np.save(source.with_suffix(".npy"), encode(5))
    discover_shards(settings, instance)
    job = build_defs(settings).resolve_job_def("ingest_shards")
    reason = run_job(job, instance, "a").reason
    assert reason is not None
    assert "has 5 vectors, and the shard's file 8 rows" in reason
    assert LanceStore(settings.lance_dir).open("images").count_rows() == 7
    assert find_stage(settings) == Stage.EMBED


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            "compute",
            "`compute` needs LAION_ENCODER; set it to the folder of an encoder in ONNX, or to one "
            "on the Hub",
        ),
        ("all", "'all' is not one of given, compute, none"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(tmp_path: Path, value: str, reason: str) -> None:
    environ = {"LAION_DATA_DIR": str(tmp_path), "LAION_EMBEDDINGS": value}
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environ)
    assert str(refusal.value) == f"LAION_EMBEDDINGS: {reason}"
    kept = Settings.from_environment({**environ, "LAION_EMBEDDINGS": " None "})
    assert kept.embeddings == "none"


@pytest.mark.exhaustive
def test_the_check_runs_with_the_refresh(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    bring(settings, write(write_shard))
    job = build_defs(settings).resolve_job_def("refresh_counts")
    result = job.execute_in_process(instance=instance)
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed["vectors_have_unit_length"]
