"""What `laion doctor` says: whether everything is as it has to be, and what to do where it is not.

It writes nothing but lock files, and can run beside loads: each part reads what is committed. What
a part cannot read is a finding of its own, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError, first_line
from laion_assets.operations.finding import Diagnosis, Finding
from laion_assets.settings import SettingsError

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.settings import Settings


def diagnose(
    settings: Settings | None, problem: str | None = None, *, is_hashing: bool = False
) -> Diagnosis:
    """Looks at everything.

    Args:
        settings: what to look at; None if they cannot be read.
        problem: why they cannot be read.
        is_hashing: whether to read the raw files to their end and compare their SHA-256.
    """
    if settings is None:
        return Diagnosis.of([Finding.wrong("settings", problem or "unusable")])
    findings: list[Finding] = []
    with ExitStack() as stack:
        instance = None
        try:
            instance = stack.enter_context(_open_history(settings))
        except Exception as error:  # noqa: BLE001
            findings.append(_explain("history", error))
        for part, ask in list_parts(settings, instance, is_hashing=is_hashing):
            findings += look(part, ask)
    return Diagnosis.of(findings)


def list_parts(
    settings: Settings, instance: dg.DagsterInstance | None, *, is_hashing: bool
) -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Returns what is looked at, in this order, each with its name."""
    from laion_assets.operations import (
        diagnose_cluster,
        diagnose_host,
        diagnose_ray,
        diagnose_runs,
        diagnose_stores,
    )

    parts = [
        ("settings", lambda: diagnose_host.look_at_settings(settings)),
        ("versions", lambda: diagnose_host.look_at_versions(settings)),
        ("catalog", lambda: diagnose_cluster.look_at_catalog(settings)),
        ("bucket", lambda: diagnose_cluster.look_at_bucket(settings)),
        ("ray", lambda: diagnose_ray.look_at_ray(settings)),
        ("locks", lambda: diagnose_host.look_at_locks(settings)),
        ("disk", lambda: diagnose_host.look_at_disks(settings)),
        ("stores", lambda: diagnose_stores.look_at_stores(settings, instance)),
        ("raw files", lambda: diagnose_stores.look_at_raw_files(settings, is_hashing=is_hashing)),
        ("releases", lambda: diagnose_stores.look_at_releases(settings)),
        ("lists", lambda: diagnose_host.look_at_lists(settings)),
        ("lists", lambda: diagnose_host.look_at_removals(settings)),
        ("encoder", lambda: diagnose_host.look_at_encoder(settings)),
    ]
    if instance is not None:
        parts += [
            ("daemon", lambda: diagnose_runs.look_at_daemon(instance)),
            ("runs", lambda: diagnose_runs.look_at_runs(instance)),
            ("history", lambda: diagnose_runs.look_at_history(settings, instance)),
        ]
    return parts


def look(part: str, ask: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Returns what a part finds; that it cannot be looked at is a finding, too."""
    found: list[Finding] = []
    try:
        # What it found before it failed counts.
        found.extend(ask())
    except Exception as error:  # noqa: BLE001
        found.append(_explain(part, error))
    return found


def _explain(part: str, error: Exception) -> Finding:
    text = str(error) if isinstance(error, LaionError | SettingsError) else None
    if text is None and isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}; check that it can be read"
    text = text or f"cannot be looked at ({type(error).__name__}: {first_line(error)})"
    return Finding.wrong(part, text)


@contextmanager
def _open_history(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """Opens the history if there is one: to look must not make it."""
    from laion_assets.runs.instance import open_instance_to_read

    if not _has_history(settings):
        yield None
        return
    with open_instance_to_read() as instance:
        yield instance


def _has_history(settings: Settings) -> bool:
    from laion_assets.stores.postgres import ask

    if settings.catalog is None:
        return (settings.history_dir / "history").is_dir()
    return bool(ask(settings.catalog, "stores/catalog_has_history")[0][0])
