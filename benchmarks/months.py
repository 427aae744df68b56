"""What an operator lives through in months, in an hour, with nobody there to help.

Run `python -m benchmarks.months [--minutes 60]` from the repository root; `--minutes 5` is a quick
form. Dagster's daemon and web server run with the sensor on, in a temporary folder. Small shards
arrive (`--shards`, 40), every fourth on a web server and the rest in a folder. Meanwhile workers
and the daemon are killed, runs are cancelled, the server is down or silent, another program holds
the DuckDB file, the disk is full, and a list of names and three files are broken. Then all of it is
over, and everything has to come right by itself: the release is compared value for value.

Only root can mount the small disk that is filled; without it that fault is left out, and the report
says so. A run that was cancelled is not started again by itself, so the script starts it by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import report_run
from benchmarks.months_place import WEB_EVERY, Place
from benchmarks.months_truth import NAMES, Shard, compare, find_missing, make_shard
from laion_assets.orchestration.dead_runs import WORKER_TAG
from laion_assets_tests.integration.web_ui import ENDED, Run, WebUi, wait_for

SENSOR = "discover_shards"
ROWS = 500
BATCHES = 8
# The share of the time in which things happen.
EVENTFUL_SHARE = 0.7
# A fault lasts until a page names it, but no longer than this; then nobody could have known.
UNSEEN_S = 900
# So long after the last fault everything has to be right: what failed often waits for an hour.
SETTLING_S = 4200
# After so long without a run, something is given to do.
IDLE_S = 45
MAX_CANCEL_S = 10.0
MAX_TICK_S = 20.0
MAX_LOG_MB = 20.0
GET_TICKS = """query($sensor: InstigationSelector!, $limit: Int!) {
    instigationStateOrError(instigationSelector: $sensor) { ... on InstigationState {
    ticks(limit: $limit) { status timestamp endTimestamp runIds skipReason error { message }
    logEvents { events { message } } } } } }"""


@dataclass
class Story:
    """What happens, what should come of it, and what was seen.

    Attributes:
        place: the installation.
        web_ui: its pages.
        hold_s: how long a fault lasts at least.
        expected: what the last release has to hold, by shard.
        wrong: what went wrong, a line each.
        cancelled_s: how long each cancellation took.
    """

    place: Place
    web_ui: WebUi
    hold_s: float
    expected: dict[str, Shard] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    cancelled_s: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _reasons: dict[str, str] = field(default_factory=dict, repr=False)

    def say(self, line: str) -> None:
        """Prints what happens, and when."""
        print(f"{time.monotonic() - self.started:7.1f} s  {line}", flush=True)

    def drop(self, shard: Shard, content: bytes | None = None) -> None:
        """Puts a shard where it belongs at once, as `mv` does; a broken content is not expected."""
        folder = self.place.web if shard.name.startswith("web") else self.place.source
        unfinished = folder / f".{shard.name}"
        unfinished.write_bytes(shard.content if content is None else content)
        unfinished.replace(folder / f"{shard.name}.parquet")
        if content is None:
            self.expected[shard.name] = shard

    def list_ticks(self, limit: int = 500) -> list[dict[str, Any]]:
        """Returns the last ticks, the newest first."""
        selector = {**self.web_ui.repository, "name": SENSOR}
        found = self.web_ui.ask(GET_TICKS, sensor=selector, limit=limit)
        return list(found["ticks"])

    def find_reason(self, run_id: str) -> str:
        """Returns what the page of a failed run says."""
        if run_id not in self._reasons:
            self._reasons[run_id] = self.web_ui.find_reason(run_id)
        return self._reasons[run_id]

    def find_words(self, pattern: str, since: float) -> str | None:
        """Returns the first text since then, on the page of a tick or a run, that fits."""
        ticks = [tick for tick in self.list_ticks(40) if tick["timestamp"] >= since]
        texts = [text for tick in ticks for text in list_texts(tick)]
        failed = [r for r in self.web_ui.list_runs() if r.status == "FAILURE"]
        texts += [self.find_reason(r.run_id) for r in failed if (r.end_s or 0) >= since]
        return next((match[0] for text in texts if (match := re.search(pattern, text))), None)

    def let_last(self, what: str, pattern: str) -> None:
        """Lets a fault that has begun last for a while, and until a page names it."""
        self.say(what)
        since = time.time()
        seen: str | None = None
        while time.time() < since + (self.hold_s if seen else max(UNSEEN_S, self.hold_s)):
            seen = seen or self.find_words(pattern, since - 1)
            time.sleep(2)
        self.say(f"  over after {time.time() - since:.0f} s; said: {seen}")
        if seen is None:
            self.wrong.append(f"{what}: no page says why ({pattern})")

    def find_started(self) -> tuple[Run, int]:
        """Waits for a run that has begun, and returns it with its process.

        Where nothing is left to do, a shard comes in another edition.
        """
        asked_at = time.monotonic()

        def find() -> tuple[Run, int] | None:
            nonlocal asked_at
            runs = self.web_ui.list_runs()
            if time.monotonic() > asked_at + IDLE_S and {run.status for run in runs} <= ENDED:
                asked_at = time.monotonic()
                replace_shard(self)
            for run in runs:
                worker = json.loads(run.tags.get(WORKER_TAG, "{}"))
                if run.status == "STARTED" and worker.get("run") == run.run_id:
                    return run, int(worker["pid"])
            return None

        return wait_for(find, "a run", 900, 0.1)


def kill_worker(story: Story, draw: random.Random) -> None:
    run, pid = story.find_started()
    time.sleep(draw.random())
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return story.say(f"{run.job} {run.shard or ''} ended before it could be killed")
    return story.say(f"killed the worker of {run.job} {run.shard or ''}")


def cancel(story: Story, draw: random.Random) -> None:
    run, _ = story.find_started()
    time.sleep(draw.random())
    started = time.monotonic()
    try:
        story.web_ui.terminate_run(run.run_id)
    except AssertionError:
        return story.say(f"{run.job} {run.shard or ''} ended before it could be cancelled")

    def find_end() -> str | None:
        (found,) = (r for r in story.web_ui.list_runs() if r.run_id == run.run_id)
        return found.status if found.status in ENDED else None

    status = wait_for(find_end, "the end of a cancelled run", 120, 0.1)
    took_s = time.monotonic() - started
    story.say(f"cancelled {run.job} {run.shard or ''}: {status} after {took_s:.1f} s")
    if status == "CANCELED":
        story.cancelled_s.append(took_s)
        if run.shard:
            story.web_ui.launch_run(run.job, run.shard)
    return None


def kill_daemon(story: Story, draw: random.Random) -> None:
    story.place.kill("daemon")
    pause_s = draw.uniform(2, 15)
    story.say(f"killed the daemon; it is started again after {pause_s:.0f} s")
    time.sleep(pause_s)
    story.place.start_daemon()


def stop_server(story: Story, _: random.Random) -> None:
    story.place.kill("server")
    story.let_last("the web server is down", r"http://127[^;]*(no connection|broke off)")
    story.place.start_server()


def silence_server(story: Story, _: random.Random) -> None:
    server = story.place.processes["server"]
    server.send_signal(signal.SIGSTOP)
    story.let_last("the web server is silent", r"http://127[^;]*(does not answer|no answer within)")
    server.send_signal(signal.SIGCONT)


def hold_database(story: Story, _: random.Random) -> None:
    with story.place.hold_database() as pid:
        story.let_last(f"process {pid} has the DuckDB file", rf"PID {pid}\b.*close it there")


def fill_disk(story: Story, _: random.Random) -> None:
    story.say(f"the disk has {story.place.free_bytes / 1e6:.1f} MB left before it is filled")
    with story.place.fill_disk():
        replace_shard(story)
        status = story.place.run_laion("status")
        story.let_last("the disk is full", "make room|[Nn]o space left|disk is full")
    if "Traceback" in status.stderr or not status.stdout:
        story.wrong.append(f"`laion status` on a full disk: {status.stderr[-300:]}")


def break_list(story: Story, _: random.Random) -> None:
    story.place.names.write_text("<!DOCTYPE html><html>sign in</html>", encoding="utf-8")
    # A refresh reads the lists, and a new shard makes one due.
    replace_shard(story)
    story.let_last("the list of artists is broken", "names of artists are those of before")
    write_names(story.place)


FAULTS = (
    kill_worker,
    cancel,
    stop_server,
    kill_daemon,
    hold_database,
    kill_worker,
    silence_server,
    fill_disk,
    cancel,
    break_list,
    kill_worker,
)


def replace_shard(story: Story) -> None:
    """Replaces a shard that is there by another edition of it."""
    name = sorted(story.expected)[0]
    story.drop(make_shard(name, ROWS, story.expected[name].edition + 1))


def write_names(place: Place) -> None:
    place.names.write_text("\n".join(["name", *NAMES]) + "\n", encoding="utf-8")


def bring_shards(story: Story, seconds: float, stopping: threading.Event) -> None:
    """Drops the shards in batches; of each kind one is broken at first."""
    count = story.place.shard_count
    names = [
        f"web-{number // WEB_EVERY:05}" if number % WEB_EVERY == 1 else f"local-{number:05}"
        for number in range(count)
    ]
    shards = [make_shard(name, ROWS) for name in names]
    broken = {shards[4].name: shards[4].content[:-50], shards[5].name: b"<html></html>"}
    size = -(-count // BATCHES)
    for start in range(0, count, size):
        for shard in shards[start : start + size]:
            if shard.name not in story.expected:
                story.drop(shard, broken.get(shard.name))
        story.say(f"{min(start + size, count)} shards have arrived")
        if stopping.wait(seconds / BATCHES):
            return
    for name in broken:
        story.drop(next(shard for shard in shards if shard.name == name))
    story.say("the broken files are whole now, but for one")


def measure_drop(story: Story) -> float:
    """Returns the seconds from the drop of a shard to its release, when nothing else happens."""
    wait_for(lambda: len(story.list_ticks(5)) >= 3, "ticks", 600, 1)
    wait_for(lambda: {run.status for run in story.web_ui.list_runs()} <= ENDED, "quiet", 600, 1)
    started = time.monotonic()
    story.drop(make_shard("local-00000", ROWS))
    wait_for(lambda: not find_missing(story.place.settings, story.expected), "release", 300, 0.5)
    return time.monotonic() - started


def list_texts(tick: dict[str, Any]) -> list[str]:
    """Returns all that the page of a tick says."""
    events = [event["message"] for event in tick["logEvents"]["events"]]
    error = (tick["error"] or {}).get("message")
    return [text for text in (tick["skipReason"], error, *events) if text]


def settle(story: Story) -> float | None:
    """Waits until all that can be is released; returns the seconds, None if it did not come."""
    started = time.monotonic()
    while time.monotonic() < started + SETTLING_S:
        time.sleep(5)
        if find_missing(story.place.settings, story.expected):
            continue
        if json.loads(story.place.run_laion("status", "--json").stdout)["is_release_behind"]:
            continue
        if {run.status for run in story.web_ui.list_runs()} <= ENDED:
            return time.monotonic() - started
    return None


def judge(story: Story) -> list[str]:
    """Compares everything with what it should be; returns the lines of the report."""
    story.wrong += compare(story.place.settings, story.expected)
    return [*judge_pages(story), *judge_figures(story)]


def judge_pages(story: Story) -> list[str]:
    """Looks whether `laion status` and every page of what failed say why."""
    status = json.loads(story.place.run_laion("status", "--json").stdout)
    states = {shard["shard"]: shard["state"] for shard in status["shards"]}
    undone = [name for name in story.expected if states.get(name) != "done"]
    story.wrong += [f"{name}: `laion status` calls it {states.get(name)}" for name in undone]
    if not any("local-broken" in delay for delay in status["delays"]):
        story.wrong.append("`laion status` does not say why local-broken is not done")
    runs, ticks = story.web_ui.list_runs(), story.list_ticks()
    failed = [run for run in runs if run.status == "FAILURE"]
    mute = [run for run in failed if not story.find_reason(run.run_id)]
    story.wrong += [f"run {run.run_id} of {run.shard or run.job} has no reason" for run in mute]
    story.wrong += [
        f"a tick failed: {list_texts(tick)[:1]}"[:400]
        for tick in ticks
        if tick["status"] == "FAILURE"
    ]
    reasons = Counter(story.find_reason(run.run_id)[:110] for run in failed)
    by_end = Counter(f"{run.job} {run.status}" for run in runs)
    return [
        f"{len(ticks)} ticks {dict(Counter(tick['status'] for tick in ticks))}",
        f"{len(runs)} runs {dict(by_end)}",
        *(f"  {count} failed: {reason}" for reason, count in reasons.most_common(20)),
    ]


def judge_figures(story: Story) -> list[str]:
    """Compares what was measured with its limits."""
    ticks = story.list_ticks()
    logs = story.place.measure_logs()
    ended = [tick for tick in ticks if tick["endTimestamp"]]
    starting, others = (
        [t["endTimestamp"] - t["timestamp"] for t in ended if bool(t["runIds"]) is has_runs]
        for has_runs in (True, False)
    )
    cancel_s = max(story.cancelled_s, default=0)
    # The history has its own limit: `clean_history` keeps three months of runs.
    printed = sum(size for what, size in logs.items() if what != "history")
    figures = [
        ("the longest tick that started no run, in seconds", max(others), MAX_TICK_S),
        ("the slowest cancellation, in seconds", cancel_s, MAX_CANCEL_S),
        ("what daemon, web server and runs print, in MB", printed / 1e6, MAX_LOG_MB),
    ]
    lines = [f"{what}: {value:.1f} ({limit:g} at most)" for what, value, limit in figures]
    story.wrong += [
        line for line, (_, value, limit) in zip(lines, figures, strict=True) if value > limit
    ]
    return [
        f"the longest tick that started runs: {max(starting):.1f} s; the load of the machine is "
        f"{os.getloadavg()[1]:.1f}",
        *lines,
        *(f"  {what}: {size / 1e6:.1f} MB" for what, size in logs.items()),
    ]


def live_through(story: Story, minutes: float, seed: int) -> list[str]:
    """Lets everything happen; returns the lines of the report."""
    draw = random.Random(seed)  # noqa: S311
    story.web_ui.start_sensor(SENSOR)
    dropped_s = measure_drop(story)
    story.say(f"from the drop of a small shard to its release: {dropped_s:.1f} s")
    eventful_s = minutes * 60 * EVENTFUL_SHARE
    until = time.monotonic() + eventful_s
    story.drop(make_shard("local-broken", ROWS), b"no parquet at all")
    stopping = threading.Event()
    arrivals = threading.Thread(target=bring_shards, args=(story, eventful_s, stopping))
    arrivals.start()
    try:
        counts = play(story, draw, until)
        arrivals.join()
    finally:
        stopping.set()
    story.say("all faults are over")
    settled_s = settle(story)
    if settled_s is None:
        missing = find_missing(story.place.settings, story.expected)
        story.wrong.append(f"not released within {SETTLING_S} s: {missing}")
    return [
        f"from the drop of a small shard to its release: {dropped_s:.1f} s",
        f"faults {counts}",
        f"all was right {settled_s or SETTLING_S:.0f} s after the last fault",
        *judge(story),
    ]


def play(story: Story, draw: random.Random, until: float) -> dict[str, int]:
    """Lets one fault after the other happen, each at least once; returns how often each did."""
    counts: Counter[str] = Counter()
    faults: Sequence[Callable[[Story, random.Random], None]] = FAULTS
    if not story.place.has_small_disk:
        story.say("no small disk: mounting one needs root; the disk is not filled")
        faults = [fault for fault in FAULTS if fault is not fill_disk]
    while not counts or time.monotonic() < until:
        for fault in faults:
            time.sleep(draw.uniform(1, story.hold_s / 3))
            fault(story, draw)
            counts[fault.__name__] += 1
    return dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--shards", type=int, default=40, help="at least 8")
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument("--keep", type=Path, help="a new folder to leave everything in")
    options = parser.parse_args()
    # As Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    hold_s = min(150, options.minutes * 4)
    with (
        nullcontext(options.keep)
        if options.keep
        else tempfile.TemporaryDirectory(prefix="laion-months-")
    ) as folder:
        place = Place(Path(folder), options.shards)
        place.folder.mkdir(exist_ok=True)
        write_names(place)
        with place.open() as web_ui:
            story = Story(place, web_ui, hold_s)
            report = live_through(story, options.minutes, options.seed)
    print("\n".join(["", *report, *(f"WRONG: {line}" for line in story.wrong)]))
    print("failed" if story.wrong else "all is right")
    sys.exit(bool(story.wrong))


if __name__ == "__main__":
    report_run(main)
