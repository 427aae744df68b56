"""Compares how many images several searches find, in one release and from release to release."""

from __future__ import annotations

from collections.abc import Iterator

from laion_assets.errors import LaionError
from laion_assets.web.current_release import MAX_PINNED, NoReleaseError, OpenRelease
from laion_assets.web.found import find_hits
from laion_assets.web.params import CompareQuery
from laion_assets.web.responses import Compared, ComparePage, ReleaseCount
from laion_assets.web.visit import Row, Visit

# As many as are kept open together.
MAX_RELEASES = 1 + MAX_PINNED
COMPARED_COLUMNS = ("query", "release", "image_count", "hidden_count", "shown_count")


def build_compare(visit: Visit) -> ComparePage:
    """Counts what each search finds."""
    query = visit.ask(CompareQuery)
    counts: dict[str, list[ReleaseCount]] = {phrase: [] for phrase in query.q}
    notes: dict[str, tuple[str, ...]] = {}
    # A release at a time, so that each is opened once.
    for release in _open_releases(visit):
        for phrase in query.q:
            counted, said = _count(release, query, phrase)
            counts[phrase].append(counted)
            notes.setdefault(phrase, said)
    searches = tuple(
        Compared(
            query=phrase,
            counts=tuple(counts[phrase]),
            notes=notes[phrase],
            address=query.of(phrase).write("/search"),
        )
        for phrase in query.q
    )
    return ComparePage(
        release=visit.tag, searches=searches, release_count=len(_list_tags(visit)[:MAX_RELEASES])
    )


def list_compared(visit: Visit) -> Iterator[Row]:
    """Yields a row for each search and release."""
    for search in build_compare(visit).searches:
        for count in search.counts:
            yield {"query": search.query, **count.model_dump()}


def _list_tags(visit: Visit) -> list[str]:
    """Returns the tag of the release that is shown, and of those before it, the newest first."""
    tags = [manifest.release for manifest in visit.shelf.releases]
    # One that was made since the last look is newer than all.
    earlier = tags[tags.index(visit.tag) + 1 :] if visit.tag in tags else tags
    return [visit.tag, *earlier]


def _open_releases(visit: Visit) -> Iterator[OpenRelease]:
    yield visit.release
    if visit.ask(CompareQuery).history:
        for tag in _list_tags(visit)[1:MAX_RELEASES]:
            try:
                release = visit.shelf.open(tag)
            except NoReleaseError:
                # It was deleted since the last look.
                continue
            yield release


def _count(
    release: OpenRelease, query: CompareQuery, phrase: str
) -> tuple[ReleaseCount, tuple[str, ...]]:
    """Returns what a search finds in a release, and what was not understood."""
    try:
        answer = find_hits(release, query.of(phrase), 0, 0)
    except LaionError as error:
        raise LaionError(f"{phrase[:100]}: {error}", code="compare-phrase-unusable") from None
    counted = ReleaseCount(
        release=release.manifest.release,
        released_at=release.manifest.released_at,
        image_count=answer.total,
        hidden_count=answer.hidden,
        shown_count=answer.shown,
    )
    return counted, answer.notes
