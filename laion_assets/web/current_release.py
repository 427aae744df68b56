"""The release that the pages show, opened once for all requests and replaced when there is a newer.

A request keeps the release that it began with, so a new one disturbs nobody.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock, Thread
from typing import TYPE_CHECKING, Literal, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.images.registered_domain import registered_domain
from laion_assets.releases.catalog import (
    list_count_tables,
    list_releases,
    list_tags,
    open_released,
    read_release,
)
from laion_assets.releases.diff import Moves, ReleaseDiff, compare_releases
from laion_assets.releases.hidden_rows import HiddenRows, find_hidden, subtract
from laion_assets.releases.manifest import Manifest
from laion_assets.removals.matching import Matcher
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import CaptionSearch
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals

if TYPE_CHECKING:
    import pyarrow as pa

    from laion_assets.embeddings.encoder import Encoder

logger = logging.getLogger(__name__)

# Rows of a table of counts that are read at a time.
BATCH_ROWS = 10_000
MOVES_SHOWN = 10
# Releases besides the one that is shown that are kept open.
MAX_PINNED = 3
# Name of the thread that reads what common words need.
GATHERING = "common words"
CountOrder: TypeAlias = Literal["count", "name"]


class NoReleaseError(LaionError):
    """There is no release of this name."""


class DomainCounts:
    """The domains of a release with their images, the largest first."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.sort_by([("image_count", "descending"), ("domain", "ascending")])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def find(self, domain: str) -> tuple[int, int] | None:
        """Returns the images of a domain and its rank from 1; None if it has none."""
        import pyarrow.compute as pc

        place = pc.index(self._table["domain"], domain.lower()).as_py()
        return None if place < 0 else (self._table["image_count"][place].as_py(), place + 1)

    def has_below(self, host: str) -> bool:
        """Returns whether a domain is below a host, such as `a.co.uk` below `co.uk`."""
        import pyarrow.compute as pc

        # A domain may end with a dot.
        ends = (pc.ends_with(self._table["domain"], f".{host}{dot}") for dot in ("", "."))
        return any(pc.any(is_below).as_py() for is_below in ends)

    def select(self, containing: str = "", order: CountOrder = "count") -> pa.Table:
        """Returns the domains with a text in them, whatever its case."""
        import pyarrow.compute as pc

        table = self._table
        if containing:
            table = table.filter(pc.match_substring(table["domain"], containing.lower()))
        return table.sort_by("domain") if order == "name" else table


class SiteCounts:
    """The registered domains of a release with their images and hosts, the largest first."""

    def __init__(self, table: pa.Table, domains: DomainCounts) -> None:
        keys = [("image_count", "descending"), ("registered_domain", "ascending")]
        self._table = table.sort_by(keys)
        self._domains = domains

    @classmethod
    def count(cls, domains: DomainCounts) -> SiteCounts:
        """Counts the sites of a release from before there was a table of them."""
        import pyarrow as pa

        table = domains.select()
        sites = list(map(registered_domain, table["domain"].to_pylist()))
        counts = pa.table({"registered_domain": sites, "image_count": table["image_count"]})
        summed = counts.group_by("registered_domain").aggregate(
            [("image_count", "sum"), ("image_count", "count")]
        )
        named = {"image_count_sum": "image_count", "image_count_count": "host_count"}
        names = [named.get(name, name) for name in summed.schema.names]
        return cls(summed.rename_columns(names), domains)

    def find(self, site: str) -> tuple[int, int] | None:
        """Returns the images of a site and its rank from 1; None if it has none."""
        import pyarrow.compute as pc

        place = pc.index(self._table["registered_domain"], site).as_py()
        return None if place < 0 else (self._table["image_count"][place].as_py(), place + 1)

    def select_hosts(
        self, site: str, containing: str = "", order: CountOrder = "count"
    ) -> pa.Table:
        """Returns the hosts of a site with their images, those with a text in them."""
        import pyarrow.compute as pc

        hosts = self._domains.select(containing, order)
        hosts = hosts.filter(pc.match_substring(hosts["domain"], site))
        return hosts.filter([registered_domain(h) == site for h in hosts["domain"].to_pylist()])

    def select(self, containing: str = "", order: CountOrder = "count") -> pa.Table:
        """Returns the sites with a text in their name, whatever its case."""
        import pyarrow.compute as pc

        table = self._table
        if containing:
            found = pc.match_substring(table["registered_domain"], containing.lower())
            table = table.filter(found)
        return table.sort_by("registered_domain") if order == "name" else table


@dataclass(frozen=True)
class OpenRelease:
    """A release with all that the pages need of it.

    Attributes:
        manifest: its record.
        search: its captions.
        domains: the images of each domain.
        sites: the images of each registered domain.
        names: the names of each kind with their images, the most first.
        subset: the name of the subset that it is, if it is one.
        hidden_count: images of it that came onto the list of removals since. None of the others
            counts them.
    """

    manifest: Manifest
    search: CaptionSearch
    domains: DomainCounts
    sites: SiteCounts
    names: Mapping[str, Sequence[tuple[str, int]]]
    subset: str | None = None
    hidden_count: int = 0

    @classmethod
    def open(
        cls,
        store: LanceStore,
        manifest: Manifest,
        *,
        keeps_hits: bool = True,
        encoder: Encoder | None = None,
    ) -> OpenRelease:
        """Opens a release, and reads what the first visitor would wait for.

        Args:
            store: the Lance tables.
            manifest: its record.
            keeps_hits: keep most columns of hits in memory, for a release that many ask for.
            encoder: makes vectors of texts and pictures, to search by their meaning.
        """
        tables = {
            table: open_released(store, manifest, table)
            for table in ("images", *list_count_tables(manifest))
        }
        hidden = HiddenRows(tables["images"], find_hidden(store, manifest))
        search = CaptionSearch(
            tables["images"],
            manifest.release,
            keeps_hits=keeps_hits,
            vectors=manifest.vectors,
            encoder=encoder,
            hidden=hidden.ids,
        )
        if keeps_hits:
            search.find("a", only=SearchFilter(hide_punsafe_above=1), limit=1)
            search.count_facets("a")
        names: dict[str, list[tuple[str, int]]] = {sheet.kind: [] for sheet in manifest.sheets}
        rows = tables["entity_counts"].to_table().sort_by([("image_count", "descending")])
        for row in rows.to_pylist():
            names.setdefault(row["kind"], []).append((row["name"], row["image_count"]))
        counts = tables["domain_counts"].to_table()
        site_counts = tables["site_counts"].to_table() if "site_counts" in tables else None
        if len(hidden.ids):
            names = _leave_out(names, hidden)
            all_counts = counts
            counts = subtract(counts, "domain", sum_hosts(hidden))
            if site_counts is not None:
                site_counts = _leave_out_sites(site_counts, hidden, all_counts, counts)
        domains = DomainCounts(counts)
        if site_counts is not None:
            sites = SiteCounts(site_counts, domains)
        else:
            sites = SiteCounts.count(domains)
        return cls(manifest, search, domains, sites, names, hidden_count=len(hidden.ids))

    @property
    def image_count(self) -> int:
        """Images in it that are shown."""
        return self.manifest.row_counts["images"] - self.hidden_count

    @cached_property
    def counts_by_name(self) -> Mapping[tuple[str, str], int]:
        """The images of each name, by kind and name."""
        return {(kind, name): n for kind, rows in self.names.items() for name, n in rows}


class Shelf:
    """Holds the release that is shown: the newest, or the one that was asked for."""

    def __init__(
        self, store: LanceStore, release: str | None = None, encoder: Encoder | None = None
    ) -> None:
        """Opens nothing yet.

        Args:
            store: the Lance tables.
            release: a tag; the newest release at any time if none is named.
            encoder: makes vectors of texts and pictures, to search by their meaning.
        """
        self.store = store
        self._encoder = encoder
        self._wanted = release
        self._current: OpenRelease | None = None
        self._releases: tuple[Manifest, ...] = ()
        self._tags: Mapping[str, Mapping[str, int]] | None = None
        self._state = ""
        self._stamp: tuple[int | str, int] = (0, 0)
        self._removals = Removals()
        # Releases that addresses name, those asked for last at the end.
        self._pinned: OrderedDict[str, OpenRelease] = OrderedDict()
        self._lock = Lock()
        # Whether visitors wait for pages, so that nothing else should take the machine.
        self.is_busy: Callable[[], bool] = lambda: False

    @property
    def current(self) -> OpenRelease:
        """The release that is shown.

        Raises:
            LaionError: there is none yet.
        """
        if self._current is None:
            raise LaionError(
                "there is no release yet; `laion backfill --all` makes one",
                code="page-without-release",
            )
        return self._current

    def open(self, release: str | None) -> OpenRelease:
        """Returns the release that an address names, the one that is shown if it names none.

        Raises:
            NoReleaseError: there is no such release.
            LaionError: there is none yet.
        """
        current = self.current
        if release is None or release == current.manifest.release:
            return current
        manifest = self.find(release)
        if manifest is None:
            there_are = ", ".join(m.release for m in self._releases[:5])
            raise NoReleaseError(
                f"there is no release {release!r}; there are {there_are}",
                code="page-release-unknown",
            )
        with self._lock:
            opened = self._pinned.pop(manifest.release, None)
            if opened is None or opened.manifest != manifest:
                try:
                    opened = OpenRelease.open(
                        self.store, manifest, keeps_hits=False, encoder=self._encoder
                    )
                except (OSError, ValueError):
                    raise NoReleaseError(
                        f"release {release!r} was deleted", code="page-release-deleted"
                    ) from None
            self._pinned[manifest.release] = opened
            if len(self._pinned) > MAX_PINNED:
                self._pinned.popitem(last=False)
        return opened

    def find(self, release: str) -> Manifest | None:
        """Returns the record of a release, one made since the last look, too; None without it.

        Another process of the server may show it already, and link to it.
        """
        known = next((m for m in self._releases if m.release == release), None)
        return known or read_release(self.store, release)

    @property
    def releases(self) -> tuple[Manifest, ...]:
        """All releases that there were at the last look, the newest first."""
        return self._releases

    @property
    def state(self) -> str:
        """Digest of all that the pages depend on."""
        return self._state

    def refresh(self) -> bool:
        """Looks at the releases; returns whether they have changed. For one thread at a time.

        Raises:
            LaionError: the release that was asked for is not there.
        """
        tags = list_tags(self.store)
        stamp = self.store.removals.stamp
        if tags == self._tags and stamp == self._stamp:
            return False
        removals = self.store.removals.read()
        is_same_list = removals.digest == self._removals.digest
        if tags == self._tags and is_same_list:
            self._stamp = stamp
            return False
        releases = tuple(list_releases(self.store))
        shown = next((m for m in releases if self._wanted in (None, m.release)), None)
        if shown is None:
            self._current = None
        elif self._current is None or self._current.manifest != shown or not is_same_list:
            self._current = OpenRelease.open(self.store, shown, encoder=self._encoder)
            logger.info("release %s is shown", shown.release)
            self._prepare(self._current)
        self._releases, self._tags = releases, tags
        self._stamp, self._removals = stamp, removals
        with self._lock:
            self._pinned.clear()
        self._state = _digest(releases, removals.digest)
        if shown is None and self._wanted is not None:
            there_are = ", ".join(m.release for m in releases[:5]) or "none"
            raise LaionError(
                f"no release {self._wanted!r}; there are {there_are}",
                code="page-wanted-release-unknown",
            )
        return True

    def _prepare(self, opened: OpenRelease) -> None:
        """Finds common words of a release while visitors ask, as long as it is shown."""

        def is_wanted() -> bool:
            return self._current is opened

        def is_busy() -> bool:
            # By now there may be an application that knows.
            return self.is_busy()

        def gather() -> None:
            try:
                opened.search.gather_common_words(is_wanted, is_busy=is_busy)
            except Exception:
                # As when the release is deleted meanwhile; searches go on without.
                logger.exception("cannot gather common words of %s", opened.manifest.release)

        Thread(target=gather, name=GATHERING, daemon=True).start()

    def compare(self, release: str) -> ReleaseDiff | None:
        """Returns what changed from the release before to this one; None if there is none."""
        tags = [manifest.release for manifest in self._releases]
        # One that was made since the last look is newer than all.
        place = tags.index(release) + 1 if release in tags else 0
        if place == len(tags):
            return None
        try:
            changes = compare_releases(self.store, tags[place], release, MOVES_SHOWN)
        except LaionError:
            # One of them was deleted since the last look.
            return None
        domains = _leave_out_hosts(changes.domains, Matcher.of(self._removals))
        return changes.model_copy(update={"domains": domains})


def _digest(releases: Iterable[Manifest], removals: str) -> str:
    told = "".join(f"{m.release} {m.content_sha256} {m.released_at}" for m in releases) + removals
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _leave_out(
    names: Mapping[str, list[tuple[str, int]]], hidden: HiddenRows
) -> dict[str, list[tuple[str, int]]]:
    """Returns the names of each kind, without the images that are hidden."""
    less = hidden.count_names({name for rows in names.values() for name, _ in rows})
    return {
        kind: sorted(((name, count - less[name]) for name, count in rows), key=lambda row: -row[1])
        for kind, rows in names.items()
    }


def sum_hosts(hidden: HiddenRows) -> Counter[str]:
    """Returns how many of some hidden images each domain has."""
    counts: Counter[str] = Counter()
    for (domain, _), count in hidden.hosts.items():
        counts[domain] += count
    return counts


def _leave_out_sites(
    sites: pa.Table, hidden: HiddenRows, before: pa.Table, after: pa.Table
) -> pa.Table:
    """Returns the counts of sites without the images that are hidden.

    Args:
        sites: the counts of all images.
        hidden: those that are hidden.
        before: the counts of domains of all images.
        after: those of the images that are left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    images: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    is_left = pc.is_in(before["domain"], value_set=after["domain"].combine_chunks())
    gone = set(before.filter(pc.invert(is_left))["domain"].to_pylist())
    for (domain, site), count in hidden.hosts.items():
        if site is not None:
            images[site] += count
            hosts[site] += domain in gone
    numbers = [hosts[site] for site in sites["registered_domain"].to_pylist()]
    left = pc.subtract(sites["host_count"], pa.array(numbers, pa.int64()))
    place = sites.schema.get_field_index("host_count")
    return subtract(sites.set_column(place, "host_count", left), "registered_domain", images)


def _leave_out_hosts(moves: Moves, matcher: Matcher) -> Moves:
    """Returns the moves of domains without those of hosts that are on the list of removals."""
    shown = {
        name: tuple(move for move in getattr(moves, name) if matcher.match_host(move.name) is None)
        for name in ("risers", "fallers")
    }
    return moves.model_copy(update=shown)


def iterate(table: pa.Table) -> Iterator[Mapping[str, object]]:
    """Yields the rows of a table, some thousands of them in memory at a time."""
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from batch.to_pylist()
