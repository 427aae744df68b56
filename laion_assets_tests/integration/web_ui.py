"""Dagster's web server and daemon on loopback, and what its web UI asks them through GraphQL."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

Result = TypeVar("Result")
# Only what never ends takes so long; a busy machine takes minutes.
LIMIT_S = 600
STOPPING_S = 20
ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

GET_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    id locationOrLoadError { __typename ... on RepositoryLocation { name } } } } } }"""
GET_RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
    runId status jobName startTime endTime tags { key value } } } } }"""
GET_FAILURES = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { stepKey error { message stack cause { message } }
        failureMetadata { description } } } } } }"""
GET_REASONS = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { failureMetadata { description } }
    ... on RunFailureEvent { message error { message } } } } } }"""
LAUNCH_BACKFILL = """mutation($params: LaunchBackfillParams!) {
    launchPartitionBackfill(backfillParams: $params) { __typename
    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
GET_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""
GET_STEPS = """query($run: ID!) { runOrError(runId: $run) {
    ... on Run { stepStats { stepKey status } } } }"""
LAUNCH_RUN = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE_RUN = """mutation($run: String!) { terminateRun(runId: $run) {
    __typename ... on TerminateRunFailure { message } } }"""
START_SENSOR = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) {
    __typename ... on PythonError { message } } }"""
GET_TICKS = """query($sensor: InstigationSelector!) {
    instigationStateOrError(instigationSelector: $sensor) {
    ... on InstigationState {
    ticks(limit: 500) { status runKeys skipReason error { message } } } } }"""


@dataclass(frozen=True)
class Run:
    """A run, as the list of runs shows it."""

    run_id: str
    status: str
    job: str
    shard: str | None
    start_s: float | None
    end_s: float | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class WebUi:
    """A running web server with one code location."""

    url: str
    location: str

    def ask(self, query: str, **variables: object) -> Any:
        """Returns the only field of the answer."""
        question: Any = {"query": query, "variables": variables}
        answer = requests.post(f"{self.url}/graphql", json=question, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        (field,) = answer["data"].values()
        return field

    @property
    def repository(self) -> dict[str, str]:
        """What names the definitions in every selector."""
        return {"repositoryName": "__repository__", "repositoryLocationName": self.location}

    def launch_backfill(self, job: str, shards: Sequence[str]) -> str:
        """Asks the daemon for a run a shard; returns the backfill's id."""
        selector = {
            "partitionSetName": f"{job}_partition_set",
            "repositorySelector": self.repository,
        }
        params = {"selector": selector, "partitionNames": list(shards)}
        launched = self.ask(LAUNCH_BACKFILL, params=params)
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def launch_run(self, job: str, shard: str) -> str:
        """Asks for one run of a shard; returns its id."""
        tags = [{"key": "dagster/partition", "value": shard}]
        params = {
            "selector": {**self.repository, "jobName": job},
            "runConfigData": {},
            "executionMetadata": {"tags": tags},
        }
        launched = self.ask(LAUNCH_RUN, params=params)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def terminate_run(self, run_id: str) -> None:
        """Cancels a run, as the button does."""
        terminated = self.ask(TERMINATE_RUN, run=run_id)
        assert terminated["__typename"] == "TerminateRunSuccess", terminated

    def backfill_status(self, backfill_id: str) -> str:
        """Returns REQUESTED while it is under way."""
        return str(self.ask(GET_BACKFILL, id=backfill_id)["status"])

    def start_sensor(self, sensor: str) -> None:
        """Turns the switch of the sensor on."""
        started = self.ask(START_SENSOR, sensor={**self.repository, "sensorName": sensor})
        assert started["__typename"] == "Sensor", started

    def list_ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Returns the ticks of the sensor, the newest first."""
        selector = {**self.repository, "name": sensor}
        return list(self.ask(GET_TICKS, sensor=selector)["ticks"])

    def list_runs(self, job: str | None = None) -> list[Run]:
        """Returns the runs, the newest first."""
        filters = {"pipelineName": job} if job else {}
        return [_read_run(run) for run in self.ask(GET_RUNS, filter=filters)["results"]]

    def list_steps(self, run_id: str) -> dict[str, str]:
        """Returns how each step of the run ended; one that was not reached is missing."""
        steps = self.ask(GET_STEPS, run=run_id)["stepStats"]
        return {step["stepKey"]: step["status"] for step in steps}

    def list_failures(self, run_id: str) -> list[dict[str, Any]]:
        """Returns the events of failed steps, as the page of the run shows them."""
        return [event for event in self.ask(GET_FAILURES, run=run_id)["events"] if event]

    def find_reason(self, run_id: str) -> str:
        """Returns what the page of a failed run says, in one line; empty if it says nothing."""
        said = []
        for event in self.ask(GET_REASONS, run=run_id)["events"]:
            said += [(event.get("failureMetadata") or {}).get("description")]
            said += [event.get("message"), (event.get("error") or {}).get("message")]
        return "; ".join(text for text in said if text)


def _read_run(run: dict[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return Run(
        run_id=run["runId"],
        status=run["status"],
        job=run["jobName"],
        shard=tags.get("dagster/partition"),
        start_s=run["startTime"],
        end_s=run["endTime"],
        tags=tags,
    )


def wait_for(
    condition: Callable[[], Result | None],
    what: str,
    limit_s: float = LIMIT_S,
    pause_s: float = 0.2,
) -> Result:
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:g} s"
        time.sleep(pause_s)
    return result


@contextmanager
def run_in_background(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command, and stops it with all that it started when the block is left."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def find_free_port() -> int:
    """Returns a port of this machine that nothing listens at.

    It is none of those that the system gives to connections, so that none takes it meanwhile.
    """
    for port in random.sample(range(10_000, 32_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def run_web_ui(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[WebUi]:
    """Runs `dagster dev` or `dagster-webserver` at a free port, until the block is left."""
    port = find_free_port()
    arguments = [*command, "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with run_in_background(arguments, folder, environment, log) as process:

        def find_location() -> str | None:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            try:
                answer = WebUi(url, "").ask(GET_LOCATIONS)
            except requests.ConnectionError:
                return None
            (entry,) = answer["locationEntries"]
            loaded = entry["locationOrLoadError"]
            return loaded["name"] if loaded else None

        yield WebUi(url, wait_for(find_location, f"the web server ({log})", LIMIT_S))
