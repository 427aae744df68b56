"""Runs on a Ray cluster of three nodes, with Postgres and a bucket, on loopback.

Each test of `on_ray.py` runs in a network of its own, and takes some minutes.
"""

from pathlib import Path

import pytest

from laion_assets_tests.servers.ray_nodes import find_obstacle, run_alone

FILE = Path(__file__).with_name("on_ray.py")
OTHERS = (
    "test_nodes_that_die_in_later_steps_change_nothing",
    "test_a_run_that_lost_its_lock_commits_nothing_and_begins_again",
    "test_outages_and_a_shard_that_two_nodes_load_change_nothing",
    "test_ctrl_c_cancels_the_runs_and_the_next_command_goes_on",
    "test_the_demo_runs_on_ray_and_goes_again",
    "test_nodes_share_a_shard_and_one_of_them_dies",
    "test_runs_that_take_every_slot_end",
    "test_nodes_build_parts_of_an_index",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("test_a_node_that_dies_changes_nothing", marks=pytest.mark.exhaustive),
        *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS),
    ],
)
def test_on_three_nodes(name: str) -> None:
    if obstacle := find_obstacle():
        pytest.skip(obstacle)
    result = run_alone(f"{FILE}::{name}")
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout, result.stdout
