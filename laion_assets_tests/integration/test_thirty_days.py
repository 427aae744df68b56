"""A month in a few minutes: refreshes, what breaks and is mended, and who hears of it.

The schedule is asked with the times of that month. After each day all runs become a day older, as
the cleaning of the history reads their age.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from sqlalchemy import text

from laion_assets.definitions import build_defs
from laion_assets.operations.backup import back_up
from laion_assets.operations.doctor import diagnose
from laion_assets.operations.restore import restore
from laion_assets.operations.upgrade import upgrade_tables
from laion_assets.releases.catalog import newest_release, open_released
from laion_assets.runs.backfill import QUIET
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.alarms.test_sensor import Watched
from laion_assets_tests.conftest import make_settings, make_shard, write_names
from laion_assets_tests.integration.conftest import count_rows
from laion_assets_tests.integration.test_discovery import Pipeline
from laion_assets_tests.integration.test_status import mount
from laion_assets_tests.servers.webhook import run_webhook

pytestmark = [pytest.mark.integration, pytest.mark.long]

START = datetime(2030, 1, 1, 6, tzinfo=UTC)
REFRESHES_A_DAY = 2
# A release is refused with less free than this, and everything else works.
LEFT_BYTES = 700_000


@dataclass(frozen=True)
class Month:
    """What happens on which day.

    Attributes:
        days: how many there are.
        sheet_breaks: the list of names cannot be read from this day on.
        sheet_mended: it can again.
        shards_break: two shards become unreadable.
        shards_mended: they come whole.
        disk_full: there is no room for a release on this day.
        upgraded: the data are those of an older version on this day.
        backed_up: a backup is made in the evening.
        restored: all data are lost in the morning.
        keep_days: of runs.
    """

    days: int
    sheet_breaks: int
    sheet_mended: int
    shards_break: int
    shards_mended: int
    disk_full: int
    upgraded: int
    backed_up: int
    restored: int
    keep_days: float


SHORT = Month(7, 1, 2, 3, 4, 5, 5, 5, 6, 2)
WHOLE = Month(30, 3, 6, 8, 11, 14, 18, 22, 24, 7)


class Site:
    """A project that runs by itself, with somebody who hears of failures."""

    def __init__(self, watched: Watched, source: Path) -> None:
        self.settings, self.instance = watched.settings, watched.instance
        self.pipeline = Pipeline(self.settings, self.instance, is_checking=True)
        self._watched = watched
        self._source = source
        self._defs = build_defs(self.settings)
        self.expected: dict[str, int] = {}
        self.alarms: list[str] = []
        self.refresh_count = 0

    def keep_runs(self, days: float) -> None:
        """Sets how long the history keeps a run."""
        self.settings = replace(self.settings, keep_history_days=days)
        self._defs = build_defs(self.settings)

    def drop(self, shard: str, caption: str, rows: int) -> None:
        """Puts a new content of a shard into the source."""
        (self._source / f"{shard}.parquet").write_bytes(make_shard(caption, rows))
        self.expected[shard] = rows

    def spoil(self, shard: str) -> None:
        """Puts a file there that cannot be read; what is loaded stays."""
        (self._source / f"{shard}.parquet").write_bytes(b"<html>" * 100)

    def discover(self) -> None:
        """Lets the sensor do all that it wants to."""
        for _ in range(6):
            if not self.pipeline.tick():
                return

    def refresh(self, moment: datetime) -> None:
        """Does what the schedule asks for at this time."""
        schedule = self._defs.resolve_schedule_def("daily_refresh")
        context = dg.build_schedule_context(self.instance, scheduled_execution_time=moment)
        (request,) = schedule.evaluate_tick(context).run_requests or ()
        self._defs.resolve_job_def("refresh_counts").execute_in_process(
            instance=self.instance, run_config=QUIET, tags=request.tags, raise_on_error=False
        )
        self.refresh_count += 1

    def clean(self) -> None:
        """Does what the other schedule asks for."""
        job = self._defs.resolve_job_def("clean_history")
        assert job.execute_in_process(instance=self.instance).success

    def listen(self) -> None:
        """Lets the sensor of the alarms send what it has to say."""
        self.alarms += [alarm["title"] for alarm in self._watched.listen()]

    def pass_day(self) -> None:
        """Makes all runs a day older."""
        with self.instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            for column in ("update_timestamp", "create_timestamp"):
                older = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-1 day')"
                connection.execute(text(f"UPDATE runs SET {column} = {older}"))
        self.pipeline.wait(24 * 60)

    def check(self) -> None:
        """Everything that is released is what the sources have, by every count."""
        expected = {shard: rows for shard, rows in self.expected.items() if rows}
        assert count_rows(self.settings) == (expected, expected)
        store = LanceStore(self.settings.lance_dir)
        newest = newest_release(store)
        assert newest
        assert {shard.shard: shard.image_count for shard in newest.shards} == expected
        names = open_released(store, newest, "entity_counts").to_table().to_pylist()
        (foxes,) = (row["image_count"] for row in names if row["name"] == "fox")
        assert foxes == sum(expected.values())
        hosts = open_released(store, newest, "domain_counts").to_table().to_pylist()
        assert hosts == [{"domain": "a.test", "image_count": sum(expected.values())}]


@pytest.fixture
def site(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Site]:
    """Its data are on a small disk of their own."""
    source = tmp_path / "source"
    source.mkdir()
    made = make_settings(tmp_path, artists=("fox",))
    with mount(tmp_path / "disk", 400), run_webhook() as webhook:
        settings = replace(
            made, data_dir=tmp_path / "disk" / "data", shards=(f"{source}/*.parquet",)
        )
        yield Site(Watched(settings, instance, webhook), source)


def fill_disk(settings: Settings) -> Path:
    """Leaves no room for a release."""
    filler = settings.data_dir / "filler"
    free = shutil.disk_usage(settings.data_dir).free
    with filler.open("wb") as file:
        file.write(bytes(free - LEFT_BYTES))
    return filler


def make_older(settings: Settings) -> None:
    """Makes the database one of an older version."""
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE schema_version SET version = 3")
        connection.execute("ALTER TABLE images DROP COLUMN key")


def lose_and_restore(settings: Settings, backup: Path) -> None:
    """Loses all data, and restores them."""
    for folder in (settings.lance_dir, settings.raw_dir):
        shutil.rmtree(folder)
    settings.database.unlink()
    restore(settings, backup)


def upgrade_older(settings: Settings) -> None:
    """Upgrades the data of an older version."""
    make_older(settings)
    upgrade_tables(settings)


def plan_mornings(site: Site, month: Month, backup: Path) -> dict[int, Callable[[], None]]:
    """Returns what happens in the morning of which day."""
    sheet = Path(site.settings.sheets["artists"])

    def break_shards() -> None:
        for shard in ("two", "three"):
            site.spoil(shard)

    def mend_shards() -> None:
        for shard in ("two", "three"):
            site.drop(shard, "fox", 4)

    return {
        month.sheet_breaks: sheet.unlink,
        month.sheet_mended: lambda: write_names(sheet, ["fox"]),
        month.shards_break: break_shards,
        month.shards_mended: mend_shards,
        month.upgraded: lambda: upgrade_older(site.settings),
        month.restored: lambda: lose_and_restore(site.settings, backup),
    }


def refresh_twice(site: Site, moment: datetime, *, is_disk_full: bool) -> None:
    """Refreshes as the schedule says; after a full disk, once more when there is room."""
    filler = fill_disk(site.settings) if is_disk_full else None
    for number in range(REFRESHES_A_DAY):
        site.refresh(moment + timedelta(hours=12 * number))
        site.listen()
    if filler:
        filler.unlink()
        site.refresh(moment + timedelta(hours=23))


def live(site: Site, month: Month, backup: Path) -> list[int]:
    """Lives through a month; returns how many runs the history had after each day."""
    run_counts = []
    mornings = plan_mornings(site, month, backup)
    for shard in ("one", "two", "three"):
        site.drop(shard, "a fox", 3)
    for day in range(month.days):
        # Something new comes every day.
        site.drop("daily", f"fox {day}", 2 + day % 5)
        if day in mornings:
            mornings[day]()
        site.discover()
        moment = START + timedelta(days=day)
        refresh_twice(site, moment, is_disk_full=day == month.disk_full)
        if day == month.backed_up:
            back_up(site.settings, backup)
        site.clean()
        site.listen()
        site.check()
        run_counts.append(site.instance.get_runs_count())
        site.pass_day()
    return run_counts


def check_month(site: Site, month: Month, backup: Path) -> None:
    site.keep_runs(month.keep_days)
    run_counts = live(site, month, backup)

    assert site.refresh_count == REFRESHES_A_DAY * month.days + 1
    # One message for each cause, however long it lasted.
    assert Counter(site.alarms) == Counter(
        {
            "check artists: list_read failed": 1,
            "ingest_shards two failed": 1,
            "ingest_shards three failed": 1,
            "refresh_counts failed": 1,
            # Warnings of these shards and lists, from the first day to the last.
            "check images: few_repeats failed": 1,
            "check entity_counts: names_match failed": 1,
        }
    )
    # A day has some ten runs; what is kept is that of the last days and the last of each work.
    late = run_counts[int(month.keep_days) + 1 :]
    assert max(late) <= 12 * (month.keep_days + 2)
    wrong = [f.text for f in diagnose(site.settings).findings if not f.is_sound]
    assert wrong == []


def test_a_week_with_all_that_can_happen(site: Site, tmp_path: Path) -> None:
    check_month(site, SHORT, tmp_path / "backup")


def test_thirty_days_with_all_that_can_happen(site: Site, tmp_path: Path) -> None:
    check_month(site, WHOLE, tmp_path / "backup")
