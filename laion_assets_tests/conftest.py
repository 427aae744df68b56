"""Fixtures that every test may use: settings in a temporary folder, small shards, servers."""

import gc
import io
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser

from laion_assets import definitions
from laion_assets.raw_shards.sources.source import SourceRules
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets_tests.browser import NoBrowserError, launch_browser
from laion_assets_tests.quick_history import read_files_once
from laion_assets_tests.servers.buckets import Buckets, run_buckets
from laion_assets_tests.servers.file_server import FileServer, run_file_server
from laion_assets_tests.servers.hub_server import Hub
from laion_assets_tests.servers.postgres import NoPostgresError, Postgres, run_postgres

# Where the system offers files in memory, and how much of it a run of the tests may use.
MEMORY_FOLDER, MEMORY_BYTES = Path("/dev/shm"), 4 << 30  # noqa: S108 - pytest has its own in it
# What processes of tests need. The server that forks them is started once, with what it finds here.
FORKED = ("laion_assets_tests.conftest", "laion_assets_tests.pipeline", "laion_assets.definitions")


def pytest_configure() -> None:
    """Puts temporary folders into memory: tests write many small files and wait for the disk.

    Until all tests are found nothing that Python makes is garbage, and to look for some takes a
    third of the time.
    """
    gc.disable()
    multiprocessing.set_forkserver_preload([*FORKED, "lance"])
    if MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_FOLDER))


def pytest_collection_finish() -> None:
    """Spares modules and tests, which stay to the end, each later look for garbage."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Lets Python take all apart at its end, as libraries expect."""
    gc.unfreeze()


class WriteShard(Protocol):
    """Writes a shard's parquet file into the source folder and returns its path."""

    def __call__(self, shard: str, **columns: Sequence[object] | pa.Array) -> Path: ...


class WriteSheet(Protocol):
    """Writes the CSV file of a kind of names and returns its path."""

    def __call__(self, kind: str, *names: str) -> Path: ...


def make_shard(caption: str = "a fox", rows: int = 3, image_bytes: int = 0) -> bytes:
    """Returns a parquet file, with a column of noise that makes it as large as a test wants."""
    noise = random.Random(caption)  # noqa: S311
    columns = {
        "URL": [f"https://a.test/{row}.jpg" for row in range(rows)],
        "TEXT": [caption] * rows,
        "noise": [noise.randbytes(image_bytes) for _ in range(rows)],
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="none")
    return file.getvalue()


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A web server that has nothing yet."""
    with run_file_server() as server:
        yield server


@pytest.fixture
def hub(server: FileServer) -> Iterator[Hub]:
    """The Hugging Face Hub without any dataset, at the server; the bytes are on another one."""
    with run_file_server() as cdn:
        yield Hub(server, cdn)


@pytest.fixture
def rules(server: FileServer) -> SourceRules:
    """The Hub is the server, and pauses are short; the limit of time ends only what hangs."""
    return SourceRules(hub_endpoint=server.origin, timeout_s=60, attempts=3, backoff_s=0.01)


def make_settings(folder: Path, **names: Sequence[str]) -> Settings:
    """Returns settings with three kinds of names in a folder, each with one name or these."""
    sheets = {}
    for kind in ("artists", "celebrities", "characters"):
        path = folder / f"{kind}.csv"
        write_names(path, names.get(kind, [f"Some {kind}"]))
        sheets[kind] = str(path)
    return replace(Settings.default(folder / "data"), sheets=MappingProxyType(sheets))


def write_names(path: Path, names: Sequence[str]) -> None:
    """Writes a CSV file of names."""
    quoted = ('"' + name.replace('"', '""') + '"' for name in ("name", *names))
    path.write_text("\n".join(quoted) + "\n", encoding="utf-8")


def copy_made(made: Settings, settings: Settings) -> Settings:
    """Gives settings the data and the names that others have; returns them.

    For what is dear to make: a fixture of the module makes it, and each test changes a copy.
    """
    shutil.copytree(made.data_dir, settings.data_dir)
    for kind, sheet in made.sheets.items():
        shutil.copy(sheet, settings.sheets[kind])
    return settings


# For tests of what has to be the same with tables in files and in a bucket. A bucket takes ten
# times as long; `test_bucket_database.py` and `test_bucket_commands.py` have all steps in one.
IN_BOTH_PLACES = pytest.mark.parametrize(
    "settings", ["folder", pytest.param("bucket", marks=pytest.mark.exhaustive)], indirect=True
)


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings with three empty-handed kinds, each with a sheet of one name."""
    made = make_settings(tmp_path)
    if getattr(request, "param", "folder") == "folder":
        return made
    return replace(made, bucket=request.getfixturevalue("bucket"))


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Programs started here heed signals, even if the tests run in a background that ignores them.

    There Dagster lets this process ignore SIGTERM too, after a run.
    """
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    end = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, end)


@pytest.fixture
def database(settings: Settings) -> Database:
    """The tables of the settings, with short waits for their file."""
    return Database.at(
        settings.database, settings.warehouse_bucket, queue_wait_s=20, stranger_wait_s=20
    )


@pytest.fixture
def write_shard(settings: Settings) -> WriteShard:
    """Writes small shards where the settings look for them."""

    def write(shard: str, **columns: Sequence[object] | pa.Array) -> Path:
        path = settings.data_dir / "shards" / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), path)
        return path

    return write


@pytest.fixture
def write_sheet(settings: Settings) -> WriteSheet:
    """Replaces the names of a kind."""

    def write(kind: str, *names: str) -> Path:
        path = Path(settings.sheets[kind])
        write_names(path, names)
        return path

    return write


@pytest.fixture(scope="session", autouse=True)
def quick_history() -> Iterator[None]:
    """Histories on disk are opened quickly."""
    with read_files_once():
        yield


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own, in memory; the command line's tests have one on disk."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the thirty checks out of refreshes in this process: they take half of the time.

    For tests that ask nothing of them. `test_checks.py` of the stages, the demo, and programs of
    their own have them.
    """
    monkeypatch.setattr(definitions, "TABLE_CHECKS", ())
    monkeypatch.setattr(definitions, "build_checks", lambda _: [])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Whatever browser is installed. While it is there, no other event loop can run."""
    try:
        with launch_browser() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(f"no browser: {error}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server; a test that stops it starts it again."""
    try:
        with run_postgres() as server:
            yield server
    except NoPostgresError as error:
        pytest.skip(f"no Postgres: {error}")


@pytest.fixture
def catalog(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database, which `LAION_CATALOG` has."""
    address = postgres.create_database()
    monkeypatch.setenv("LAION_CATALOG", address)
    return address


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    """A service with buckets that honours conditional PUTs."""
    with run_buckets() as buckets:
        yield buckets


@pytest.fixture
def bucket(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in a bucket, at the service that the environment names."""
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    return buckets.create()
