"""Four processes add the vectors of seven shards, and are killed: each vector is on its row."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.embeddings.test_add_embeddings import add, encode, notes, read, texts
from laion_assets_tests.integration.test_crashes import moments
from laion_assets_tests.pipeline import copy, load

pytestmark = pytest.mark.slow

SHARDS = "abcdefg"
ROWS, PROCESSES = 500, 4
# A vector's bits say shard and row; the newer content of a shard has codes of its own.
APART, NEWER = 2048, 1024


def add_forever(folder: Path, seed: int, ready: Connection) -> None:
    """Adds the vectors of all shards, in an order of its own, until it is killed."""
    settings = Settings.default(folder)
    chance = random.Random(seed)  # noqa: S311
    ready.send("ready")
    while True:
        for shard in chance.sample(SHARDS, len(SHARDS)):
            # While it is being loaded, a run fails, and comes again.
            with contextlib.suppress(LaionError):
                add(settings, shard)
            # Lets others have the database.
            time.sleep(0.05)


def start(folder: Path, seed: int) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=add_forever, args=(folder, seed, there))
    process.start()
    assert here.recv() == "ready"
    return process


def list_codes(shard: str, rows: int, *, is_newer: bool = False) -> list[int]:
    """Returns the code of each row's vector."""
    first = SHARDS.index(shard) * APART + NEWER * is_newer
    return list(range(first, first + rows))


def write(write_shard: WriteShard, shard: str, rows: int, *, is_newer: bool = False) -> Path:
    """Writes a shard of which every seventh row is rejected."""
    columns = texts(rows, rejected=3)
    if is_newer:
        columns["caption"] = [caption and f"newer {caption}" for caption in columns["caption"]]
    vectors = encode(list_codes(shard, rows, is_newer=is_newer), "f2").tolist()
    path = write_shard(shard, **columns, img_emb=pa.array(vectors, pa.list_(pa.float16())))
    kept = path.parent / ("newer" if is_newer else "older") / path.name
    kept.parent.mkdir(exist_ok=True)
    return path.rename(kept)


@pytest.mark.exhaustive
@pytest.mark.parametrize("moment_count", [2, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_killed_processes_leave_each_vector_on_its_row(
    settings: Settings, write_shard: WriteShard, moment_count: int
) -> None:
    older = {shard: write(write_shard, shard, ROWS) for shard in SHARDS}
    newer = {s: write(write_shard, s, ROWS + 50, is_newer=True) for s in SHARDS}
    for shard, source in older.items():
        load(settings, shard, source)
        copy(settings, shard)
    current = {shard: list_codes(shard, ROWS) for shard in SHARDS}
    processes = [start(settings.data_dir, seed) for seed in range(PROCESSES)]
    for number, delay_s in enumerate(moments(moment_count, 0.5)):
        # One shard has a new content in the middle of it, and one process dies.
        shard = SHARDS[number % len(SHARDS)]
        is_newer = number // len(SHARDS) % 2 == 0
        source = (newer if is_newer else older)[shard]
        load(settings, shard, source)
        copy(settings, shard)
        current[shard] = list_codes(shard, ROWS + 50 * is_newer, is_newer=is_newer)
        time.sleep(delay_s)
        victim = processes.pop(0)
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        for name, codes in current.items():
            found = read(settings, name)
            assert [(r, v) for r, v in found.items() if v not in (codes[r], None)] == []
        processes.append(start(settings.data_dir, 100 + number))
    for process in processes:
        process.kill()
        process.join()

    for shard in SHARDS:
        add(settings, shard)

    assert {s: read(settings, s) for s in SHARDS} == {
        shard: {row: code for row, code in enumerate(codes) if row % 7 != 3}
        for shard, codes in current.items()
    }
    assert {n.shard: n.value_count for n in notes(settings).values()} == {
        shard: sum(row % 7 != 3 for row in range(len(codes))) for shard, codes in current.items()
    }
