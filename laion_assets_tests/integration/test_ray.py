"""Runs on a Ray cluster of three nodes, with Postgres and a bucket, on loopback.

Each test of `on_ray.py` runs in a network of its own; it takes minutes.
"""

from pathlib import Path

import pytest

from laion_assets_tests.servers.ray_nodes import find_obstacle, run_alone

pytestmark = pytest.mark.exhaustive
FILE = Path(__file__).with_name("on_ray.py")


@pytest.mark.parametrize(
    "name",
    [
        "test_a_node_that_dies_changes_nothing",
    ],
)
def test_on_three_nodes(name: str) -> None:
    if obstacle := find_obstacle():
        pytest.skip(obstacle)
    result = run_alone(f"{FILE}::{name}")
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout, result.stdout
