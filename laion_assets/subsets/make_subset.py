"""Makes the Lance table of a subset from a release.

The rows are streamed into new files, which no reader sees until one commit replaces the whole
table. Indices follow, and the tag last: what has it is complete. A process that is killed leaves
the table as it was, or with the new rows, and then the next attempt makes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.curation.place import CurationError
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.embeddings.vector_index import (
    INDEX_KIND,
    METRIC,
    PARTITION_VECTORS,
    VECTOR_INDEX,
)
from laion_assets.errors import LaionError
from laion_assets.lance_images.indices import CAPTION_INDEX, SCALAR_INDICES
from laion_assets.lance_images.table import MAX_FRAGMENT_ROWS
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.releases.cleanup import DEFAULT_KEEP_DAYS
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.releases.manifest import Manifest, find_versions
from laion_assets.search.search import CaptionSearch
from laion_assets.search.where import HIDDEN_COLUMNS
from laion_assets.stores.column_digest import ColumnDigest
from laion_assets.stores.disk_space import estimate_rows
from laion_assets.stores.freed_memory import give_back_memory
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.clean_subsets import clean_subset
from laion_assets.subsets.select_rows import Selection, select_rows
from laion_assets.subsets.subset_record import (
    RECORD_KEY,
    SubsetRecord,
    digest_subset,
    find_made,
    is_current,
    is_subset,
)

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    from laion_assets.embeddings.encoder import Encoder

    Numbers: TypeAlias = np.ndarray[Any, Any]

# About so many bytes of pictures are held at once, however large they are in this release.
PICTURE_BYTES = 8 * 2**20
LEAST_ROWS = 16
# After so many bytes, what was freed is given back.
TRIM_BYTES = 64 * 2**20
# Of other values so many rows.
VECTOR_ROWS = 2_048
ROWS = 16_384
# Gives the encoder for vectors with this digest (None: nobody knows it); None: there is none.
FindEncoder = Callable[["str | None"], "Encoder | None"]


@dataclass(frozen=True)
class SubsetOrder:
    """How a subset is to be made.

    Attributes:
        subset: what is declared.
        run_id: the Dagster run that makes it.
        declared: names of declared columns, which get an index each.
        release: the tag of the release; None: the newest.
        keep_days: for how long versions of the table stay that no tag holds.
    """

    subset: DeclaredSubset
    run_id: str
    declared: Collection[str] = ()
    release: str | None = None
    keep_days: float = DEFAULT_KEEP_DAYS


@dataclass(frozen=True)
class MadeSubset:
    """A subset as it is now.

    Attributes:
        record: its record.
        is_new: whether it was made now.
    """

    record: SubsetRecord
    is_new: bool


def make_subset(store: LanceStore, order: SubsetOrder, find_encoder: FindEncoder) -> MadeSubset:
    """Makes a subset of a release, unless it is there.

    Args:
        store: the Lance tables.
        order: what is to be made.
        find_encoder: opens the encoder that reads `like`.

    Raises:
        CurationError: the release has no such column, or the condition cannot be used.
        LaionError: there is no release, no encoder, or a table of another kind has the name.
        DiskSpaceError: the disk has no room for it.
    """
    subset = order.subset
    with store.lock(f"subset-{subset.name}"):
        manifest = find_release(store, order.release)
        _check_table(store, subset)
        made = find_made(store, subset.name)
        if made is not None and is_current(made, subset, manifest, store.removals.read()):
            return MadeSubset(made, is_new=False)
        source = _open_source(store, subset, manifest, find_encoder)
        record = _write(store, order, source)
        _build_indices(store, order, record)
        store.create_tag(subset.name, manifest.release, store.open(subset.name).version)
        clean_subset(store, subset.name, order.keep_days)
        return MadeSubset(record, is_new=True)


@dataclass(frozen=True)
class _Source:
    """The release, and which rows and columns of it the subset has."""

    manifest: Manifest
    dataset: lance.LanceDataset
    schema: pa.Schema
    selection: Selection
    encoder: Encoder | None
    removals_sha256: str


@dataclass
class _Tally:
    """What has been written so far."""

    digest: ColumnDigest
    row_count: int = 0
    missing: dict[str, int] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        self.digest.add(batch)
        self.row_count += len(batch)
        for name in batch.schema.names:
            self.missing[name] = self.missing.get(name, 0) + batch[name].null_count


def _check_table(store: LanceStore, subset: DeclaredSubset) -> None:
    dataset = store.find(subset.name)
    if dataset is not None and not is_subset(dataset):
        raise CurationError(
            f"{subset.place}: {dataset.uri} is a table that this project did not make; choose "
            "another name, or drop or rename that table",
            code="subset-table-foreign",
        )


def _open_source(
    store: LanceStore, subset: DeclaredSubset, manifest: Manifest, find_encoder: FindEncoder
) -> _Source:
    dataset = open_released(store, manifest, "images")
    # Before its rows are found: if it changes meanwhile, they are looked for again.
    removals_sha256 = store.removals.read().digest
    schema = _find_schema(dataset, subset, manifest)
    known = manifest.vectors.encoder_digest if manifest.vectors else None
    encoder = find_encoder(known) if subset.like is not None else None
    search = CaptionSearch(
        dataset,
        manifest.release,
        vectors=manifest.vectors,
        encoder=encoder,
        hidden=find_hidden(store, manifest),
    )
    try:
        vector = None if subset.like is None else search.vectors.embed_text(subset.like)
        if subset.like is not None and vector is None:
            raise LaionError(
                f"the encoder knows nothing of {subset.like!r}; use other words",
                code="subset-like-unknown",
            )
        selection = select_rows(search, dataset, subset, vector)
    except LaionError as error:
        raise CurationError(f"{subset.place}: {error}", code=error.code) from error
    needed_bytes = estimate_rows(dataset, len(selection.rows))
    store.check_space(needed_bytes, f"making {subset.name}")
    return _Source(manifest, dataset, schema, selection, encoder, removals_sha256)


def _find_schema(
    dataset: lance.LanceDataset, subset: DeclaredSubset, manifest: Manifest
) -> pa.Schema:
    """Returns the columns of a subset as the release has them."""
    import pyarrow as pa

    known = [name for name in dataset.schema.names if name not in HIDDEN_COLUMNS]
    for name in subset.columns or ():
        if name not in known:
            raise CurationError(
                f"{subset.place.of('columns')}: release {manifest.release} has no column `{name}` "
                "yet; bring it to the shards and release again, or leave it out",
                code="subset-column-missing",
            )
    return pa.schema([dataset.schema.field(name) for name in subset.columns or known])


def _write(store: LanceStore, order: SubsetOrder, source: _Source) -> SubsetRecord:
    """Streams the rows into new files and commits them, with the record, in place of the old."""
    import pyarrow as pa

    name, manifest, schema = order.subset.name, source.manifest, source.schema
    tally = _Tally(ColumnDigest(schema))
    reader = pa.RecordBatchReader.from_batches(schema, _read(source, tally))
    fragments = store.write_anew(name, reader, MAX_FRAGMENT_ROWS)
    vectors = tally.missing.get("img_emb", tally.row_count)
    record = SubsetRecord(
        subset=name,
        release=manifest.release,
        content_sha256=manifest.content_sha256,
        columns_sha256=manifest.columns_sha256,
        definition=order.subset.describe(),
        definition_sha256=digest_subset(order.subset),
        encoder_digest=source.encoder.digest if source.encoder else None,
        vectors_encoder=manifest.vectors.encoder_digest if manifest.vectors else None,
        digest=tally.digest.hexdigest(),
        row_count=tally.row_count,
        match_count=source.selection.match_count,
        picture_count=tally.row_count - tally.missing.get("image", tally.row_count),
        vector_count=tally.row_count - vectors,
        is_sample=manifest.sample_count > 0,
        missing={name: tally.missing.get(name, 0) for name in schema.names},
        data_bytes=sum(file.file_size_bytes or 0 for f in fragments for file in f.files),
        run_id=order.run_id,
        made_at=datetime.now(tz=UTC),
        versions=find_versions(),
        removals_sha256=source.removals_sha256,
    )
    noted = schema.with_metadata({RECORD_KEY: record.model_dump_json()})
    store.commit_anew(name, noted, fragments)
    return record


def _read(source: _Source, tally: _Tally) -> Iterator[pa.RecordBatch]:
    """Yields the rows, a few at a time where they are large; the next are read meanwhile."""
    import pyarrow as pa

    names, rows = source.schema.names, source.selection.rows
    step = _count_rows_at_once(names, source.manifest)

    def take(part: Numbers) -> pa.RecordBatch:
        table = source.dataset._take_rows(pa.array(part), columns=names)
        columns = [table[name].combine_chunks() for name in names]
        return pa.RecordBatch.from_arrays(columns, schema=source.schema)

    passed_bytes = 0
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(take, rows[:step])
        for start in range(0, len(rows), step):
            batch = following.result()
            following = pool.submit(take, rows[start + step : start + 2 * step])
            tally.add(batch)
            passed_bytes += batch.nbytes
            yield batch
            del batch
            if passed_bytes > TRIM_BYTES:
                give_back_memory()
                passed_bytes = 0


def _count_rows_at_once(names: Collection[str], manifest: Manifest) -> int:
    """Returns how many rows are held at once."""
    if "image" in names:
        mean_bytes = max(manifest.picture_bytes // max(manifest.picture_count, 1), 1)
        return min(max(PICTURE_BYTES // mean_bytes, LEAST_ROWS), VECTOR_ROWS)
    return VECTOR_ROWS if "img_emb" in names else ROWS


def _build_indices(store: LanceStore, order: SubsetOrder, record: SubsetRecord) -> None:
    """Indexes captions, vectors if there are many, and the columns that people filter by."""
    dataset = store.open(order.subset.name)
    names = dataset.schema.names
    if "caption" in names:
        dataset.create_scalar_index("caption", "INVERTED", "caption_idx", **CAPTION_INDEX)
    for column in (*SCALAR_INDICES, *order.declared):
        if column in names:
            kind = SCALAR_INDICES.get(column, "BTREE")
            dataset.create_scalar_index(column, kind, f"{column}_idx")
    if partitions := record.vector_count // PARTITION_VECTORS:
        dataset.create_index(
            "img_emb", INDEX_KIND, VECTOR_INDEX, metric=METRIC, num_partitions=partitions
        )
