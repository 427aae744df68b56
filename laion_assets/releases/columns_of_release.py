"""What a release has of columns that came after the rows, such as pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from laion_assets.curation.curation_file import digest_definition
from laion_assets.declared_columns.origin import Wanted, find_behind
from laion_assets.embeddings.add_embeddings import COLUMN_SET
from laion_assets.embeddings.recall import measure_vectors
from laion_assets.releases.manifest import (
    Manifest,
    PictureSource,
    ReleasedColumns,
    ReleasedDeclaration,
    ReleasedVectors,
)
from laion_assets.schemas import ADDED_COLUMNS
from laion_assets.stores.columns import (
    DECLARED,
    NotedColumns,
    find_schema,
    measure_columns,
    read_encoder,
    read_notes,
)
from laion_assets.stores.rows import fetch_rows
from laion_assets.stores.shard_sums import name_sums
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb
    import lance

PICTURES = "pictures"


def read_columns(
    connection: duckdb.DuckDBPyConnection, dataset: lance.LanceDataset, shards: Collection[str]
) -> tuple[ReleasedColumns, ...]:
    """Returns what the Lance table has of such columns, by shard and set.

    Where a writer died between its commit and its note, the values themselves are read.

    Args:
        connection: open for reading.
        dataset: the Lance table `images`.
        shards: those of the release.
    """
    sums = name_sums(connection, "pictures")
    query = load_sql("releases/select_picture_sources").format(pictures=sums)
    sources: dict[str, list[PictureSource]] = {}
    for record in fetch_rows(connection.execute(query)).records:
        sources.setdefault(str(record["shard"]), []).append(PictureSource.model_validate(record))
    return tuple(
        _describe(_complete(note, dataset), sources.get(note.shard, []))
        for note in read_notes(connection)
        if note.shard in shards
    )


def describe_declared(
    connection: duckdb.DuckDBPyConnection,
    dataset: lance.LanceDataset,
    wanted: Wanted,
    shards: Collection[str],
) -> tuple[ReleasedDeclaration, ...]:
    """Returns what a release says of the declared columns.

    Args:
        connection: open for reading; it shows the loads that the release has.
        dataset: the Lance table `images`.
        wanted: what is declared.
        shards: those of the release.
    """
    if not wanted.curation.columns:
        return ()
    notes = read_notes(connection)
    loads = {
        shard: load_id
        for shard, load_id in connection.execute(load_sql("releases/select_load_ids")).fetchall()
        if shard in shards
    }
    behind = find_behind(wanted, notes, loads)
    types = dict(zip(dataset.schema.names, dataset.schema.types, strict=True))
    return tuple(
        ReleasedDeclaration(
            column=column.name,
            type=str(types[column.name]) if column.name in types else None,
            definition=column.describe(),
            definition_sha256=digest_definition(column),
            file_digest=wanted.contents.get(column.name),
            value_count=sum(
                note.value_count
                for note in notes
                if note.column_set == DECLARED + column.name and note.shard in shards
            ),
            shards_behind=tuple(s for s in sorted(shards) if column.name in behind.get(s, ())),
        )
        for column in wanted.curation.columns
    )


def are_released(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, without: Collection[str]
) -> bool:
    """Returns whether a release has the columns that are noted, but for those of some shards."""
    notes = read_notes(connection)
    # Of these nobody knows before they are read or written again.
    unknown = {*without, *(note.shard for note in notes if note.lance_version is None)}
    noted = {(n.shard, n.column_set, n.digest) for n in notes if n.value_count}
    released = {(c.shard, c.column_set, c.digest) for c in manifest.columns if c.value_count}
    return all(shard in unknown for shard, *_ in noted ^ released)


def describe_vectors(
    dataset: lance.LanceDataset, columns: Collection[ReleasedColumns]
) -> ReleasedVectors | None:
    """Measures the vectors of a version of the table `images`, and what its index finds of them.

    Args:
        dataset: the version.
        columns: what `read_columns` says of it.
    """
    measured = measure_vectors(dataset)
    if measured is None:
        return None
    # Vectors that shards brought say nothing of their model, and those of two are refused.
    encoders = {
        encoder
        for one in columns
        if one.column_set == COLUMN_SET
        and one.value_count
        and (encoder := read_encoder(one.made_from)[0])
    }
    return ReleasedVectors(**vars(measured), encoder_digest=min(encoders, default=None))


def _complete(note: NotedColumns, dataset: lance.LanceDataset) -> NotedColumns:
    if note.lance_version is not None:
        return note
    schema = find_schema(dataset, _list_names(note.column_set))
    if schema is None:
        return replace(note, value_count=0)
    value_count, digest = measure_columns(dataset, note.shard, schema)
    return replace(note, value_count=value_count, digest=digest)


def _list_names(column_set: str) -> list[str]:
    known = ADDED_COLUMNS.get(column_set)
    return [c.name for c in known] if known else [column_set.removeprefix(DECLARED)]


def _describe(note: NotedColumns, sources: list[PictureSource]) -> ReleasedColumns:
    names = ReleasedColumns.model_fields.keys() - {"sources"}
    facts = {name: getattr(note, name) for name in names}
    has_sources = note.column_set == PICTURES and note.value_count > 0
    return ReleasedColumns(**facts, sources=tuple(sources) if has_sources else ())
