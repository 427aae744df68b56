"""The asset, its checks and its job, as Dagster runs them."""

import base64
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
from laion_assets.pictures.broken_pictures import find_broken, find_other_shapes
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


def test_a_shard_without_pictures_is_not_behind(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", **texts(3))
    discover_shards(settings, instance)
    run(settings, instance, "ingest_shards")
    assert find_without_pictures(settings, ["a"]) == []
    assert run(settings, instance, "add_pictures")["pictures"] == 0
    assert [row[1] for row in read_facts(settings)] == ["not_given"] * 3


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


def test_the_checks_run_with_the_refresh(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    bring(settings, write(write_shard))
    defs = build_defs(settings)
    result = defs.resolve_job_def("refresh_counts").execute_in_process(instance=instance)
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed["pictures_decode"]
    assert passed["picture_sizes_agree"]
