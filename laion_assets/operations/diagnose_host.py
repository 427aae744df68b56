"""What `laion doctor` finds beside the tables: settings, versions, locks, disks, lists, encoder."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.amounts import say_amount
from laion_assets.errors import LaionError, ShardError
from laion_assets.operations.finding import Finding

if TYPE_CHECKING:
    from laion_assets.settings import Settings

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?([^;]*)(;.*)?")
# What stands behind a requirement of the extra.
_IN_CLUSTER = "'cluster'"
# With less than this free, Dagster's history and the locks fail before anything is refused.
LEAST_FREE_BYTES = 200_000_000
# So many lines of a list are named.
MOST_LINES = 5


def look_at_settings(settings: Settings) -> Iterator[Finding]:
    """Finds settings that are misspelt, and folders, files and places that cannot be used."""
    from laion_assets.curation.resource import CurationFile
    from laion_assets.settings import find_misspelt

    wrong = [
        f"{name}: no setting has this name; did you mean {near}?"
        for name, near in find_misspelt().items()
    ]
    for name, folder in (
        ("LAION_DATA_DIR", settings.data_dir),
        ("LAION_HISTORY_DIR", settings.history_dir),
    ):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            wrong.append(f"{name}: {folder} cannot be written; change its owner or its mode")
    wrong += _list_unusable_locations(settings)
    for name, look in (
        ("LAION_CURATION", CurationFile.build(settings).read),
        ("LAION_PUBLISH", partial(_look_at_place, settings)),
    ):
        try:
            look()
        except LaionError as error:
            wrong.append(f"{name}: {error}")
    yield from (Finding.wrong("settings", text) for text in wrong)
    if not wrong:
        place = settings.bucket or settings.data_dir
        yield Finding.sound(
            "settings", f"data in {place}, {say_amount(len(settings.shards), 'source')}"
        )


def _list_unusable_locations(settings: Settings) -> Iterator[str]:
    from laion_assets.raw_shards.sources.listing import check_scheme
    from laion_assets.raw_shards.sources.source import split_scheme

    for location in settings.shards:
        near = not split_scheme(location)
        if near and not any(glob.iglob(str(Path(location).expanduser()))):  # noqa: PTH207
            yield f"LAION_SHARDS: no file is at {location}; put shards there, or correct it"
        try:
            check_scheme(location)
        except ShardError as error:
            yield f"LAION_SHARDS: {error}"


def _look_at_place(settings: Settings) -> None:
    """Raises what a publication would, as far as that can be told without the network."""
    from laion_assets.publishing.destinations import open_target
    from laion_assets.publishing.folder_target import FolderTarget

    if settings.publish is not None:
        target = open_target(settings.publish, settings.hub_endpoint)
        if isinstance(target, FolderTarget):
            target.look()


def look_at_versions(settings: Settings) -> Iterator[Finding]:
    """Finds libraries of versions that this version of the project does not work with."""
    from packaging.specifiers import SpecifierSet

    wrong = []
    is_shared = settings.bucket is not None or settings.catalog is not None
    for line in requires("laion-assets") or ():
        match = _REQUIREMENT.fullmatch(line)
        if match is None or (match[3] and not (is_shared and _IN_CLUSTER in match[3])):
            continue
        try:
            found = version(match[1])
        except PackageNotFoundError:
            wrong.append(f"{match[1]}: not installed; run `pip install laion-assets` again")
            continue
        if not SpecifierSet(match[2].strip()).contains(found, prereleases=True):
            wrong.append(
                f"{match[1]} {found}: version {match[2].strip()} is needed; "
                "run `pip install laion-assets` again"
            )
    yield from (Finding.wrong("versions", text) for text in wrong)
    if not wrong:
        ours = version("laion-assets")
        yield Finding.sound(
            "versions", f"laion-assets {ours} on Python {platform.python_version()}"
        )


def look_at_locks(settings: Settings) -> Iterator[Finding]:
    """Finds processes that hold locks and have been stopped."""
    from laion_assets.orchestration.processes import is_stopped
    from laion_assets.stores.locks import find_holders

    holders = find_holders(settings.data_dir / "locks")
    for pid, names in find_holders(settings.data_dir).items():
        holders.setdefault(pid, []).extend(names)
    if settings.catalog is not None:
        from laion_assets.stores.postgres import ask

        for (holder,) in ask(settings.catalog, "stores/catalog_holders"):
            yield Finding.sound("locks", f"held in Postgres by process {holder}")
    stopped = {pid: names for pid, names in holders.items() if is_stopped(pid)}
    for pid, names in stopped.items():
        yield Finding.wrong(
            "locks",
            f"process {pid} holds {', '.join(sorted(names))} and is stopped, so others wait; "
            f"continue it with `kill -CONT {pid}`, or end it",
        )
    if not stopped:
        held = ", ".join(f"process {pid} holds {len(names)}" for pid, names in holders.items())
        yield Finding.sound("locks", held or "none is held")


def look_at_disks(settings: Settings) -> Iterator[Finding]:
    """Finds disks without room for the next release, or for the history."""
    from laion_assets.stores.disk_space import estimate_release
    from laion_assets.stores.lance_store import LanceStore

    for name, folder in (("data", settings.data_dir), ("history", settings.history_dir)):
        place = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(place).free
        if free < LEAST_FREE_BYTES:
            yield Finding.wrong(
                "disk",
                f"{folder}: {free / 1e6:,.1f} MB free; make room for "
                f"{LEAST_FREE_BYTES / 1e6:,.0f} MB at least",
            )
        else:
            yield Finding.sound("disk", f"{free / 1e9:,.1f} GB free for the {name} in {folder}")
    store = LanceStore.of(settings)
    images = store.find("images")
    if images is not None:
        store.check_space(estimate_release(images), "the next release")


def look_at_lists(settings: Settings) -> Iterator[Finding]:
    """Finds lists of names that cannot be read."""
    from laion_assets.errors import SheetError
    from laion_assets.names.sheets import read_sheet

    for kind, location in settings.sheets.items():
        try:
            sheet = read_sheet(kind, location)
        except SheetError as error:
            yield Finding.wrong("lists", str(error))
        else:
            column = f"column {sheet.name_header!r}"
            yield Finding.sound(
                "lists", f"{kind}: {say_amount(len(sheet.rows), 'name')} in {column} of {location}"
            )


def look_at_removals(settings: Settings) -> Iterator[Finding]:
    """Finds a list of removals that cannot be read, and lines of it that are no entry."""
    from laion_assets.errors import SheetError
    from laion_assets.removals.removal_list import read_or_keep
    from laion_assets.stores.removal_file import Removals

    if settings.removals is None:
        return
    try:
        # As if it were read for the first time: the one of before would hide that it cannot be.
        removals, _ = read_or_keep(Removals(), settings.removals)
    except SheetError as error:
        yield Finding.wrong("lists", str(error))
        return
    if removals.unread_lines:
        lines = ", ".join(map(str, removals.unread_lines[:MOST_LINES]))
        amount = say_amount(len(removals.unread_lines), "line")
        yield Finding.wrong(
            "lists",
            f"{settings.removals}: {amount} without an entry, line {lines} among them; write a "
            "URL, a host, an id of an image or a digest of a picture in each",
        )
    count = len(removals.entries)
    yield Finding.sound("lists", f"removals: {say_amount(count, 'entry')} in {settings.removals}")


def look_at_encoder(settings: Settings) -> Iterator[Finding]:
    """Finds an encoder that cannot be used, or is another than that of the released vectors."""
    from laion_assets.embeddings.encoder import open_encoder
    from laion_assets.releases.catalog import newest_release
    from laion_assets.stores.lance_store import LanceStore

    if settings.encoder is None:
        yield Finding.sound("encoder", "none is set")
        return
    if settings.encoder.startswith("hf://"):
        # To look into it would fetch it.
        yield Finding.sound("encoder", f"{settings.encoder} is fetched when it is needed")
        return
    encoder = open_encoder(settings.encoder)
    newest = newest_release(LanceStore.of(settings))
    vectors = newest.vectors if newest else None
    if newest and vectors and vectors.encoder_digest not in (None, encoder.digest):
        yield Finding.wrong(
            "encoder",
            f"LAION_ENCODER: {settings.encoder} is not the encoder of release {newest.release}, "
            "so nobody can search it by meaning; set the one of before, or remove all shards that "
            "have its vectors (`laion remove`) and load them again",
        )
    else:
        yield Finding.sound("encoder", f"{settings.encoder} can be opened")
