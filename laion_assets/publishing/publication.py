"""Publishes a release as a dataset with the layout of laion-1m, so that no reader sees half of it.

What a version names is brought before the version; the tag of `train` comes last of the tables, and
the record of the release after all. An attempt that was cut off is taken up by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laion_assets.curation.terms import Terms
from laion_assets.errors import LaionError
from laion_assets.publishing.card import write_card
from laion_assets.publishing.scrub import scrub_record
from laion_assets.publishing.staging import Staged, stage_release
from laion_assets.publishing.target import CARD, RECORD, StagedFile, Target, There
from laion_assets.releases.catalog import find_release
from laion_assets.releases.hidden_rows import holds_removed_rows
from laion_assets.releases.manifest import Manifest
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.locks import name_digest


@dataclass(frozen=True)
class PublishOrder:
    """What is to be published.

    Attributes:
        folder: where published forms are made, on the disk of the tables.
        release: the tag; None: the newest.
        terms: what the publisher says of it.
        terms_file: where these stand.
    """

    folder: Path
    release: str | None = None
    terms: Terms = field(default_factory=Terms)
    terms_file: Path | None = None


@dataclass(frozen=True)
class Published:
    """What a publication did.

    Attributes:
        place: where the release is now.
        manifest: its record without what is private.
        sent_files: that were not there before.
        sent_bytes: size of these.
        kept_files: files of the release that were there already.
        missing: what the card still has to be told.
    """

    place: str
    manifest: Manifest
    sent_files: int
    sent_bytes: int
    kept_files: int
    missing: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        """Whether anything was sent."""
        return self.sent_files > 0


def publish_dataset(store: LanceStore, target: Target, order: PublishOrder) -> Published:
    """Publishes a release; what is there of it already is not sent again.

    Args:
        store: the Lance tables.
        target: where to.
        order: what.

    Raises:
        LaionError: there is no such release, it must not be published, a newer one is there
            already, or something else is.
        DiskSpaceError: the disk has no room for it.
    """
    manifest = find_release(store, order.release)
    if holds_removed_rows(store, manifest):
        raise LaionError(
            f"release {manifest.release}: it has images that are on the list of removals; load "
            "their shards again (`laion backfill --missing`), and publish the new release",
            code="publish-removed-rows",
        )
    if target.is_public and order.terms.missing:
        raise _say_missing(order)
    digest = name_digest(target.name)
    with store.lock(f"publish-{digest}"):
        there = target.look()
        _check_order(there, manifest, target)
        folder = order.folder / digest
        staged = _find_there(manifest, there) or stage_release(store, manifest, there, folder)
        texts = {
            CARD: write_card(store, staged.manifest, order.terms, target),
            RECORD: staged.manifest.model_dump_json(indent=2) + "\n",
        }
        sent = _bring(staged, _write(texts, folder), there, target)
        shutil.rmtree(folder)
    return Published(
        place=target.name,
        manifest=staged.manifest,
        sent_files=len(sent),
        sent_bytes=sum(sent),
        kept_files=len(staged.content) + len(staged.heads) + len(texts) - len(sent),
        missing=order.terms.missing,
    )


def _find_there(manifest: Manifest, there: There) -> Staged | None:
    """Returns the published form without any file, if the destination has it already."""
    record = there.record
    if record is None or scrub_record(manifest, record.lance_versions) != record:
        return None
    return Staged(record)


def _write(texts: Mapping[str, str], folder: Path) -> list[StagedFile]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [StagedFile(name, folder / name) for name in texts]


def _bring(staged: Staged, texts: Sequence[StagedFile], there: There, target: Target) -> list[int]:
    """Sends what is not there; returns the sizes of it."""
    content = [file for file in staged.content if not there.has(file)]
    heads = [file for file in staged.heads if not there.has(file)]
    # The record last: a destination has the release that it names.
    changed = [file for file in texts if file.source.read_text("utf-8") != there.texts[file.path]]
    sizes = [file.size for file in (*content, *heads, *changed)]
    if content:
        target.send(content)
    target.finish([*heads, *changed], staged.manifest.release)
    return sizes


def _say_missing(order: PublishOrder) -> LaionError:
    names = " and ".join(f"`{name}`" for name in order.terms.missing)
    return LaionError(
        f"{order.terms_file} [publish]: the dataset card needs {names}; write them there, such as "
        'license = "cc-by-4.0" and contact = "an address for questions and removals"',
        code="publish-terms-missing",
    )


def _check_order(there: There, manifest: Manifest, target: Target) -> None:
    """Checks that readers of the newest version will not see an older release.

    Raises:
        LaionError: they would.
    """
    newest = there.record
    if newest is None:
        return
    if newest.release == manifest.release and newest.content_sha256 != manifest.content_sha256:
        raise LaionError(
            f"{target.name}: has another release of the name {newest.release}; publish to another "
            "place",
            code="publish-other-there",
        )
    if newest.released_at > manifest.released_at:
        raise LaionError(
            f"{target.name}: has release {newest.release}, which is newer than {manifest.release}; "
            "publish older releases to another place",
            code="publish-newer-there",
        )
