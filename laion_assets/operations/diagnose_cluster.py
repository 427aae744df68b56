"""What `laion doctor` finds of what several machines share: Postgres and a bucket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from filelock import Timeout

from laion_assets.operations.finding import Finding

if TYPE_CHECKING:
    from laion_assets.settings import Settings

# Lance and Dagster compare times of different machines: which version is old, which run is late.
MOST_CLOCK_DIFFERENCE_S = 5.0
# Before it, sessions may end for being idle though they hold locks.
OLDEST_POSTGRES = 14


def look_at_catalog(settings: Settings) -> Iterator[Finding]:
    """Finds a Postgres that cannot be used: not reached, too old, another time, no locks."""
    from laion_assets.stores.postgres import ask, name_catalog

    if settings.catalog is None:
        return
    asked_at = time.time()
    ((version, server_time),) = ask(settings.catalog, "stores/catalog_server")
    # The answer was given at some time in between.
    difference = max(asked_at - server_time, server_time - time.time(), 0.0)
    wrong = []
    if int(version.split(".")[0]) < OLDEST_POSTGRES:
        wrong.append(f"Postgres {version}: version {OLDEST_POSTGRES} or newer is needed")
    if difference > MOST_CLOCK_DIFFERENCE_S:
        wrong.append(
            f"the clock of Postgres and that of this machine differ by {difference:,.0f} s; set "
            "both by NTP"
        )
    if not _has_locks(settings.catalog):
        wrong.append(
            "two sessions got the same lock; connect to Postgres itself, or let the pool in "
            "between keep sessions apart (`pool_mode = session` of PgBouncer)"
        )
    yield from (Finding.wrong("catalog", f"LAION_CATALOG: {text}") for text in wrong)
    if not wrong:
        yield Finding.sound(
            "catalog", f"Postgres {version} at {name_catalog(settings.catalog)}, its locks work"
        )


def look_at_bucket(settings: Settings) -> Iterator[Finding]:
    """Finds a bucket that cannot be used: not reached, unsafe for several writers, another time."""
    from laion_assets.stores.object_store import ObjectStore

    if settings.lance_bucket is None:
        return
    store = ObjectStore(settings.lance_bucket)
    asked_at = time.time()
    # The header has whole seconds.
    server_time = store.read_clock().timestamp()
    difference = max(asked_at - server_time - 1, server_time - time.time(), 0.0)
    store.probe()
    if difference > MOST_CLOCK_DIFFERENCE_S:
        yield Finding.wrong(
            "bucket",
            "LAION_DATA_DIR: the clock of the store and that of this machine differ by "
            f"{difference:,.0f} s; set both by NTP",
        )
        return
    locks = "" if settings.catalog else "; without LAION_CATALOG one machine alone may write"
    yield Finding.sound("bucket", f"{store.uri} can be written and keeps what is there{locks}")


def _has_locks(catalog: str) -> bool:
    """Returns whether a lock keeps another session out, and lets it in when it is given back."""
    from laion_assets.stores.postgres import CatalogLock

    name = f"doctor/{uuid.uuid4()}"
    with CatalogLock(catalog, name, patience_s=0) as held:
        held.check()
        try:
            with CatalogLock(catalog, name, patience_s=0).acquire(blocking=False):
                return False
        except Timeout:
            pass
    with CatalogLock(catalog, name, patience_s=0).acquire():
        return True
