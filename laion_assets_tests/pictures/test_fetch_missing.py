"""Pictures that a shard does not bring come from their URLs: once, and beside those it brings."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from PIL import Image

from docs.generate_reference import FETCH_METADATA, METADATA
from laion_assets.definitions import build_defs
from laion_assets.pictures import fetch_missing
from laion_assets.pictures.fetch_missing import find_passing
from laion_assets.pictures.resource import PictureRules
from laion_assets.releases.catalog import find_release
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pictures.test_add_pictures import add, read_lance
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.picture_server import ADDRESS, PictureServer, serve_pictures, status
from laion_assets_tests.servers.picture_server import picture as send_picture

pytestmark = pytest.mark.slow

ROWS = 9
LARGE = paint(100, 800, 600)
CONTACT = "somebody@example.org"


@pytest.fixture
def server() -> Iterator[PictureServer]:
    """Has a picture for each row of a shard but for the rows named here."""
    with serve_pictures() as served:
        served.answers |= {f"/{row}.jpg": send_picture(LARGE) for row in range(ROWS)}
        served.answers["/3.jpg"] = status(404)
        served.answers["/4.jpg"] = status(503)
        served.answers["/5.jpg"] = send_picture(b"<html>")
        yield served


def write(write_shard: WriteShard, server: PictureServer, shard: str = "a") -> Path:
    """Brings the pictures of two rows; one is unsafe, and one URL stands twice."""
    host = f"{ADDRESS}:{server.port}"
    urls = [f"http://{host}/{row}.jpg" for row in range(ROWS)]
    urls[8] = urls[7]
    given = [paint(row) if row < 2 else None for row in range(ROWS)]
    return write_shard(
        shard,
        url=urls,
        caption=[f"row {row}" for row in range(ROWS)],
        punsafe=pa.array([0.9 if row == 6 else None for row in range(ROWS)], pa.float32()),
        jpg=pa.array(given, pa.binary()),
    )


def run(
    settings: Settings, instance: dg.DagsterInstance, shard: str = "a", *, is_retry: bool = False
) -> dict[str, Any]:
    """Runs the job `add_pictures`, with the address of the test's server allowed."""
    defs = build_defs(replace(settings, pictures="fetch", fetch_contact=CONTACT))
    job = defs.resolve_job_def("add_pictures")
    rules = PictureRules.build(replace(settings, pictures="fetch", fetch_contact=CONTACT))
    resources = {
        "picture_rules": {
            "config": {
                **rules.model_dump(exclude_none=True),
                "allowed_networks": [f"{ADDRESS}/32"],
                "attempts": 1,
                "time_s": 20,
            }
        }
    }
    config = {"resources": resources, "ops": {"pictures": {"config": {"is_retry": is_retry}}}}
    outcome = run_job(job, instance, shard, config)
    if outcome.reason is not None:
        raise AssertionError(outcome.reason)
    return outcome.metadata["pictures"]


def read_facts(settings: Settings, shard: str = "a") -> dict[int, list[object]]:
    query = (
        "SELECT row_index, source, status, reason, http_status FROM pictures "
        "WHERE shard = ? ORDER BY row_index"
    )
    with Database.of(settings).read() as connection:
        return {row: facts for row, *facts in connection.execute(query, [shard]).fetchall()}


def ingest(settings: Settings, instance: dg.DagsterInstance, shard: str = "a") -> None:
    discover_shards(settings, instance)
    outcome = run_job(build_defs(settings).resolve_job_def("ingest_shards"), instance, shard)
    assert outcome.reason is None


def test_what_a_shard_lacks_is_fetched_once(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(write_shard, server)
    ingest(settings, instance)
    caplog.set_level("INFO", "laion_assets")

    metadata = run(settings, instance)

    rows = read_lance(settings)
    assert [rows[row]["image"] for row in (0, 1)] == [paint(0), paint(1)]
    for row in (2, 7, 8):
        with Image.open(io.BytesIO(rows[row]["image"])) as image:
            assert image.size == (341, 256)
        assert (rows[row]["original_width"], rows[row]["original_height"]) == (800, 600)
        assert rows[row]["status"] == "success"
        assert rows[row]["picture_sha256"]
        assert rows[row]["phash"] is not None
    assert read_facts(settings) == {
        0: ["given", "success", None, None],
        1: ["given", "success", None, None],
        2: ["fetched", "success", None, 200],
        3: [None, "failed_to_download", "http", 404],
        4: [None, "failed_to_download", "http", 503],
        5: [None, "failed_to_resize", "not_a_picture", 200],
        6: [None, "not_given", None, None],
        7: ["fetched", "success", None, 200],
        8: ["fetched", "success", None, 200],
    }
    assert metadata["pictures"] == 5
    assert metadata.keys() == {*METADATA["pictures"], *FETCH_METADATA["pictures"], "duration_s"}
    assert (metadata["urls_asked"], metadata["pictures_per_second"] > 0) == (5, True)
    # Rows, of which two have one URL.
    chart = metadata["link_rot"].splitlines()[1]
    assert (chart.count("█"), chart.count("░")) == (20, 20)
    assert chart.startswith(ADDRESS)
    assert chart.endswith(" 50.0 % of 6")
    host = ADDRESS
    assert sorted(server.asked) == sorted(
        [f"{host}/robots.txt", *(f"{host}/{row}.jpg" for row in (2, 3, 4, 5, 7))]
    )

    last = [r.getMessage() for r in caplog.records if r.name == "laion_assets.pictures.asset"][-1]
    told, reasons, hosts = last.split("; ")
    assert told.startswith("a: 5 of 5 URLs, 2 pictures (40 %), ")
    assert sorted(reasons.split(", ")) == ["http 2", "not_a_picture 1"]
    assert hosts == f"worst hosts {ADDRESS} 3"

    asked = len(server.asked)
    again = run(settings, instance)

    assert len(server.asked) == asked
    assert again["pictures"] == 5
    assert read_lance(settings) == rows


@pytest.mark.exhaustive
def test_a_picture_that_is_refused_to_us_is_no_dead_link(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
) -> None:
    server.answers["/2.jpg"] = send_picture(LARGE, "X-Robots-Tag: noai")
    write(write_shard, server)
    ingest(settings, instance)

    metadata = run(settings, instance)

    (site,) = [record.data for record in metadata["dead_by_site"].records]
    assert (site["asked"], site["got"], site["refused"], site["dead_percent"]) == (6, 2, 1, 50.0)


@pytest.mark.exhaustive
def test_a_shard_of_which_nothing_came_is_described(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
) -> None:
    server.answers.clear()
    url = server.url("/1.jpg", ADDRESS)
    write_shard("a", url=[url, url], caption=["a fox", "a hare"])
    ingest(settings, instance)

    metadata = run(settings, instance)

    (site,) = [record.data for record in metadata["dead_by_site"].records]
    assert (site["asked"], site["got"], site["refused"], site["dead_percent"]) == (2, 0, 0, 100.0)
    assert (metadata["pictures"], metadata["pictures_per_second"]) == (0, 0)
    # Nothing is left to be asked for.
    assert run(settings, instance)["urls_asked"] == 0


@pytest.mark.exhaustive
def test_each_run_asks_in_another_order(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
) -> None:
    count = 40
    server.answers = {f"/{n}.jpg": status(503) for n in range(count)}
    urls = [server.url(f"/{n}.jpg", ADDRESS) for n in range(count)]
    write_shard("a", url=urls, caption=[f"row {n}" for n in range(count)])
    ingest(settings, instance)
    orders = []
    for is_retry in (False, True):
        server.asked.clear()
        run(settings, instance, is_retry=is_retry)
        orders.append([place for place in server.asked if "robots" not in place])
    # Given up for the first run, but not for ever.
    assert len(orders[0]) < count
    assert set(orders[1]) != set(orders[0])


@pytest.mark.exhaustive
def test_another_shard_with_the_same_urls_asks_nobody(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
) -> None:
    for shard in ("a", "b"):
        write(write_shard, server, shard)
        ingest(settings, instance, shard)
    run(settings, instance, "a")
    asked = len(server.asked)

    run(settings, instance, "b")

    assert len(server.asked) == asked
    assert read_facts(settings, "b") == read_facts(settings, "a")


@pytest.mark.exhaustive
@pytest.mark.parametrize("settings", ["bucket"], indirect=True)
def test_another_machine_asks_nobody_for_what_one_has_fetched_that_died(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
    buckets: Buckets,
    bucket: str,
) -> None:
    write(write_shard, server)
    ingest(settings, instance)
    fetching = replace(settings, pictures="fetch", fetch_contact=CONTACT)
    rules = PictureRules.build(fetching).model_copy(
        update={"allowed_networks": [f"{ADDRESS}/32"], "attempts": 1}
    )
    chunks = ShardChunks.of(LanceStore.of(settings), "a", "pictures", "keep_ratio-256-90")
    cache = replace(rules.open_cache(), chunks=chunks)
    # It dies before it has put any of them into the table.
    add(settings)
    fetch_missing.fetch_missing(
        Database.of(settings), cache, "a", rules.fetch_rules, print, max_punsafe=0.5
    )
    asked = len(server.asked)
    assert any(name.endswith(".arrow") for name in buckets.list_names(bucket))
    elsewhere = replace(settings, data_dir=settings.data_dir.with_name("elsewhere"))
    shutil.copytree(settings.data_dir / "shards", elsewhere.data_dir / "shards")
    elsewhere = replace(elsewhere, shards=settings.shards)

    metadata = run(elsewhere, instance)

    assert len(server.asked) == asked
    assert (metadata["pictures"], metadata["urls_asked"]) == (5, 0)
    assert [facts[0] for facts in read_facts(settings).values()].count("fetched") == 3
    assert not any(name.endswith(".arrow") for name in buckets.list_names(bucket))


@pytest.fixture
def fetched(
    settings: Settings,
    instance: dg.DagsterInstance,
    write_shard: WriteShard,
    server: PictureServer,
) -> PictureServer:
    """The server that a shard's pictures were fetched from."""
    write(write_shard, server)
    ingest(settings, instance)
    run(settings, instance)
    return server


@pytest.mark.exhaustive
def test_a_retry_asks_for_what_may_have_passed_alone(
    settings: Settings, instance: dg.DagsterInstance, fetched: PictureServer
) -> None:
    assert find_passing(Database(settings.database)) == {"a": 1}
    fetched.asked.clear()
    fetched.answers |= {"/3.jpg": send_picture(LARGE), "/4.jpg": send_picture(LARGE)}

    metadata = run(settings, instance, is_retry=True)

    assert sorted(fetched.asked) == [f"{ADDRESS}/4.jpg", f"{ADDRESS}/robots.txt"]
    assert metadata["pictures"] == 6
    assert read_facts(settings)[4] == ["fetched", "success", None, 200]
    assert find_passing(Database(settings.database)) == {}


@pytest.mark.exhaustive
def test_a_release_says_when_its_pictures_were_fetched(
    settings: Settings, fetched: PictureServer
) -> None:
    assert fetched.asked
    (columns,) = find_release(LanceStore(settings.lance_dir), refresh(settings)).columns
    came, given = columns.sources
    assert (given.source, given.picture_count) == ("given", 2)
    assert (given.first_fetched_at, given.last_fetched_at) == (None, None)
    assert (came.source, came.picture_count) == ("fetched", 3)
    assert came.first_fetched_at is not None
    assert came.last_fetched_at is not None
    age = datetime.now(tz=UTC) - came.first_fetched_at
    assert came.first_fetched_at <= came.last_fetched_at
    assert timedelta() <= age < timedelta(hours=1)


@pytest.mark.exhaustive
def test_a_new_load_keeps_what_was_fetched(
    settings: Settings, instance: dg.DagsterInstance, fetched: PictureServer
) -> None:
    before = read_lance(settings)
    asked = len(fetched.asked)

    ingest(settings, instance)

    assert {r: row["image"] for r, row in read_lance(settings).items()} == {
        r: row["image"] for r, row in before.items()
    }
    run(settings, instance)
    assert len(fetched.asked) == asked
    assert read_lance(settings) == before


@pytest.mark.exhaustive
def test_a_fetch_that_does_not_fit_on_the_disk_asks_nobody(
    settings: Settings,
    write_shard: WriteShard,
    instance: dg.DagsterInstance,
    server: PictureServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(write_shard, server)
    ingest(settings, instance)
    monkeypatch.setattr(fetch_missing, "BYTES_A_PIXEL", 1e15)

    with pytest.raises(AssertionError, match=r"^fetching 5 pictures of shard 'a': needs up to"):
        run(settings, instance)

    assert server.asked == []
    monkeypatch.undo()
    run(settings, instance)
    # What was fetched counts for the room that Lance needs.
    fetching = replace(settings, pictures="fetch", fetch_contact=CONTACT)
    cache = PictureRules.build(fetching).open_cache()
    urls = [f"http://{ADDRESS}:{server.port}/{row}.jpg" for row in range(ROWS)]
    known = cache.read(urls).values()
    assert cache.measure(urls) == sum(len(found.picture or b"") for found in known) > 0
