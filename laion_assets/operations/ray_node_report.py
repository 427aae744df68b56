"""A job of Ray in which each node says what is installed there, and what it reaches.

`laion doctor` starts it: `python -m laion_assets.operations.ray_node_report`. It prints a line for
each node.
"""

from __future__ import annotations

import json
import platform
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from laion_assets.project import digest_program

# What has to be the same everywhere.
PACKAGES = (
    *("laion-assets", "dagster", "dagster-postgres", "dagster-ray", "ray"),
    *("duckdb", "lancedb", "polars", "pyarrow", "pylance"),
)
# Stands before each report, which comes among what Ray itself prints.
REPORT_MARK = "laion node report: "
LIMIT_S = 60


def list_versions() -> dict[str, str]:
    """Returns the versions of this process, by package; one that is missing is left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    # Its own version does not name the code of this project.
    return {**found, "code": digest_program(), "python": platform.python_version()}


def describe_node(*, has_gpu: bool = False) -> dict[str, Any]:
    """Returns what a node is like: versions, where its tables and history are, what is wrong.

    Args:
        has_gpu: whether Ray gives its GPUs to whoever computes vectors.
    """
    from laion_assets.embeddings.model_session import can_use_gpu
    from laion_assets.operations.diagnose_cluster import look_at_bucket, look_at_catalog
    from laion_assets.operations.diagnose_ray import name_places
    from laion_assets.operations.doctor import look
    from laion_assets.settings import Settings

    settings = Settings.from_environment()
    parts = (("catalog", look_at_catalog), ("bucket", look_at_bucket))
    findings = [found for part, ask in parts for found in look(part, partial(ask, settings))]
    wrong = [found.text for found in findings if not found.is_sound]
    if has_gpu and settings.encoder and not can_use_gpu():
        wrong.append(
            "it has a GPU, and vectors would be computed on its processors; install "
            "`onnxruntime-gpu` there in place of `onnxruntime`"
        )
    return {"versions": list_versions(), "places": name_places(settings), "wrong": wrong}


def main() -> None:
    """Asks each node, and prints what it says."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(log_to_driver=False)
    # No processor: those may all have runs.
    task: Any = ray.remote(num_cpus=0, max_retries=0)(describe_node)
    asked = {
        node["NodeID"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(has_gpu="GPU" in node["Resources"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=LIMIT_S)
    for node, answer in asked.items():
        try:
            report = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said of this node
            lines = [line for line in str(error).splitlines() if line.strip()]
            report = {"error": lines[-1].strip()}
        print(REPORT_MARK + json.dumps({"node": node, **report}), flush=True)


if __name__ == "__main__":
    main()
