"""What `laion doctor` says of Ray; `test_ray.py` asks a real cluster."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from laion_assets.operations.diagnose_ray import look_at_ray
from laion_assets.operations.doctor import look
from laion_assets.operations.finding import Finding
from laion_assets.operations.ray_node_report import REPORT_MARK, list_versions
from laion_assets.settings import Settings
from laion_assets_tests.servers.file_server import FileServer, send

CATALOG = "postgresql://me:secret@host/laion"
PLACES = {
    "curation.toml": None,
    "LAION_DATA_DIR": "s3://some-bucket",
    "LAION_CATALOG": "postgresql://host/laion",
}
NODES = {"n1": "10.0.0.1", "n2": "10.0.0.2"}


@pytest.fixture
def cluster(settings: Settings, server: FileServer) -> Settings:
    """A head of two nodes, which says that each job has succeeded."""
    nodes = [
        {"node_id": i, "node_ip": ip, "state": "ALIVE", "resources_total": {"CPU": 2.0}}
        for i, ip in NODES.items()
    ]
    say(server, "/api/v0/nodes", {"data": {"result": {"result": nodes}}})
    say(server, "/api/jobs/", {"submission_id": "job"})
    say(server, "/api/jobs/job", {"status": "SUCCEEDED", "message": ""})
    return replace(settings, bucket="s3://some-bucket", catalog=CATALOG, ray=server.origin)


def say(server: FileServer, path: str, content: object) -> None:
    server.put(path, send(200, json.dumps(content).encode()))


def report(server: FileServer, **reports: dict[str, Any]) -> None:
    """Lets the job print what nodes say."""
    sound = {"versions": list_versions(), "places": PLACES, "wrong": []}
    lines = ["INFO connected", *(tell(sound, node, own) for node, own in reports.items())]
    say(server, "/api/jobs/job/logs", {"logs": "\n".join(lines)})


def tell(sound: dict[str, Any], node: str, own: dict[str, Any]) -> str:
    said = own if "error" in own else {**sound, **own}
    return f"(pid=1) {REPORT_MARK}{json.dumps({'node': node, **said})}"


def ask(settings: Settings) -> list[Finding]:
    def find() -> Iterator[Finding]:
        return look_at_ray(settings)

    return look("ray", find)


def test_nodes_that_are_alike_are_a_line_each(cluster: Settings, server: FileServer) -> None:
    report(server, n1={}, n2={})

    found = ask(cluster)

    assert [finding.is_sound for finding in found] == [True] * 3
    assert found[0].text.endswith("has 2 nodes for 4 runs at once")
    assert [finding.text.partition(":")[0] for finding in found[1:]] == [
        "node 10.0.0.1",
        "node 10.0.0.2",
    ]
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"versions": {**list_versions(), "duckdb": "1.0"}}, "duckdb is 1.0 there and "),
        ({"versions": {}}, "laion-assets is missing there and "),
        ({"versions": {**list_versions(), "code": "0" * 12}}, "code is 000000000000 there and "),
        (
            {"places": {**PLACES, "LAION_CATALOG": None}},
            "LAION_CATALOG is missing there and postgresql://",
        ),
        ({"wrong": ["LAION_CATALOG: it cannot be reached"]}, "it cannot be reached"),
        ({"error": "No module named 'laion_assets'"}, "No module named"),
    ],
)
def test_a_node_that_is_other_than_this_machine_is_named(
    cluster: Settings, server: FileServer, own: dict[str, Any], said: str
) -> None:
    report(server, n1={}, n2=own)

    *_, first, second = ask(cluster)

    assert first.is_sound
    assert not second.is_sound
    assert second.text.startswith("node 10.0.0.2: ")
    assert said in second.text


def test_a_node_that_says_nothing_is_named(cluster: Settings, server: FileServer) -> None:
    report(server, n1={})

    assert ask(cluster)[-1].text.startswith("node 10.0.0.2: does not answer")


def test_a_head_without_the_package_is_named(cluster: Settings, server: FileServer) -> None:
    say(server, "/api/jobs/job", {"status": "FAILED", "message": "exit code 1"})
    say(server, "/api/jobs/job/logs", {"logs": "python: No module named laion_assets\n"})

    *_, last = ask(cluster)

    assert not last.is_sound
    assert "(python: No module named laion_assets)" in last.text


def test_a_cluster_that_is_away_is_one_line(cluster: Settings) -> None:
    (found,) = ask(replace(cluster, ray="http://127.0.0.1:1"))

    assert not found.is_sound
    assert found.text.startswith("LAION_RAY: http://127.0.0.1:1 cannot be reached (")
    assert "start Ray there" in found.text


def test_without_ray_nothing_is_said(settings: Settings) -> None:
    assert ask(settings) == []
