"""Every pair of stages out of step, and what has to be done about it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import lance
import pytest

from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.source import Source
from laion_assets.runs.due import Chain, Due, Loaded, Stage, compare_stages, read_chain
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets_tests.conftest import IN_BOTH_PLACES, WriteShard, WriteSheet
from laion_assets_tests.pipeline import copy, count, ingest, load, publish, refresh

pytestmark = pytest.mark.slow

OLD, NEW = "0" * 64, "1" * 64


def make_source(version: str = "old") -> Source:
    return Source("s", "/s.parquet", "/s.parquet", version)


def make_raw(sha256: str = OLD, version: str = "old") -> RawShard:
    return RawShard("s", "/s.parquet", sha256, 1, 1, 1, version=version, fetched_at="then")


def make_load(sha256: str = OLD) -> Loaded:
    return Loaded("load", sha256)


@dataclass(frozen=True)
class Case:
    """The stages of the one shard `s`, and what is due."""

    source: Source | None = field(default_factory=make_source)
    raw: RawShard | None = field(default_factory=make_raw)
    load: Loaded | None = field(default_factory=make_load)
    is_copied: bool = True
    unreleased: str | None = None
    stage: str | None = None
    fallback: str | None = None
    is_stray: bool = False
    refresh: str | None = None
    is_shared: bool = False

    def compare(self) -> Due:
        return compare_stages(
            Chain(
                sources={"s": self.source} if self.source else {},
                raws={"s": self.raw} if self.raw else {},
                loads={"s": self.load} if self.load else {},
                uncopied=() if self.is_copied else ("s",),
                unreleased=self.unreleased,
                unreleased_sound=self.unreleased if self.is_copied else None,
                is_shared=self.is_shared,
            )
        )


CASES = {
    "all in step": Case(),
    "source, nothing else": Case(raw=None, load=None, stage="fetch"),
    "source changed, raw old": Case(source=make_source("new"), stage="fetch"),
    "source changed, raw never loaded": Case(
        source=make_source("new"), load=None, stage="fetch", fallback="load"
    ),
    "source changed, raw newer than DuckDB": Case(
        source=make_source("new"), raw=make_raw(NEW), stage="fetch", fallback="load"
    ),
    "source changed, load not copied": Case(
        source=make_source("new"), is_copied=False, stage="fetch", fallback="copy"
    ),
    "source without a version, raw there": Case(
        source=replace(make_source(), version=None), raw=make_raw(version="any")
    ),
    "source gone, raw there": Case(source=None),
    "source gone, raw never loaded": Case(source=None, load=None, stage="load"),
    "source and raw gone, rows there": Case(source=None, raw=None),
    "raw gone, rows there": Case(raw=None, stage="fetch"),
    "another machine has raw and rows": Case(raw=None, is_shared=True),
    "another machine has neither": Case(raw=None, load=None, is_shared=True, stage="fetch"),
    "source changed, raw old, machines": Case(
        source=make_source("new"), is_shared=True, stage="fetch"
    ),
    "raw never loaded": Case(load=None, stage="load"),
    "raw newer than DuckDB": Case(raw=make_raw(NEW), stage="load"),
    "raw newer than DuckDB, old load not copied": Case(
        raw=make_raw(NEW), is_copied=False, stage="load"
    ),
    "DuckDB not in Lance": Case(is_copied=False, stage="copy"),
    "DuckDB not in Lance, and nothing before it": Case(
        source=None, raw=None, is_copied=False, stage="copy"
    ),
    "Lance without DuckDB, raw there": Case(load=None, is_copied=False, stage="load"),
    "Lance without DuckDB, source there": Case(raw=None, load=None, is_copied=False, stage="fetch"),
    "Lance alone": Case(source=None, raw=None, load=None, is_copied=False, is_stray=True),
    "Lance not released": Case(unreleased="x", refresh="x"),
    "Lance not released, another source": Case(
        source=make_source("new"), unreleased="x", stage="fetch", refresh="x"
    ),
    "Lance not released, raw newer": Case(
        raw=make_raw(NEW), unreleased="x", stage="load", refresh="x"
    ),
    "not released, not copied": Case(is_copied=False, unreleased="x", stage="copy", refresh=None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_pair_of_stages_out_of_step_is_due(case: Case) -> None:
    due = case.compare()

    assert {shard: step.stage for shard, step in due.steps.items()} == (
        {"s": Stage(case.stage)} if case.stage else {}
    )
    assert {shard: step.stage for shard, step in due.fallbacks.items()} == (
        {"s": Stage(case.fallback)} if case.fallback else {}
    )
    assert due.stray == (["s"] if case.is_stray else [])
    assert due.refresh == case.refresh
    assert due.is_behind == (case.unreleased is not None)
    assert due.held_by == (["s"] if case.unreleased and not case.is_copied else [])


# --- The same, from real files and tables --------------------------------------------------------


def find_due(settings: Settings, *shards: str, is_thorough: bool = False) -> Due:
    """Compares the stages; the sources are the files in the folder of the shards."""
    folder = settings.data_dir / "shards"
    sources = {path.stem: describe_file(path) for path in folder.glob("*.parquet")}
    return compare_stages(
        read_chain(
            Database.of(settings),
            LanceStore.of(settings),
            tuple(settings.sheets),
            RawStore(settings.raw_dir).find_all(shards),
            sources,
            is_thorough=is_thorough,
        )
    )


def list_due(due: Due) -> dict[str, str]:
    return {shard: str(step.stage) for shard, step in due.steps.items()}


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_each_step_makes_the_next_one_due(settings: Settings, write_shard: WriteShard) -> None:
    path = write_shard("a", url=["https://a.test/1"], caption=["a fox"])
    assert list_due(find_due(settings, "a")) == {"a": "fetch"}
    load(settings, "a", path)
    assert list_due(find_due(settings, "a")) == {"a": "copy"}
    copy(settings, "a")
    due = find_due(settings, "a")
    assert (list_due(due), due.refresh is not None) == ({}, True)
    count(settings)
    assert find_due(settings, "a").refresh == due.refresh
    publish(settings)
    assert find_due(settings, "a") == Due({}, {}, [], None, [], False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_thorough", [True, False])
def test_the_same_content_loaded_again_is_refreshed_once_and_then_up_to_date(
    settings: Settings, is_thorough: bool
) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings)
    ingest(settings, "a", "a fox")
    assert find_due(settings, "a", is_thorough=is_thorough).is_behind

    refresh(settings)

    assert not find_due(settings, "a", is_thorough=is_thorough).is_behind


@pytest.mark.exhaustive
@IN_BOTH_PLACES
def test_a_changed_list_of_names_is_due_until_it_is_released(
    settings: Settings, write_sheet: WriteSheet
) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings)
    write_sheet("artists", "fox")
    count(settings)
    assert find_due(settings, "a").refresh

    publish(settings)

    assert find_due(settings, "a").refresh is None


@pytest.mark.exhaustive
def test_a_list_that_changed_in_other_columns_alone_is_not_due(
    settings: Settings,
) -> None:
    ingest(settings, "a", "a fox")
    refresh(settings)
    sheet = Path(settings.sheets["artists"])
    sheet.write_text("name,born\nSome artists,1900\n", encoding="utf-8")

    count(settings)

    assert find_due(settings, "a").refresh is None


@pytest.mark.exhaustive
def test_rows_that_are_lost_in_lance_are_copied_again(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a cat")
    ingest(settings, "b", "a dog")
    refresh(settings)

    lance.dataset(settings.lance_dir / "images.lance").delete("shard = 'b'")

    assert list_due(find_due(settings, "a", "b")) == {"b": "copy"}
    copy(settings, "b")
    assert list_due(find_due(settings, "a", "b")) == {}
