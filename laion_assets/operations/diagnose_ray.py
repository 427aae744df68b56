"""What `laion doctor` finds of Ray: whether its nodes are alike, and reach what all share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from laion_assets.errors import LaionError
from laion_assets.operations.finding import Finding
from laion_assets.operations.ray_node_report import REPORT_MARK, list_versions

if TYPE_CHECKING:
    from laion_assets.runs.ray_cluster import Node
    from laion_assets.settings import Settings

# A node starts a process, which imports what it tells of.
LIMIT_S = 120
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


def look_at_ray(settings: Settings) -> Iterator[Finding]:
    """Finds a cluster that cannot be reached, and nodes that are other than this machine."""
    from laion_assets.runs.ray_cluster import check_library, list_nodes

    if settings.ray is None:
        return
    check_library()
    nodes = list_nodes(settings.ray)
    slots = sum(node.slots for node in nodes)
    if not slots:
        yield Finding.wrong(
            "ray",
            f"LAION_RAY: {settings.ray} has no node with a processor for runs; start some with "
            f"`ray start --address=… --num-cpus=2`",
        )
    else:
        yield Finding.sound(
            "ray", f"{settings.ray} has {len(nodes)} nodes for {slots} runs at once"
        )
    reports = _ask_nodes(settings.ray)
    for node in nodes:
        yield _judge(node, reports.get(node.node_id), settings)


def _judge(node: Node, report: dict[str, Any] | None, settings: Settings) -> Finding:
    """Returns what is wrong on a node, in one line."""
    if report is None:
        return Finding.wrong(
            "ray", f"node {node.address}: does not answer within {LIMIT_S} s; look at its log"
        )
    if "error" in report:
        return Finding.wrong(
            "ray",
            f"node {node.address}: {report['error']}; install there what is installed here",
        )
    wrong = [
        f"{name} is {there.get(name) or 'missing'} there and {here[name] or 'missing'} here"
        for here, there in (
            (list_versions(), report["versions"]),
            (name_places(settings), report["places"]),
        )
        for name in here
        if there.get(name) != here[name]
    ]
    wrong = [*wrong, *(["make both alike"] if wrong else []), *report["wrong"]]
    if wrong:
        return Finding.wrong("ray", f"node {node.address}: {'; '.join(wrong)}")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return Finding.sound("ray", f"node {node.address}: {versions}, as here")


def name_places(settings: Settings) -> dict[str, str | None]:
    """Returns where tables and history are, without passwords, and which columns are declared."""
    from laion_assets.stores.postgres import name_catalog

    file = settings.curation_file
    declared = hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else None
    return {
        "curation.toml": declared,
        "LAION_DATA_DIR": settings.bucket,
        "LAION_CATALOG": name_catalog(settings.catalog) if settings.catalog else None,
    }


def _ask_nodes(ray: str) -> dict[str, dict[str, Any]]:
    """Returns what each node says, by its id.

    Raises:
        LaionError: the job that asks them did not succeed.
    """
    from laion_assets.runs.ray_cluster import ask, start_job, stop_job

    job = start_job(ray, "python -m laion_assets.operations.ray_node_report")
    limit = time.monotonic() + LIMIT_S
    while (state := ask(ray, f"api/jobs/{job}"))["status"] not in _ENDED:
        if time.monotonic() > limit:
            stop_job(ray, job)
            break
        time.sleep(0.5)
    logs = str(ask(ray, f"api/jobs/{job}/logs")["logs"])
    lines = [line.partition(REPORT_MARK)[2] for line in logs.splitlines() if REPORT_MARK in line]
    if state["status"] == "FAILED" and not lines:
        said = [line for line in logs.splitlines() if line.strip()] or [str(state["message"])]
        raise LaionError(
            f"LAION_RAY: the job that asks the nodes failed ({said[-1].strip()}); install there "
            "what is installed here",
            code="ray-job-failed",
        )
    reports = [json.loads(line) for line in lines]
    return {report["node"]: report for report in reports}
