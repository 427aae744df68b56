"""Parts of an index that processes of their own build."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import lance
import pyarrow as pa
import pytest

from laion_assets.stores.index_parts import PartOrder, build_in_processes, start_building
from laion_assets.stores.sqlite_file import check_replaceable
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., PartOrder]:
    """Orders parts of the index of a table with three fragments."""
    uri = str(tmp_path / "images.lance")
    for number in range(3):
        rows = pa.table({"caption": [f"a fox {number}", "a wolf"]})
        lance.write_dataset(rows, uri, mode="append" if number else "create")

    def order(*fragments: int, column: str = "caption") -> PartOrder:
        version = lance.dataset(uri).version
        options = {"with_position": True, "memory_limit": 64}
        return PartOrder(uri, version, column, "INVERTED", "caption_idx", fragments, options)

    return order


@pytest.mark.exhaustive
def test_parts_come_in_the_order_in_which_they_were_asked_for(
    order: Callable[..., PartOrder],
) -> None:
    orders = [order(2), order(0, 1)]

    parts = build_in_processes(orders, 2)

    assert [sorted(part.fragment_ids) for part in parts] == [[2], [0, 1]]
    images = lance.dataset(orders[0].uri)
    images.commit_existing_index_segments("caption_idx", "caption", [*parts])
    assert images.to_table(full_text_query="fox").num_rows == 3


def test_what_lance_refuses_in_a_process_is_raised_here(order: Callable[..., PartOrder]) -> None:
    with pytest.raises(RuntimeError, match="'nothing' does not exist"):
        build_in_processes([order(0), order(1, column="nothing")], 2)


@pytest.mark.exhaustive
def test_an_error_of_ours_keeps_its_code(tmp_path: Path) -> None:
    refused = SimpleNamespace(column="text", build=partial(check_replaceable, tmp_path))

    with raises("export-place-taken"), start_building([refused]) as (built,):
        built.result()


@pytest.mark.exhaustive
def test_a_process_gets_variables_that_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_TEST_SET", "before")
    variables = {"LAION_TEST_SET": "new", "LAION_TEST_UNSET": "new"}
    orders = [SimpleNamespace(column="text", build=partial(os.getenv, name)) for name in variables]

    with start_building(orders, variables) as found:
        assert [each.result() for each in found] == ["before", "new"]


def test_a_process_that_is_not_done_is_ended_with_the_block() -> None:
    endless = SimpleNamespace(column="text", build=partial(time.sleep, 3_600))

    def stop() -> None:
        with start_building([endless]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()


def test_a_process_that_dies_is_an_error_in_one_line(
    order: Callable[..., PartOrder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the kernel ends it where memory is short.
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))

    with raises("index-process-died"):
        build_in_processes([order(0)], 2)


def test_a_process_ends_with_the_one_that_started_it() -> None:
    """One that was killed cannot end its own."""
    code = (
        "import os, laion_assets.stores.index_parts as parts; process = parts._start({}); "
        "print(process.pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    watch = os.pidfd_open(child)
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # Readable once it has ended.
        assert select.select([watch], [], [], 60)[0]
    finally:
        os.close(watch)
        parent.communicate()


def test_such_a_process_does_without_pandas() -> None:
    wanted = SimpleNamespace(column="caption", build=partial(find_spec, "pandas"))

    # Were it imported, it would be found.
    with start_building([wanted]) as (found,), pytest.raises(ModuleNotFoundError, match="pandas"):
        found.result()
