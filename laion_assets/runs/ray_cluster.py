"""What Ray's head says of its nodes, asked over HTTP: nobody waits for the import of Ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from laion_assets.errors import LaionError, first_line
from laion_assets.settings import list_shared

LOGGER = logging.getLogger(__name__)
# The head is near.
TIMEOUT_S = 10
# The daemon looks at the queue every second.
KEPT_S = 5.0
# A step ends within 5 seconds of a signal; Ray kills after 3 if it is not told otherwise.
STOPPING_S = 10
# When each head was asked, and what it said.
_slots: dict[str, tuple[float, int]] = {}


@dataclass(frozen=True)
class Node:
    """A node that lives.

    Attributes:
        node_id: as Ray names it.
        address: its IP address.
        slots: runs that it takes at once: its processors, as `ray start` was told.
    """

    node_id: str
    address: str
    slots: int


def list_nodes(ray: str) -> list[Node]:
    """Returns the nodes that live, by address.

    Args:
        ray: where Ray takes jobs.

    Raises:
        LaionError: it cannot be reached.
    """
    answer = ask(ray, "api/v0/nodes", detail="true", limit="10000")
    nodes = [
        Node(node["node_id"], node["node_ip"], int((node["resources_total"] or {}).get("CPU", 0)))
        for node in answer["data"]["result"]["result"]
        if node["state"] == "ALIVE"
    ]
    return sorted(nodes, key=lambda node: node.address)


def count_slots(ray: str) -> int:
    """Returns how many runs the cluster takes at once; 0 while it cannot be reached."""
    asked_at, slots = _slots.get(ray, (0.0, 0))
    now = time.monotonic()
    if asked_at and now < asked_at + KEPT_S:
        return slots
    try:
        slots = sum(node.slots for node in list_nodes(ray))
    except LaionError as error:
        # What waits in the queue waits on: a job could not be given to it.
        LOGGER.warning("%s", error)
        slots = 0
    _slots[ray] = now, slots
    return slots


def start_job(ray: str, command: str) -> str:
    """Gives Ray a job that needs no processor, with the settings of this process; returns its name.

    Args:
        ray: where Ray takes jobs.
        command: of a shell, on the head.

    Raises:
        LaionError: Ray cannot be reached.
    """
    order = {"entrypoint": command, "runtime_env": {"env_vars": list_shared()}}
    answer = _request("POST", f"{ray}/api/jobs/", content=order)
    return str(_read(ray, answer)["submission_id"])


def stop_job(ray: str, name: str) -> None:
    """Asks Ray to end a job; one that has ended or was never there stays so.

    Raises:
        LaionError: Ray cannot be reached.
    """
    _request("POST", f"{ray}/api/jobs/{name}/stop")


def name_job(run_id: str) -> str:
    """Returns the name of the job that a run is, as dagster-ray gives it."""
    return f"dagster-run-{run_id}"


def write_variables(settings: Mapping[str, str] | None = None) -> list[str]:
    """Returns the variables that each run gets beside those of its node, as `NAME=value`.

    Args:
        settings: what the run is to have; None: the settings of this process.
    """
    shared = list_shared() if settings is None else settings
    variables = {**shared, "RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING_S)}
    return [f"{name}={value}" for name, value in variables.items()]


def check_library() -> None:
    """Checks that what gives runs to Ray is installed; nothing is imported.

    Raises:
        LaionError: the extra is not installed.
    """
    if find_spec("dagster_ray") is None or find_spec("ray") is None:
        raise LaionError(
            "LAION_RAY: needs more packages; run `pip install 'laion-assets[cluster]'`",
            code="ray-library-missing",
        )


def ask(ray: str, path: str, **parameters: str) -> dict[str, Any]:
    """Returns what the head answers.

    Raises:
        LaionError: it cannot be reached, or answers something else than JSON.
    """
    return _read(ray, _request("GET", f"{ray}/{path}", **parameters))


def _read(ray: str, answer: Any) -> dict[str, Any]:
    try:
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except (OSError, ValueError) as error:
        raise _unreachable(ray, error) from error
    return found


def _request(method: str, url: str, *, content: Any = None, **parameters: str) -> Any:
    import requests

    try:
        return requests.request(method, url, params=parameters, json=content, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise _unreachable(url.partition("/api/")[0], error) from error


def _unreachable(ray: str, error: Exception) -> LaionError:
    return LaionError(
        f"LAION_RAY: {ray} cannot be reached ({first_line(error)}); start Ray there, or correct "
        "the address",
        code="ray-unreachable",
        is_passing=True,
    )
