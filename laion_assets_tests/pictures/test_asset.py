"""The asset, its checks and its job, as Dagster runs them."""

import base64
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from laion_assets.definitions import build_defs
from laion_assets.pictures.broken_pictures import (
    find_broken,
    find_low_shares,
    find_other_md5,
    find_other_shapes,
)
from laion_assets.pictures.sample_strip import SIDE, draw_samples
from laion_assets.runs.backfill import discover_shards, find_without_pictures, run_job
from laion_assets.settings import Settings, SettingsError
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pictures.test_add_pictures import bring, images, read_facts, texts

pytestmark = pytest.mark.slow


def write(write_shard: WriteShard, rows: int = 12, **columns: Any) -> Path:
    pictures = [paint(n, 64, 48) if n % 3 else None for n in range(rows)]
    sizes: Mapping[str, Any] = {"width": [640] * rows, "height": [480] * rows}
    jpg = pa.array(pictures, pa.binary())
    return write_shard("a", **{**texts(rows), **sizes, "jpg": jpg, **columns})


def run(settings: Settings, instance: dg.DagsterInstance, job: str) -> dict[str, Any]:
    outcome = run_job(build_defs(settings).resolve_job_def(job), instance, "a")
    assert outcome.reason is None
    return outcome.metadata.get("pictures", {})


def run_checks(
    settings: Settings, instance: dg.DagsterInstance
) -> dict[str, dg.AssetCheckEvaluation]:
    """Runs the refresh, and returns what its checks say."""
    job = build_defs(settings).resolve_job_def("refresh_counts")
    result = job.execute_in_process(instance=instance)
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def test_pictures_of_a_shard_are_added_by_their_job(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write(write_shard)
    discover_shards(settings, instance)
    run(settings, instance, "ingest_shards")
    assert find_without_pictures(settings, ["a"]) == ["a"]

    metadata = run(settings, instance, "add_pictures")

    assert (metadata["pictures"], metadata["percent_with_picture"]) == (8, 66.67)
    assert str(metadata["samples"]).startswith("![Eight pictures](data:image/png;base64,")
    assert find_without_pictures(settings, ["a"]) == []
    assert images(settings) == [paint(n, 64, 48) if n % 3 else None for n in range(12)]

    # A new load of the same file has them at once, and is not behind.
    run(settings, instance, "ingest_shards")
    assert images(settings)[1] == paint(1, 64, 48)
    assert find_without_pictures(settings, ["a"]) == []
    assert run(settings, instance, "add_pictures")["pictures"] == 8
    assert find_without_pictures(settings, ["a"]) == []


@pytest.mark.exhaustive
def test_a_shard_without_pictures_is_not_behind(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", **texts(3))
    discover_shards(settings, instance)
    run(settings, instance, "ingest_shards")
    assert find_without_pictures(settings, ["a"]) == []
    assert run(settings, instance, "add_pictures")["pictures"] == 0
    assert [row[1] for row in read_facts(settings)] == ["not_given"] * 3


@pytest.mark.exhaustive
def test_none_keeps_no_pictures(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    from dataclasses import replace

    settings = replace(settings, pictures="none")
    write(write_shard)
    discover_shards(settings, instance)
    run(settings, instance, "ingest_shards")
    assert run(settings, instance, "add_pictures") == {}
    assert "image" not in LanceStore(settings.lance_dir).open("images").schema.names
    assert find_without_pictures(settings, ["a"]) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            "fetch",
            "LAION_PICTURES: `fetch` needs LAION_FETCH_CONTACT; set it to an e-mail address or a "
            "web page that servers may write to",
        ),
        ("all", "LAION_PICTURES: 'all' is not one of given, fetch, none"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(tmp_path: Path, value: str, reason: str) -> None:
    environ = {"LAION_DATA_DIR": str(tmp_path), "LAION_PICTURES": value}
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment(environ)
    assert str(refusal.value) == reason
    assert Settings.from_environment({**environ, "LAION_PICTURES": " None "}).pictures == "none"


@pytest.mark.parametrize("contact", ["me@example.org", "https://example.org/about-me"])
def test_fetching_needs_somebody_to_write_to(tmp_path: Path, contact: str) -> None:
    environ = {"LAION_DATA_DIR": str(tmp_path), "LAION_PICTURES": "fetch"}

    settings = Settings.from_environment({**environ, "LAION_FETCH_CONTACT": contact})

    assert (settings.pictures, settings.fetch_contact) == ("fetch", contact)
    for bad in ("me", "a b@c.org", "me@example.org\r\nX: y", "ftp://example.org"):
        with pytest.raises(SettingsError, match="no e-mail address and no web page"):
            Settings.from_environment({**environ, "LAION_FETCH_CONTACT": bad})


def test_checks_find_pictures_that_are_not_what_the_tables_say(
    settings: Settings, write_shard: WriteShard
) -> None:
    database, store = Database(settings.database), LanceStore(settings.lance_dir)
    source = write(write_shard, width=[640] * 11 + [100], height=[480] * 12)
    bring(settings, source)
    assert find_broken(database, store) == (8, [])
    (shapes,) = find_other_shapes(database).records
    assert (shapes["picture_count"], shapes["other_count"]) == (8, 1)

    with database.write() as connection:
        connection.execute("UPDATE pictures SET byte_count = 7 WHERE row_index = 4")
    count, broken = find_broken(database, store)
    assert (count, [(b.row_index, b.what) for b in broken]) == (8, [(4, "another picture")])


def bring_part(settings: Settings, write_shard: WriteShard, shard: str, share: float) -> None:
    """Brings a shard of 40 rows, of which this share has a picture."""
    pictures = [paint(n, 16, 16) if n < share * 40 else None for n in range(40)]
    jpg = pa.array(pictures, pa.binary())
    bring(settings, write_shard(shard, **texts(40, shard), jpg=jpg))


@pytest.mark.exhaustive
def test_a_shard_of_which_few_pictures_came_stands_out(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    for shard, share in {"a": 1.0, "b": 0.9, "none": 0.0, "few": 0.6}.items():
        bring_part(settings, write_shard, shard, share)
    database = Database(settings.database)
    # Two others are too few, and the one that brings none is no other.
    assert find_low_shares(database).records == []

    bring_part(settings, write_shard, "c", 0.8)

    # Not the median of all, which is 85 %.
    expected = {
        "shard": "few",
        "row_count": 40,
        "picture_count": 24,
        "share_percent": 60.0,
        "median_of_others_percent": 90.0,
    }
    assert find_low_shares(database).records == [expected]
    result = run_checks(settings, instance)["pictures_came_as_of_other_shards"]
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.metadata["shards_with_few_pictures"].value == 1

    # One that failed to bring any of those that it should have is compared too.
    status = ["failed_to_download"] * 40
    bring(settings, write_shard("failed", **texts(40), status=status))
    assert [r["shard"] for r in find_low_shares(database).records] == ["failed", "few"]


@pytest.mark.exhaustive
def test_given_pictures_have_the_md5_of_their_source(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    pictures = [paint(n, 16, 16) for n in range(10)]
    md5 = [hashlib.md5(p, usedforsecurity=False).hexdigest() for p in pictures]
    jpg = pa.array(pictures, pa.binary())
    database, store = Database(settings.database), LanceStore(settings.lance_dir)
    bring(settings, write_shard("upper", **texts(10), jpg=jpg, md5=[m.upper() for m in md5]))
    # As img2dataset writes it where it made pictures smaller.
    bring(settings, write_shard("before", **texts(10), jpg=jpg, md5=["0" * 32] * 10))
    bring(settings, write_shard("silent", **texts(10), jpg=jpg))
    assert find_other_md5(database, store) == (10, [])

    exchanged = [*md5[:8], md5[9], md5[8]]
    bring(settings, write_shard("exchanged", **texts(10), jpg=jpg, md5=exchanged))

    agreeing, other = find_other_md5(database, store)
    assert agreeing == 18
    assert [(o.shard, o.row_index) for o in other] == [("exchanged", 8), ("exchanged", 9)]
    result = run_checks(settings, instance)["picture_md5_agree"]
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)


@pytest.mark.exhaustive
def test_no_sample_may_be_unsafe_by_probability_or_else_by_label(
    settings: Settings, write_shard: WriteShard
) -> None:
    punsafe = pa.array([None, None, None, None, None, 0.1, 0.9], pa.float32())
    labels = ["NSFW", " unsure", "1", "UNLIKELY", None, "NSFW", "UNLIKELY"]
    pictures = pa.array([paint(n) for n in range(7)], pa.binary())
    bring(settings, write_shard("a", **texts(7), punsafe=punsafe, nsfw=labels, jpg=pictures))

    strip = draw_samples(Database(settings.database), LanceStore(settings.lance_dir), "a")

    assert strip is not None
    with Image.open(io.BytesIO(base64.b64decode(strip.partition(",")[2]))) as picture:
        assert picture.width // SIDE == 3
        # Of rows 3, 4 and 5, in this order.
        drawn = picture.convert("RGB")
    for place, row in enumerate((3, 4, 5)):
        with Image.open(io.BytesIO(paint(row))) as expected:
            wanted = expected.convert("RGB").resize((8, 6), Image.Resampling.BOX)
        box = (place * SIDE + 16, 24, place * SIDE + 80, 72)
        found = drawn.crop(box).resize((8, 6), Image.Resampling.BOX)
        difference = np.abs(np.asarray(found, int) - np.asarray(wanted, int)).mean()
        assert difference < 10


@pytest.mark.exhaustive
def test_the_checks_run_with_the_refresh(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    bring(settings, write(write_shard))
    results = run_checks(settings, instance)
    names = ("pictures_decode", "picture_sizes_agree", "picture_md5_agree")
    assert all(results[name].passed for name in (*names, "pictures_came_as_of_other_shards"))
