"""The job `ingest_shards` over an empty shard, beside the cheapest run that Dagster can do.

Run `python -m benchmarks.overhead [--rounds 7]` from the repository root. The cheapest run is a job
of one asset that does nothing, with the in-process executor and no resources, on an instance of the
same kind. Both are launched the same way, in turn: as a process (`dagster job execute`, from the
start of Python to its end), and inside one process (`execute_in_process`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import dagster as dg

from benchmarks.measure import Rounds, report_run
from laion_assets.automation import INGEST_SHARDS
from laion_assets.definitions import build_defs
from laion_assets.partitions import SHARDS_NAME
from laion_assets.settings import REPOSITORY, Settings

SHARD = "empty"
CHEAPEST = """
import dagster as dg


@dg.asset
def nothing() -> None:
    pass


defs = dg.Definitions(
    assets=[nothing],
    jobs=[dg.define_asset_job("cheapest", selection=dg.AssetSelection.assets("nothing"))],
    executor=dg.in_process_executor,
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as name:
        folder = Path(name)
        write_empty_shard(folder / "source" / f"{SHARD}.parquet")
        (folder / "cheapest.py").write_text(CHEAPEST, encoding="utf-8")
        (folder / "dagster.yaml").write_bytes((REPOSITORY / "dagster.yaml").read_bytes())
        compare("as a process", measure_processes(folder, options.rounds))
        compare("in one process", measure_in_process(folder, options.rounds))


def write_empty_shard(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir()
    columns = {"URL": pa.array([], pa.string()), "TEXT": pa.array([], pa.string())}
    pq.write_table(pa.table(columns), path)


def measure_processes(folder: Path, rounds: int) -> dict[str, Rounds]:
    """Returns the seconds of each way as a process; the first round, which creates all, is lost."""
    environment = {
        **os.environ,
        "PWD": str(folder),
        "DAGSTER_HOME": str(folder),
        "LAION_DATA_DIR": str(folder / "data"),
        "LAION_SHARDS": str(folder / "source" / "*.parquet"),
        "LAION_HISTORY_DIR": str(folder / "data" / "dagster"),
    }
    dagster = [sys.executable, "-m", "dagster", "job", "execute"]
    tags = f'{{"dagster/partition": "{SHARD}"}}'
    commands = {
        "cheapest run": [*dagster, "-f", "cheapest.py", "-j", "cheapest"],
        "ingest_shards": [*dagster, "-m", "laion_assets.definitions", "-j", INGEST_SHARDS.name],
    }
    commands["ingest_shards"] += ["--tags", tags]
    discover = [sys.executable, "-m", "laion_assets.cli.main", "discover"]
    run(discover, folder, environment)
    return measure(
        {
            name: lambda command=command: run(command, folder, environment)  # type: ignore[misc]
            for name, command in commands.items()
        },
        rounds,
    )


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    result = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def measure_in_process(folder: Path, rounds: int) -> dict[str, Rounds]:
    """Returns the seconds of each way in this process; the first round, which imports, is lost."""
    from dataclasses import replace

    settings = replace(
        Settings.default(folder / "other"), shards=(str(folder / "source" / "*.parquet"),)
    )
    ours = build_defs(settings).resolve_job_def(INGEST_SHARDS.name)
    scope: dict[str, dg.Definitions] = {}
    exec(CHEAPEST, scope)  # noqa: S102 - the text above
    cheapest = scope["defs"].resolve_job_def("cheapest")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="laion-benchmark-"))
        instance = stack.enter_context(dg.DagsterInstance.local_temp(home))
        instance.add_dynamic_partitions(SHARDS_NAME, [SHARD])

        def run_job(job: dg.JobDefinition, shard: str | None) -> None:
            job.execute_in_process(instance=instance, partition_key=shard, run_config=quiet)

        ways = {
            "cheapest run": lambda: run_job(cheapest, None),
            "ingest_shards": lambda: run_job(ours, SHARD),
        }
        return measure(ways, rounds)


def measure(ways: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, Rounds]:
    for way in ways.values():
        way()
    timings = {name: Rounds() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            timings[name].run(way)
    return timings


def compare(title: str, timings: Mapping[str, Rounds]) -> None:
    print(title)
    for name, found in timings.items():
        print(f"  {name:14} median {found.describe()}")
    cheapest, ours = (found.median_s for found in timings.values())
    print(f"  ratio {ours / cheapest:.2f}, difference {ours - cheapest:.3f} s")


if __name__ == "__main__":
    report_run(main)
