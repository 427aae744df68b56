"""Dagster's instance as `dagster.yaml` makes it, and what stands for the head of a Ray cluster."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.servers.file_server import FileServer, send

NODES = [
    {"node_id": "a", "node_ip": "10.0.0.1", "state": "ALIVE", "resources_total": {"memory": 5.0}},
    {"node_id": "b", "node_ip": "10.0.0.3", "state": "ALIVE", "resources_total": {"CPU": 2.0}},
    {"node_id": "c", "node_ip": "10.0.0.2", "state": "ALIVE", "resources_total": {"CPU": 4.0}},
    {"node_id": "d", "node_ip": "10.0.0.4", "state": "DEAD", "resources_total": {"CPU": 8.0}},
]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the repository's own file."""
    monkeypatch.setenv("LAION_HISTORY_DIR", str(tmp_path / "history"))
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def head(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """What Ray's head says of four nodes, one of which is dead."""
    answer = {"result": True, "data": {"result": {"total": 4, "result": NODES}}}
    server.put("/api/v0/nodes", send(200, json.dumps(answer).encode()))
    monkeypatch.setenv("LAION_RAY", server.origin)
    return server
