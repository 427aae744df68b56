"""What one tick of `discover_shards` looks at, asks for, and says."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.amounts import say_amount
from laion_assets.orchestration.dead_runs import is_busy, list_unfinished
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.partitions import SHARDS_NAME
from laion_assets.runs.attempts import Attempt, Memory, name_work
from laion_assets.runs.run_failures import find_failure

if TYPE_CHECKING:
    from laion_assets.raw_shards.discovery import Discovery
    from laion_assets.raw_shards.resource import ShardSource
    from laion_assets.runs.due import Due, Step, Wishes
    from laion_assets.stores.raw_store import RawStore
    from laion_assets.stores.resources import LanceResource, Warehouse

SENSOR_NAME = "discover_shards"
INGEST_NAME = "ingest_shards"
PICTURES_NAME = "add_pictures"
REFRESH_NAME = "refresh_counts"
PUBLISHED = dg.AssetKey("published")
# How often web servers are asked for the versions of their files, and the Hub and buckets for
# their lists. Folders on this machine are looked at in every tick.
ASKING_INTERVAL_S = 120
# So many runs are on their way at most: more of them would only wait, and make ticks long.
MAX_RUNS = 50
# The daemon creates a run in half a second or more, and the tick lasts until it has created all.
MAX_NEW_RUNS = 15
# A refresh waits for the other runs, so that there is one for many shards; but no longer than this.
MAX_WAITING_S = 3600
# For whoever of this project writes the DuckDB file. With the waits in `raw_shards/discovery.py`
# it leaves some of the 20 seconds that a tick may take.
QUEUE_WAIT_S = 4
# A tick names so many things that are not done, each with its reason, and counts the rest.
MAX_NAMED = 5
# A file that was touched and has the same content stops at `raw_shards`.
ONLY_IF_CHANGED = {"ops": {"raw_shards": {"config": {"only_if_changed": True}}}}
# In the queue of runs, those that somebody starts by hand go first: their priority is 0.
IN_BACKGROUND = {"dagster/priority": "-1"}
# What each stage needs to run; None is the whole job.
SELECTIONS = {
    "fetch": None,
    "load": ["images", "lance_images", "embeddings", "declared_columns"],
    "copy": ["lance_images", "embeddings", "declared_columns"],
    "embed": ["embeddings", "declared_columns"],
    "declare": ["declared_columns"],
}


@dataclass
class Plan:
    """What a tick asks for.

    Attributes:
        runs: the runs to start.
        delays: what is due and not started.
        fetched: shards that are fetched, because their source is new or has changed.
        waiting: shards that wait until another one has its pictures fetched.
    """

    runs: list[dg.RunRequest] = field(default_factory=list)
    delays: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Planner:
    """Decides which of the work that is due to ask for now.

    Attributes:
        instance: knows the runs.
        memory: what was asked for before; it is brought up to date.
        now: seconds since 1970.
    """

    instance: dg.DagsterInstance
    memory: Memory
    now: float

    def plan(self, due: Due, unread: Collection[str], unknown: Collection[str] = ()) -> Plan:
        """Returns what to ask for, and why the rest is not asked for.

        Args:
            due: what has to be done.
            unread: the lists of names that could not be read.
            unknown: shards of which this tick does not know what their source has.
        """
        self.memory.forget_others(_name_all(due, unread), unknown)
        plan = Plan()
        flying = find_flying(self.instance)
        is_fetching = due.is_fetching and self._is_running(PICTURES_NAME)
        room = min(MAX_NEW_RUNS, MAX_RUNS - len(flying))
        for shard in [shard for shard in list_shards_of_work(due) if shard not in flying]:
            if len(plan.runs) >= room:
                break
            if shard in due.steps:
                self._plan_shard(plan, shard, due.steps[shard], due.fallbacks.get(shard))
            elif is_fetching:
                # It takes hours, and a second one would only keep others from running.
                plan.waiting.append(shard)
            elif self._plan_pictures(plan, shard, due.unpictured[shard]):
                is_fetching = due.is_fetching
        # Copies and their columns come first: a release is to have what they bring.
        brought = [_name_assets(stage) for stage in ("copy", "embed", "declare")]
        if not any(run.asset_selection in brought for run in plan.runs):
            self._plan_refresh(plan, due, unread, is_alone=not (flying or plan.runs))
        return plan

    def _plan_shard(self, plan: Plan, shard: str, step: Step, fallback: Step | None) -> None:
        if self._is_turn(name_step(shard, step), INGEST_NAME, shard):
            plan.runs.append(_request_ingest(shard, step))
            if step.stage == "fetch":
                plan.fetched.append(shard)
            return
        plan.delays.append(shard)
        if fallback and self._is_turn(name_step(shard, fallback), INGEST_NAME, shard):
            plan.runs.append(_request_ingest(shard, fallback))

    def _plan_pictures(self, plan: Plan, shard: str, word: str) -> bool:
        """Asks for the pictures of a shard, if it is their turn; returns whether it did."""
        is_turn = self._is_turn(name_work(shard, PICTURES_NAME, word), PICTURES_NAME, shard)
        if is_turn:
            plan.runs.append(
                dg.RunRequest(job_name=PICTURES_NAME, partition_key=shard, tags=IN_BACKGROUND)
            )
        else:
            plan.delays.append(shard)
        return is_turn

    def _plan_refresh(
        self, plan: Plan, due: Due, unread: Collection[str], *, is_alone: bool
    ) -> None:
        word = find_refresh(due, unread)
        if word is None:
            self.memory.waiting_since = 0
            return
        is_waiting = not is_alone or is_busy(self.instance)
        if is_waiting and not self._has_waited():
            return
        if self._is_turn(name_work(REFRESH_NAME, word), REFRESH_NAME, None):
            self.memory.waiting_since = 0
            # Where a release is only to be published, nothing has to be counted for it.
            is_made = not (due.refresh or unread)
            plan.runs.append(
                dg.RunRequest(
                    job_name=REFRESH_NAME,
                    asset_selection=[PUBLISHED] if is_made else None,
                    tags=IN_BACKGROUND,
                )
            )
        else:
            plan.delays.append(REFRESH_NAME)

    def _has_waited(self) -> bool:
        since = self.memory.waiting_since = self.memory.waiting_since or int(self.now)
        return self.now >= since + MAX_WAITING_S and not self._is_running(REFRESH_NAME)

    def _is_running(self, job: str) -> bool:
        return any(run.job_name == job for run in list_unfinished(self.instance))

    def _is_turn(self, key: str, job: str, shard: str | None) -> bool:
        """Returns whether to ask for this work now, of which no run is on its way."""
        attempt = self.memory.attempts.get(key)
        if attempt and attempt.is_asked:
            attempt = self._judge(attempt, job, shard)
            self.memory.attempts[key] = attempt
        if attempt and (attempt.is_final or attempt.next_at > self.now):
            return False
        self.memory.attempts[key] = Attempt(attempt.count + 1 if attempt else 1)
        return True

    def _judge(self, attempt: Attempt, job: str, shard: str | None) -> Attempt:
        """Looks at how the run ended that did not do the work."""
        failure = find_failure(self.instance, job, shard)
        # What helps a refresh or a copy is not seen in what is due: a new list, room on a disk.
        if shard and failure and not failure.may_pass:
            return attempt.end()
        return attempt.pause(self.now)


def look(
    instance: dg.DagsterInstance, shards: ShardSource, memory: Memory, now: float
) -> Discovery:
    """Lists the sources; those of servers only if it is time to ask them."""
    from laion_assets.raw_shards.discovery import discover
    from laion_assets.raw_shards.sources.source import split_scheme

    near = [location for location in shards.locations if not split_scheme(location)]
    is_asking = now >= memory.asked_at + ASKING_INTERVAL_S
    if is_asking:
        memory.asked_at = int(now)
    locations = shards.locations if is_asking else near
    return discover(
        locations,
        shards.store,
        shards.rules.hurried,
        instance.get_dynamic_partitions(SHARDS_NAME),
        is_asking=is_asking,
        is_hurried=True,
        is_whole=len(locations) == len(shards.locations),
    )


def read_due(
    instance: dg.DagsterInstance,
    found: Discovery,
    raw_store: RawStore,
    stores: tuple[Warehouse, LanceResource],
    kinds: Iterable[str],
    *,
    wishes: Wishes,
) -> Due:
    """Compares all stages of the shards that are partitions, or become some in this tick.

    Raises:
        DatabaseBusyError: another program has the DuckDB file; it is not waited for.
    """
    from laion_assets.runs.due import compare_stages, read_chain

    warehouse, lance_store = stores
    known = {*instance.get_dynamic_partitions(SHARDS_NAME), *found.new}
    raws = found.raws | raw_store.find_all(known - found.raws.keys())
    # A tick has no time to wait; it comes again.
    database = replace(warehouse.database, queue_wait_s=QUEUE_WAIT_S, stranger_wait_s=0)
    chain = read_chain(
        database,
        lance_store.store,
        kinds,
        raws,
        found.sources,
        is_thorough=False,
        wishes=wishes,
    )
    due = compare_stages(chain)
    # Dagster fails the whole tick where a run is for a partition that is not there.
    return replace(
        due,
        steps={s: step for s, step in due.steps.items() if s in known},
        unpictured={s: word for s, word in due.unpictured.items() if s in known},
    )


def find_flying(instance: dg.DagsterInstance) -> set[str]:
    """Returns the shards of which a run is queued or runs, whoever started it."""
    tags = [run.tags for run in list_unfinished(instance)]
    return {each[PARTITION_TAG] for each in tags if PARTITION_TAG in each}


def find_refresh(due: Due, unread: Collection[str]) -> str | None:
    """Returns a word for why a refresh is due.

    It is the state of the shards, lists to read again, or a release to publish.
    """
    if due.refresh or due.held_by:
        return due.refresh
    if unread:
        return f"unread {','.join(sorted(unread))}"
    return f"unpublished {due.unpublished}" if due.unpublished else None


def name_step(shard: str, step: Step) -> str:
    """Returns the key of a step of a shard."""
    return name_work(shard, step.stage, step.word)


def list_shards_of_work(due: Due) -> list[str]:
    """Returns the shards that need something, those that need more than pictures first."""
    return [*due.steps, *(shard for shard in due.unpictured if shard not in due.steps)]


def name_job(due: Due, name: str) -> str:
    """Returns the job that does what is due of a shard, or of the refresh by its own name."""
    if name == REFRESH_NAME:
        return REFRESH_NAME
    return PICTURES_NAME if name in due.unpictured and name not in due.steps else INGEST_NAME


def list_work(due: Due, unread: Collection[str]) -> dict[str, str]:
    """Returns the key of what is due, by shard, and of the refresh by its job."""
    work = {s: name_work(s, PICTURES_NAME, word) for s, word in due.unpictured.items()}
    # What a shard needs before its pictures goes before them.
    work |= {shard: name_step(shard, step) for shard, step in due.steps.items()}
    if word := find_refresh(due, unread):
        work[REFRESH_NAME] = name_work(REFRESH_NAME, word)
    return work


def read_memory(instance: dg.DagsterInstance) -> Memory | None:
    """Returns what the last tick of the sensor remembered; None if it is not turned on."""
    if instance.schedule_storage is None:
        return None
    states = [
        state
        for state in instance.all_instigator_state()
        if state.instigator_name == SENSOR_NAME and state.is_running
    ]
    data = [state.instigator_data for state in states if state.instigator_data]
    return Memory.read(getattr(data[-1], "cursor", None)) if data else None


def say_why(
    found: Discovery,
    due: Due,
    unread: Mapping[str, str],
    plan: Plan,
    memory: Memory,
    instance: dg.DagsterInstance,
) -> list[str]:
    """Returns the state in a word, and then why something is not done, a line each."""
    is_waiting = bool(memory.waiting_since) or is_busy(instance)
    lines = ["waiting for runs to end" if is_waiting else "nothing new"]
    keys = list_work(due, unread)
    # What nobody but a person can help comes first.
    waits = {
        name: not ((attempt := memory.attempts.get(keys[name])) and attempt.is_final)
        for name in plan.delays
    }
    for name in sorted(waits, key=waits.__getitem__)[:MAX_NAMED]:
        job = name_job(due, name)
        failure = find_failure(instance, job, None if job == REFRESH_NAME else name)
        facts = [failure.reason] if failure else []
        if attempt := memory.attempts.get(keys[name]):
            facts.append(attempt.describe())
        lines.append(f"{name}: {', '.join(facts)}")
    if len(plan.delays) > MAX_NAMED:
        lines.append(f"{len(plan.delays) - MAX_NAMED:,} more are not done, see their runs")
    lines += [f"the names of {kind} are those of before: {why}" for kind, why in unread.items()]
    return [*lines, *_say_what_waits(found, due, plan, memory), *found.problems]


def _say_what_waits(found: Discovery, due: Due, plan: Plan, memory: Memory) -> Iterator[str]:
    if plan.waiting:
        yield f"one shard at a time has its pictures fetched; next: {_sum_up(plan.waiting)}"
    if due.held_by:
        yield f"no release before Lance has {_sum_up(due.held_by)} as DuckDB has it"
    if due.outdated:
        shards = _sum_up(due.outdated)
        yield f"releases are without the present load of {shards}, which Lance lacks"
    if due.unpublished:
        yield f"release {due.unpublished} is not published yet"
    if due.stray:
        yield f"Lance has rows of {_sum_up(due.stray)} that nothing else has; remove them"
    if not found.is_whole:
        asked_at = datetime.fromtimestamp(memory.asked_at, tz=UTC)
        yield f"servers were last asked at {asked_at:%H:%M:%S} UTC, see the tick of then"


def _sum_up(shards: list[str]) -> str:
    return f"{shards[0]} and {len(shards) - 1:,} more" if len(shards) > 1 else shards[0]


def warn_of_changes(found: Discovery, memory: Memory) -> list[str]:
    """Returns the warnings about the sources if they are others than in the last tick.

    Thousands of shards that are gone are one line, once. A tick that asks no server does not know.
    """
    if not found.is_whole:
        return []
    lines = [*found.warnings, *found.problems]
    if found.gone:
        lines.append(
            f"in no source any more: {say_amount(len(found.gone), 'shard')}, "
            f"the first is {found.gone[0]}; "
            "what is here of them is kept"
        )
    said = hashlib.sha256("\n".join([*lines, *found.gone]).encode()).hexdigest()[:16]
    if not lines or said == memory.said:
        return []
    memory.said = said
    return lines


def _request_ingest(shard: str, step: Step) -> dg.RunRequest:
    assets = _name_assets(step.stage)
    return dg.RunRequest(
        job_name=INGEST_NAME,
        partition_key=shard,
        run_config={} if assets else ONLY_IF_CHANGED,
        asset_selection=assets,
        tags=IN_BACKGROUND,
    )


def _name_assets(stage: str) -> list[dg.AssetKey] | None:
    assets = SELECTIONS[stage]
    return [dg.AssetKey(asset) for asset in assets] if assets else None


def _name_all(due: Due, unread: Collection[str]) -> set[str]:
    fallbacks = {name_step(shard, step) for shard, step in due.fallbacks.items()}
    return {*list_work(due, unread).values(), *fallbacks}
