"""The subset that the pages show, in place of releases."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from laion_assets.embeddings.recall import measure_vectors
from laion_assets.errors import LaionError
from laion_assets.releases.catalog import list_releases
from laion_assets.releases.hidden_rows import HiddenRows, subtract
from laion_assets.releases.manifest import Manifest, ReleasedShard, ReleasedVectors
from laion_assets.schemas import IMAGES
from laion_assets.search.filter import SearchFilter
from laion_assets.search.row_values import COUNTED, HIT_COLUMNS
from laion_assets.search.search import CaptionSearch
from laion_assets.stores.filled_table import FilledTable
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals
from laion_assets.subsets.subset_record import SubsetRecord, find_made, find_removed
from laion_assets.web.current_release import (
    DomainCounts,
    OpenRelease,
    Shelf,
    SiteCounts,
    sum_hosts,
)

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

    from laion_assets.embeddings.encoder import Encoder

logger = logging.getLogger(__name__)

# Without these there is nothing to search, to show or to count by.
NEEDED = ("image_id", "url", "caption")
# What pages read of each row; a subset may lack it.
READ = (*HIT_COLUMNS, *COUNTED)


class SubsetShelf(Shelf):
    """Holds a subset as if it were the only release, under the tag of its own."""

    def __init__(self, store: LanceStore, name: str, encoder: Encoder | None = None) -> None:
        """Opens nothing yet.

        Args:
            store: the Lance tables.
            name: of the subset.
            encoder: makes vectors of texts and pictures, to search by their meaning.
        """
        super().__init__(store, None, encoder)
        self._name = name
        self._record: SubsetRecord | None = None

    def refresh(self) -> bool:
        """Looks at the subset; returns whether it has changed. For one thread at a time.

        Raises:
            LaionError: it is not there, or lacks what pages need.
        """
        record = find_made(self.store, self._name)
        if record is None:
            if self._current is not None:
                # It is being made again.
                return False
            raise LaionError(
                f"{self.store.uri(self._name)}: there is no such subset; declare it as "
                f"[subsets.{self._name}] in curation.toml, then run `laion backfill --missing`",
                code="serve-subset-missing",
            )
        stamp = self.store.removals.stamp
        if record == self._record and stamp == self._stamp:
            return False
        removals = self.store.removals.read()
        if record == self._record and removals.digest == self._removals.digest:
            self._stamp = stamp
            return False
        self._current = _open(self.store, record, removals, self._encoder)
        self._releases = (self._current.manifest,)
        self._record, self._stamp, self._removals = record, stamp, removals
        self._state = f"{record.digest[:16]}-{removals.digest[:16]}"
        logger.info("subset %s of release %s is shown", self._name, record.release)
        return True

    def find(self, release: str) -> Manifest | None:
        """Returns the record of the subset, if this is its tag: releases are not shown."""
        return next((m for m in self._releases if m.release == release), None)


def _open(
    store: LanceStore, record: SubsetRecord, removals: Removals, encoder: Encoder | None
) -> OpenRelease:
    dataset = store.open(record.subset, record.release)
    if missing := [name for name in NEEDED if name not in dataset.schema.names]:
        raise LaionError(
            f"subset {record.subset} has no column `{missing[0]}`, which the search page needs; "
            f"add it to `columns` of [subsets.{record.subset}] in curation.toml",
            code="serve-subset-column",
        )
    table = _fill(dataset, record.subset)
    manifest = _describe(store, record, table, _measure(dataset, record))
    hidden = HiddenRows(table, find_removed(dataset, removals))
    search = CaptionSearch(
        table,
        manifest.release,
        keeps_hits=True,
        vectors=manifest.vectors,
        encoder=encoder,
        hidden=hidden.ids,
    )
    search.find("a", only=SearchFilter(hide_punsafe_above=1), limit=1)
    domains = DomainCounts(subtract(_count(table, "domain"), "domain", sum_hosts(hidden)))
    sites = SiteCounts.count(domains)
    return OpenRelease(manifest, search, domains, sites, {}, record.subset, len(hidden.ids))


def _fill(dataset: lance.LanceDataset, name: str) -> lance.LanceDataset:
    types: Mapping[str, str] = {column.name: column.type for column in IMAGES}
    filled: Any = FilledTable(dataset, name, {column: types[column] for column in READ})
    return cast("lance.LanceDataset", filled)


def _measure(dataset: lance.LanceDataset, record: SubsetRecord) -> ReleasedVectors | None:
    measured = measure_vectors(dataset) if record.vector_count else None
    if measured is None:
        return None
    return ReleasedVectors(**vars(measured), encoder_digest=record.vectors_encoder)


def _describe(
    store: LanceStore,
    record: SubsetRecord,
    table: lance.LanceDataset,
    vectors: ReleasedVectors | None,
) -> Manifest:
    """Returns the record of a subset in the form of that of a release."""
    return Manifest(
        release=record.release,
        released_at=record.made_at,
        content_sha256=record.digest,
        run_id=record.run_id,
        row_counts={"images": record.row_count},
        count_digests={},
        lance_versions={"images": table.version},
        versions=record.versions,
        shards=tuple(_list_shards(store, record, table)),
        sheets=(),
        vectors=vectors,
    )


def _list_shards(
    store: LanceStore, record: SubsetRecord, table: lance.LanceDataset
) -> Iterator[ReleasedShard]:
    """Yields what is known of each shard in a subset; without `shard`, the subset stands for it."""
    # The release may have been deleted since.
    parents = (each for each in list_releases(store) if each.release == record.release)
    known = {shard.shard: shard for parent in parents for shard in parent.shards}
    for row in _count(table, "shard").sort_by("shard").to_pylist():
        name, count = row["shard"], row["image_count"]
        if name in known:
            yield known[name].model_copy(update={"image_count": count})
            continue
        yield ReleasedShard(
            shard=name,
            sha256=record.digest,
            source=f"subset {record.subset} of release {record.release}",
            file_bytes=record.data_bytes,
            file_rows=count,
            image_count=count,
            rejected_count=0,
            id_sum="0",
            cleaning_version="",
            lance_version=table.version,
            run_id=record.run_id,
            loaded_at=record.made_at,
            is_sample=record.is_sample,
        )


def _count(table: lance.LanceDataset, column: str) -> pa.Table:
    """Returns the values of a column with the number of rows that have each."""
    values = table.scanner(columns=[column]).to_table()
    known = values.filter(values[column].is_valid())
    counts = known.group_by(column).aggregate([([], "count_all")])
    return counts.rename_columns({"count_all": "image_count"})
