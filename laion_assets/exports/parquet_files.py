"""Writes a release as parquet files, one folder a shard, as DuckDB, Spark and pyarrow read them.

The rows are streamed from Lance, and row groups have a fixed length whatever the layout there, so
equal releases make equal files. What was written is counted before the folder gets its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from laion_assets.errors import LaionError
from laion_assets.exports.released_rows import check_removed, leave_out, scan_rows
from laion_assets.lance_images.indices import WORDS
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.releases.manifest import Record
from laion_assets.schemas import LANCE_EMBEDDINGS
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.locks import name_digest
from laion_assets.stores.shard_fragments import map_fragments, select_shards
from laion_assets.stores.whole_folder import recover_folder, replace_folder

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from lance.fragment import LanceFragment

    from laion_assets.releases.manifest import Manifest
    from laion_assets.stores.lance_store import LanceStore

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Readers of parquet leave out what begins with `_`.
RECORD = "_release.json"
# Pictures and vectors are read from Lance: with them a table takes a hundred times the room.
LEFT_OUT = ("image", LANCE_EMBEDDINGS[0].name)
_GROUP_ROWS = 131_072
# A row of short columns, and what is known of its picture.
_BYTES_A_ROW = 250


class ExportedShard(Record):
    """The file of one shard.

    Attributes:
        shard: partition key.
        path: from the folder of the export, with `/`.
        row_count: its rows.
        hidden_count: rows of the release that were left out, as unsafe or as removed since.
        file_bytes: its size.
        sha256: of its content, in hexadecimal.
    """

    shard: str
    path: str
    row_count: int
    hidden_count: int
    file_bytes: int
    sha256: str


class ExportRecord(Record):
    """What an export holds; `_release.json` in its folder.

    Attributes:
        release: the tag.
        content_sha256: of the release.
        is_safe: whether unsafe images were left out.
        columns: of the files; `shard` is the name of the folder.
        shards: by name.
    """

    release: str
    content_sha256: str
    is_safe: bool
    columns: tuple[str, ...]
    shards: tuple[ExportedShard, ...]


@dataclass(frozen=True)
class ParquetExport:
    """A folder that was written.

    Attributes:
        folder: where.
        record: what is in it.
    """

    folder: Path
    record: ExportRecord

    @property
    def image_count(self) -> int:
        """Rows of all files."""
        return sum(shard.row_count for shard in self.record.shards)

    @property
    def hidden_count(self) -> int:
        """Images of the release that were left out as unsafe."""
        return sum(shard.hidden_count for shard in self.record.shards)

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(shard.file_bytes for shard in self.record.shards)


def export_parquet(
    store: LanceStore, folder: Path, tag: str | None = None, *, is_safe: bool = False
) -> ParquetExport:
    """Writes a release as `shard=…/images.parquet`, zstd, and `_release.json` beside them.

    An export that fails leaves the one before.

    Args:
        store: the Lance tables.
        folder: where; one of before is replaced.
        tag: the release; None: the newest.
        is_safe: whether to leave out the images that the search page hides.

    Raises:
        LaionError: there is no such release, the place is taken by something else, or what was
            written is not what the release has.
        DiskSpaceError: the disk has no room for it.
    """
    manifest = find_release(store, tag)
    folder = folder.resolve()
    with store.lock(f"export-{name_digest(str(folder))}"):
        recover_folder(folder)
        _check_place(folder)
        images = open_released(store, manifest, "images")
        check_space(
            folder.parent, estimate_parquet(images), f"exporting release {manifest.release}"
        )
        with replace_folder(folder) as made:
            removed = find_hidden(store, manifest)
            record = _fill(images, manifest, made, removed, is_safe=is_safe)
            check_removed(store, manifest, removed)
    return ParquetExport(folder, record)


def estimate_parquet(images: lance.LanceDataset) -> int:
    """Returns what the files of a release take at most: Lance packs the same rows less well."""
    left_out = {f.id() for f in images.lance_schema.fields() if f.name() in LEFT_OUT}
    packed = sum(
        file.file_size_bytes or 0
        for fragment in images.get_fragments()
        for file in fragment.data_files()
        if left_out.isdisjoint(file.fields)
    )
    return LEAST_BYTES + packed + _BYTES_A_ROW * images.count_rows()


def read_export(folder: Path) -> ExportRecord | None:
    """Returns the record of an export; None if the folder is none."""
    try:
        return ExportRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


def _check_place(folder: Path) -> None:
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and read_export(folder) is None:
        raise LaionError(
            f"{folder}: not written by an export of parquet, so it is not replaced; choose another "
            "folder",
            code="parquet-place-taken",
        )


def _fill(
    images: lance.LanceDataset,
    manifest: Manifest,
    made: Path,
    removed: Numbers,
    *,
    is_safe: bool,
) -> ExportRecord:
    columns = [name for name in images.schema.names if name not in (*LEFT_OUT, WORDS, "shard")]
    fragments = map_fragments(images)
    if unknown := fragments.keys() - {shard.shard for shard in manifest.shards}:
        raise _differ(manifest, f"shard {min(unknown)}, which its record does not have")
    shards = []
    for released in manifest.shards:
        shard, count = released.shard, released.image_count
        batches = _scan(images, fragments.get(shard, []), shard, columns)
        path = made / f"shard={quote(shard, safe='')}" / "images.parquet"
        drop = partial(leave_out, removed=removed, is_safe=is_safe)
        exported = _write(path, made, shard, _schema(images, columns), batches, drop)
        if exported.row_count + exported.hidden_count != count:
            raise _differ(manifest, f"the number of images of shard {shard}")
        shards.append(exported)
    record = ExportRecord(
        release=manifest.release,
        content_sha256=manifest.content_sha256,
        is_safe=is_safe,
        columns=tuple(columns),
        shards=tuple(shards),
    )
    (made / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def _schema(images: lance.LanceDataset, columns: list[str]) -> pa.Schema:
    import pyarrow as pa

    # Without what Lance notes of its columns: it says nothing about the rows.
    return pa.schema([images.schema.field(column).remove_metadata() for column in columns])


def _scan(
    images: lance.LanceDataset, fragments: list[LanceFragment], shard: str, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    if fragments:
        yield from scan_rows(images, columns, filter=select_shards([shard]), fragments=fragments)


def _write(
    path: Path,
    made: Path,
    shard: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    drop: Callable[[pa.RecordBatch], pa.RecordBatch],
) -> ExportedShard:
    """Writes the file of a shard, and reads its footer and its bytes again."""
    import pyarrow.parquet as pq

    path.parent.mkdir()
    seen = 0

    def keep() -> Iterator[pa.RecordBatch]:
        nonlocal seen
        for batch in batches:
            seen += batch.num_rows
            yield drop(batch).drop_columns("_rowid")

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _regroup(keep(), schema):
            writer.write_table(group, row_group_size=_GROUP_ROWS)
    row_count: int = pq.read_metadata(path).num_rows
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedShard(
        shard=shard,
        path=path.relative_to(made).as_posix(),
        row_count=row_count,
        hidden_count=seen - row_count,
        file_bytes=path.stat().st_size,
        sha256=sha256,
    )


def _regroup(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields the rows in tables of one length, whatever that of the batches; the last is shorter.

    An empty shard has one without rows.
    """
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= _GROUP_ROWS:
            table = pa.Table.from_batches(waiting).cast(schema)
            yield table.slice(0, _GROUP_ROWS).combine_chunks()
            waiting = table.slice(_GROUP_ROWS).to_batches()
            count -= _GROUP_ROWS
    yield (
        pa.Table.from_batches(waiting).cast(schema).combine_chunks()
        if waiting
        else (schema.empty_table())
    )


def _differ(manifest: Manifest, what: str) -> LaionError:
    return LaionError(
        f"release {manifest.release}: the images differ from {what}; nothing was written. "
        "Make a new release (`laion backfill --all`) and export that",
        code="parquet-differs",
    )
