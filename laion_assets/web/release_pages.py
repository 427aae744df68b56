"""The first page, those of releases, and what all of it is about."""

from __future__ import annotations

from collections.abc import Iterator

from laion_assets.releases.manifest import Manifest
from laion_assets.search.safety import PUNSAFE_THRESHOLD
from laion_assets.web.responses import About, Count, Home, ReleaseLine, ReleasePage, ReleasesPage
from laion_assets.web.visit import NotFoundError, Row, Visit
from laion_assets.web.wording import hide_folders

TOP_DOMAINS = TOP_SITES = 15
TOP_NAMES = 10


def build_home(visit: Visit) -> Home:
    """Says what is in the release."""
    release, manifest = visit.release, visit.release.manifest
    top = release.domains.select().slice(0, TOP_DOMAINS)
    return Home(
        release=manifest.release,
        released_at=manifest.released_at,
        content_sha256=manifest.content_sha256,
        image_count=release.image_count,
        site_count=release.sites.select().num_rows,
        domain_count=len(release.domains),
        shard_count=len(manifest.shards),
        sample_shard_count=manifest.sample_count,
        name_counts={kind: len(names) for kind, names in release.names.items()},
        top_sites=tuple(
            Count(name=row["registered_domain"], image_count=row["image_count"])
            for row in release.sites.select().slice(0, TOP_SITES).to_pylist()
        ),
        top_domains=tuple(
            Count(name=row["domain"], image_count=row["image_count"]) for row in top.to_pylist()
        ),
        top_names={
            kind: tuple(Count(name=n, image_count=c) for n, c in names[:TOP_NAMES])
            for kind, names in release.names.items()
        },
    )


def build_releases(visit: Visit) -> ReleasesPage:
    """Lists the releases, and says what changed with the newest."""
    releases = visit.shelf.releases
    return ReleasesPage(
        release=visit.tag,
        releases=tuple(map(_sum_up, releases)),
        changes=visit.shelf.compare(releases[0].release),
    )


def list_releases(visit: Visit) -> Iterator[Row]:
    """Yields all releases."""
    return (_sum_up(manifest).model_dump() for manifest in visit.shelf.releases)


def build_release(visit: Visit) -> ReleasePage:
    """Shows one release, the one before included in what changed."""
    tag = visit.path["tag"]
    manifest = visit.shelf.find(tag)
    if manifest is None:
        raise NotFoundError(f"there is no release {tag!r}")
    shards = tuple(s.model_copy(update={"source": hide_folders(s.source)}) for s in manifest.shards)
    sheets = tuple(
        s.model_copy(update={"location": hide_folders(s.location)}) for s in manifest.sheets
    )
    shown = manifest.model_copy(update={"shards": shards, "sheets": sheets})
    return ReleasePage(release=visit.tag, manifest=shown, changes=visit.shelf.compare(tag))


def build_about(visit: Visit) -> About:
    """Says what the pages are about."""
    return About(release=visit.tag, punsafe_threshold=PUNSAFE_THRESHOLD)


def _sum_up(manifest: Manifest) -> ReleaseLine:
    return ReleaseLine(
        release=manifest.release,
        released_at=manifest.released_at,
        image_count=manifest.row_counts["images"],
        shard_count=len(manifest.shards),
        content_sha256=manifest.content_sha256,
    )
