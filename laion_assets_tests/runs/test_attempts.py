"""What a tick tells the next one."""

import json

import pytest

from laion_assets.runs.attempts import Attempt, Memory, name_work

MINUTE_S = 60


def test_pauses_grow_and_then_stay_at_an_hour() -> None:
    pauses = [Attempt(count).pause(1000).next_at - 1000 for count in range(1, 8)]

    assert [pause // MINUTE_S for pause in pauses] == [1, 5, 15, 60, 60, 60, 60]


def test_a_cursor_is_read_as_it_was_written() -> None:
    memory = Memory({}, asked_at=5, waiting_since=7, said="x")
    memory.attempts[name_work("a", "fetch", "1")] = Attempt(1)
    memory.attempts[name_work("b", "fetch", "1")] = Attempt(3, 1_800_000_000)
    memory.attempts[name_work("c", "load", "1")] = Attempt(1).end()

    assert Memory.read(memory.write()) == memory


@pytest.mark.parametrize("cursor", [None, "", "[]", '["a|1|"]', "{", "12", '{"other": 1}'])
def test_a_cursor_of_another_version_counts_as_empty(cursor: str | None) -> None:
    assert Memory.read(cursor) == Memory()


def test_the_cursor_stays_small_if_thousands_of_shards_fail() -> None:
    memory = Memory()
    for number in range(3000):
        key = name_work(f"train-{number:05}-of-03000", "fetch", "etag:something long")
        memory.attempts[key] = Attempt(number % 5 + 1, 1_800_000_000 + number % 50)

    assert len(memory.attempts) == 3000
    assert len(memory.write()) < 40_000
    assert len(json.loads(memory.write())["attempts"]) <= 250


def test_work_that_is_done_is_forgotten() -> None:
    done, due, unknown = (name_work(shard, "fetch", "1") for shard in ("a", "b", "c"))
    memory = Memory({done: Attempt(1), due: Attempt(2), unknown: Attempt(3)})

    memory.forget_others([due, name_work("d", "fetch", "1")], ["c", "d"])

    assert memory.attempts == {due: Attempt(2), unknown: Attempt(3)}
    assert memory.find_attempts("c") == [Attempt(3)]
