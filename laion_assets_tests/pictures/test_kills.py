"""A process that is killed while it adds pictures leaves each on its row, and none twice."""

from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import pytest

from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.integration.test_crashes import (
    in_many_moments,
    kill_in_the_middle,
    moments,
)
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pictures.test_add_pictures import add, bring, images, read_facts, texts
from laion_assets_tests.pipeline import copy, load

pytestmark = pytest.mark.slow

ROWS, MORE = 400, 50
OLD: list[bytes | None] = [paint(n, 16, 16) for n in range(ROWS)]
NEW: list[bytes | None] = [paint(1000 + n, 16, 16) for n in range(ROWS + MORE)]
# With one content's rows and the other's pictures, as a new load leaves them.
STATES = {
    "old": OLD,
    "new": NEW,
    "the old pictures on the new rows": [*OLD, *[None] * MORE],
    "the new pictures on the old rows": NEW[:ROWS],
}


def bring_forever(folder: Path, sources: list[Path], ready: Connection) -> None:
    """Replaces the shard and its pictures by one content and the other, until it is killed."""
    settings = Settings.default(folder)
    ready.send("ready")
    while True:
        for source in sources:
            bring(settings, source)


def add_forever(folder: Path, _sources: list[Path], ready: Connection) -> None:
    """Adds the pictures of the shard again and again."""
    settings = Settings.default(folder)
    ready.send("ready")
    while True:
        add(settings)


@pytest.fixture
def sources(write_shard: WriteShard) -> list[Path]:
    """Two contents of one shard, the second with other pictures and more rows."""
    found = []
    for word, pictures in (("new", NEW), ("old", OLD)):
        source = write_shard("a", **texts(len(pictures)), jpg=pa.array(pictures, pa.binary()))
        kept = source.parent / word / "a.parquet"
        kept.parent.mkdir()
        found.append(source.rename(kept))
    return found


def check_whole(settings: Settings, pictures: list[bytes | None]) -> None:
    """Checks that both stores have each row once, with its picture."""
    assert images(settings) == pictures
    assert LanceStore(settings.lance_dir).open("images").count_rows("shard = 'a'") == len(pictures)
    facts = read_facts(settings)
    lengths = [(n, len(p or b"")) for n, p in enumerate(pictures)]
    assert [(row[0], row[5]) for row in facts] == lengths
    assert {row[1] for row in facts} == {"success"}


@pytest.mark.exhaustive
@in_many_moments
def test_a_killed_process_leaves_each_picture_on_its_row(
    settings: Settings, sources: list[Path], moment_count: int
) -> None:
    new, old = sources
    bring(settings, old)
    for delay_s in moments(moment_count, 3):
        kill_in_the_middle(bring_forever, settings.data_dir, sources, delay_s)

        assert images(settings) in STATES.values()
        with Database(settings.database).read() as connection:
            query = "SELECT count(*), count(DISTINCT row_index) FROM pictures"
            assert len(set(connection.execute(query).fetchone() or ())) == 1

        bring(settings, new)
        check_whole(settings, NEW)
        bring(settings, old)
        check_whole(settings, OLD)


@pytest.mark.exhaustive
@in_many_moments
def test_a_process_killed_at_its_first_pictures_is_completed_by_the_next(
    settings: Settings, write_shard: WriteShard, moment_count: int
) -> None:
    # The table has the columns already.
    bring(settings, write_shard("b", **texts(1), jpg=pa.array([paint(1)], pa.binary())))
    for number, delay_s in enumerate(moments(moment_count, 0.8)):
        # Rows that carry nothing over.
        columns = texts(ROWS, f"round {number}")
        source = write_shard("a", **columns, jpg=pa.array(OLD, pa.binary()))
        load(settings, "a", source)
        copy(settings, "a")
        assert images(settings) == [None] * ROWS
        kill_in_the_middle(add_forever, settings.data_dir, [], delay_s)

        assert images(settings) in (OLD, [None] * ROWS)
        add(settings)
        check_whole(settings, OLD)
