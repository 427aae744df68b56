"""Brings the `.npy` file that has the vectors of a shard's pictures, row by row.

It is `<shard>.npy` in the folder of the parquet file, or lies as clip-retrieval and PD12M have it,
beside a folder `metadata`. A web server and the Hub cannot be asked for the first without a request
that is in vain for most datasets: there it is looked for once for each content of the parquet file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import ShardError, first_line
from laion_assets.raw_shards.beside import Target, bring_beside
from laion_assets.raw_shards.sources.source import Report, Source, SourceRules
from laion_assets.raw_shards.sources.urls import SCHEMES
from laion_assets.stores.raw_store import RawShard, RawStore

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

VECTOR_NAMES = ("img_emb", "image_embedding", "image_emb")
MAGIC = b"\x93NUMPY"
# How much of vectors is held at a time, about.
HELD_BYTES = 8 << 20
MAX_BATCH_ROWS = 4096
_END = r"\.parquet(?=$|[?#])"
_BESIDE = (re.compile(_END, re.IGNORECASE), r".npy")
# How clip-retrieval names its files, and PD12M.
_BY_FOLDER = (
    (re.compile(rf"(?<=/)metadata/metadata_(\d+){_END}"), r"img_emb/img_emb_\1.npy"),
    (re.compile(rf"(?<=/)metadata/([^/]+?){_END}"), r"embeddings/\1.npy"),
)


def find_vector_column(schema: pa.Schema) -> str | None:
    """Returns the file's name of the column of vectors; None if it has none.

    A column of another type than lists of floating point numbers is another thing.
    """
    return next((field.name for field in _list_named(schema) if _holds_vectors(field)), None)


def read_oddity(path: Path) -> str | None:
    """Returns which column of a file is named as vectors are and holds none; None if none does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for field in _list_named(pq.read_schema(path)):
        # One of nothing but NULL has no type.
        if not (_holds_vectors(field) or pa.types.is_null(field.type)):
            return (
                f"column {field.name} is {field.type} and not read; write vectors as lists of "
                "float16, float32 or float64"
            )
    return None


def _list_named(schema: pa.Schema) -> list[pa.Field]:
    """Returns the columns that are named as vectors are, the one that counts first."""
    fields = {field.name.lower(): field for field in reversed(schema)}
    return [fields[name] for name in VECTOR_NAMES if name in fields]


def _holds_vectors(field: pa.Field) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    is_list = any(test(field.type) for test in tests)
    return is_list and bool(pa.types.is_floating(field.type.value_type))


def bring_vectors(
    source: Source, raw: RawShard, store: RawStore, rules: SourceRules, report: Report
) -> RawShard:
    """Puts the file of vectors of a shard in place, if its source has one.

    It is looked for only if the parquet file has no column of vectors. One that the source has no
    more stays.

    Args:
        source: where the shard's file came from.
        raw: its record; what it says of vectors is of before.
        store: has the shard's file, and takes that of the vectors.
        rules: how to talk to servers, and whether vectors are wanted.
        report: is told how far a download has come.

    Returns:
        The record, with what is known of vectors; itself if nothing changed.

    Raises:
        ShardError: the file cannot be had now; it may be possible later.
        OSError: it cannot be written.
    """
    is_in_columns = _has_vectors(store.path(raw.shard))
    if rules.is_bringing_vectors and not is_in_columns:
        raw = _bring(source, raw, store, rules, report)
    has_some = is_in_columns or raw.vectors_sha256 is not None
    return raw if raw.has_vectors == has_some else replace(raw, has_vectors=has_some)


def find_dimension(file: pq.ParquetFile, column: str, path: Path) -> int | None:
    """Returns the length of the first vector that is no empty list; None if there is none.

    Raises:
        ShardError: the column cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = file.schema_arrow.field(column).type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) or None
    for lists in read_lists(file, column, path):
        lengths = pc.list_value_length(lists)
        if found := lengths.filter(pc.greater(lengths, 0)).to_pylist():
            return int(found[0])
    return None


def read_lists(file: pq.ParquetFile, column: str, path: Path) -> Iterator[pa.Array]:
    """Yields the lists of a column, about `HELD_BYTES` at a time.

    Raises:
        ShardError: they cannot be read.
    """
    import pyarrow as pa

    try:
        for group in range(file.num_row_groups):
            rows = _batch_rows(file, group, column)
            for batch in file.iter_batches(rows, row_groups=[group], columns=[column]):
                yield batch.column(0)
    except (OSError, pa.ArrowException) as error:
        raise ShardError(
            f"{path}: column {column} cannot be read ({first_line(error)}); fetch the file again",
            code="vectors-unreadable",
        ) from error


def _batch_rows(file: pq.ParquetFile, group: int, column: str) -> int:
    """Returns how many rows of a group hold about as many bytes as may be held."""
    metadata = file.metadata.row_group(group)
    # Numbers that repeat are packed in the file, and not in memory.
    size = sum(
        8 * int(one.num_values)
        for number in range(metadata.num_columns)
        if (one := metadata.column(number)).path_in_schema.split(".")[0] == column
    )
    fitting = HELD_BYTES * int(metadata.num_rows) // max(size, 1)
    return min(MAX_BATCH_ROWS, max(1, fitting))


def _has_vectors(path: Path) -> bool:
    """Returns whether a parquet file has a vector in a column."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        column = find_vector_column(file.schema_arrow)
        try:
            return column is not None and find_dimension(file, column, path) is not None
        except ShardError:
            # Captions come all the same; the asset `embeddings` says what is wrong.
            return True


def _bring(
    source: Source, raw: RawShard, store: RawStore, rules: SourceRules, report: Report
) -> RawShard:
    is_first = source.scheme in SCHEMES and raw.vectors_sought != raw.sha256
    is_asked = is_first or source.scheme not in SCHEMES or raw.vectors_sha256 is not None
    ways = (_BESIDE, *_BY_FOLDER) if is_asked else _BY_FOLDER
    places = filter(None, (_move(source, *way) for way in ways))
    target = Target(store.vectors, store.vectors_path(raw.shard), raw.vectors_version)
    found = bring_beside(places, target, rules, report, _check)
    if is_first:
        raw = replace(raw, vectors_sought=raw.sha256)
    if found is None:
        return raw
    return replace(raw, vectors_sha256=found.sha256, vectors_version=found.version)


def _check(place: Source, path: Path) -> None:
    """Some servers answer with a page, whatever they are asked for."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ShardError(f"{place.name}: is no .npy file", code="vectors-no-npy-there")


def _move(source: Source, pattern: re.Pattern[str], other: str) -> Source | None:
    """Returns the source of the vectors by one rule; None if it does not apply."""
    if not pattern.search(source.place):
        return None
    place, name = (pattern.sub(other, text) for text in (source.place, source.name))
    return Source(source.shard, place, name)
