"""What a release says of itself: the exact shards, sheets, tables, code and run behind it.

It lies in the commit of the released version of the Lance table `images` (its transaction), so it
cannot be had without the data, nor the data without it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import lance

    from laion_assets.stores.columns import NotedColumns

# The property of the commit.
MANIFEST_KEY = "laion_assets.manifest"
# What of a shard makes the content of a release: the file, and what became of its rows.
DIGESTED = ("sha256", "image_count", "rejected_count", "id_sum", "cleaning_version")
LIBRARIES = ("dagster", "duckdb", "lancedb", "polars", "publicsuffixlist", "pyarrow", "pylance")


class Record(BaseModel):
    """Something that does not change, and has a form in JSON."""

    model_config = ConfigDict(frozen=True)


class ReleasedShard(Record):
    """A shard in a release.

    Attributes:
        shard: partition key.
        sha256: of its parquet file, in hexadecimal.
        source: where the file came from.
        file_bytes: size of the file.
        file_rows: rows in the file.
        image_count: rows of it in `images`.
        rejected_count: rows of it in `rejected_images`.
        id_sum: sum of its `image_id`, a whole number in decimal.
        cleaning_version: version of the rules that cleaned it.
        lance_version: the first version of the Lance table that had it so.
        run_id: the Dagster run that loaded it.
        loaded_at: when.
        is_sample: whether its rows are invented; False in records that are older than the mark.
        removed_count: how many of the rejected rows are on the list of removals.
    """

    shard: str
    sha256: str
    source: str
    file_bytes: int
    file_rows: int
    image_count: int
    rejected_count: int
    id_sum: str
    cleaning_version: str
    lance_version: int
    run_id: str
    loaded_at: datetime
    is_sample: bool = False
    removed_count: int = 0


class OutdatedShard(Record):
    """A shard whose present load was not in Lance when a release was made.

    Attributes:
        shard: partition key.
        sha256: of the file whose rows the release does not have, in hexadecimal.
        loaded_at: when DuckDB got them.
        is_carried: whether the release has the rows that the release before had of it, as its own
            record among `shards` says; else it is without the shard.
    """

    shard: str
    sha256: str
    loaded_at: datetime
    is_carried: bool

    def describe(self) -> str:
        """Returns what the release has of it, for a person."""
        held = "an older load of" if self.is_carried else "nothing of"
        return f"{held} {self.shard}: its load of {self.loaded_at:%Y-%m-%d %H:%M} was not in Lance"


class PictureSource(Record):
    """Where pictures of a shard came from.

    Attributes:
        source: `given`: the shard brought them; `fetched`: they came from their URLs.
        picture_count: how many.
        byte_count: their size.
        first_fetched_at: when the first of them was fetched; None of given ones, and in records
            from before it was noted.
        last_fetched_at: when the last was.
    """

    source: str
    picture_count: int
    byte_count: int
    first_fetched_at: datetime | None = None
    last_fetched_at: datetime | None = None


class ReleasedColumns(Record):
    """Columns of a shard in a release that came after its rows, such as its pictures.

    Attributes:
        shard: partition key.
        column_set: the asset that wrote them.
        value_count: rows that have them.
        data_bytes: size of their files.
        digest: SHA-256 of the values by row, in hexadecimal; see `stores/column_digest.py`.
        made_from: content and rules that they were made from, or `carried over`.
        made_at: when they were written.
        sources: of pictures, where they came from.
    """

    shard: str
    column_set: str
    value_count: int
    data_bytes: int
    digest: str
    made_from: str
    made_at: datetime
    sources: tuple[PictureSource, ...] = ()


class ReleasedVectors(Record):
    """The vectors of a release, and how its index finds them.

    Attributes:
        vector_count: rows that have one.
        dimension: numbers of each.
        encoder_digest: of the model that made them, in hexadecimal; None if nobody recorded it, as
            for vectors that shards brought.
        partition_count: of the index; 0 if there is none, so that a search compares all vectors.
        nprobes: partitions that a search looks into at least; 0 without an index.
        recall_at_10: which share of the ten nearest others a search finds, over the sampled rows;
            1.0 without an index.
        sample_count: rows whose neighbours were looked for; 0 without an index.
    """

    vector_count: int
    dimension: int
    encoder_digest: str | None
    partition_count: int
    nprobes: int
    recall_at_10: float
    sample_count: int

    @property
    def index(self) -> str:
        """The index, for a person."""
        if not self.partition_count:
            return "none, so few that each is compared"
        return f"IVF_RQ with {self.partition_count} partitions"


class ReleasedDeclaration(Record):
    """A declared column in a release.

    Attributes:
        column: its name.
        type: of its values, as Lance has it; None if no shard has it yet.
        definition: as `curation.toml` had it: `sql`, or `file`, `on` and `value`.
        definition_sha256: of the definition, in hexadecimal.
        file_digest: of the content of the file; None if there is none.
        value_count: rows that have a value.
        shards_behind: shards whose rows did not have it as it was declared.
    """

    column: str
    type: str | None
    definition: Mapping[str, str]
    definition_sha256: str
    file_digest: str | None
    value_count: int
    shards_behind: tuple[str, ...]

    def describe_gap(self) -> str | None:
        """Returns what is missing, for a person; None if nothing is."""
        if not self.shards_behind:
            return None
        count = len(self.shards_behind)
        shards = self.shards_behind[0] + (f" and {count - 1:,} more shards" if count > 1 else "")
        return f"column {self.column}: not as it is declared in {shards}"


class ReleasedSheet(Record):
    """A list of names in a release.

    Attributes:
        kind: such as `artists`.
        location: the path or URL that it was read from.
        sha256: of its CSV, in hexadecimal.
        name_count: names in it.
        changed_at: when this content was first read.
    """

    kind: str
    location: str
    sha256: str
    name_count: int
    changed_at: datetime


class Manifest(Record):
    """The record of a release.

    Attributes:
        release: its tag on the Lance tables.
        released_at: when, in UTC.
        content_sha256: digest of what it holds, whatever the layout on disk and the time.
        run_id: the Dagster run that made it.
        row_counts: rows of each released table.
        count_digests: SHA-256 of the rows of each table of counts, in hexadecimal; see
            `digest_counts.sql`.
        lance_versions: the tagged version of each Lance table.
        versions: of the code and of the libraries that made it.
        shards: by name.
        sheets: by kind.
        lists_sha256: digest of the lists' other columns, in hexadecimal; None in a release from
            before they were kept.
        columns_sha256: digest of the columns that came after the rows; None if there are none.
        columns: what came after the rows, by shard and set.
        outdated: shards whose present load it does not have, because Lance did not; by name.
        vectors: what it has of vectors; None if it has none, or is from before they were indexed.
        declared: the declared columns, in the order of `curation.toml`.
    """

    release: str
    released_at: datetime
    content_sha256: str
    run_id: str
    row_counts: Mapping[str, int]
    count_digests: Mapping[str, str]
    lance_versions: Mapping[str, int]
    versions: Mapping[str, str]
    shards: tuple[ReleasedShard, ...]
    sheets: tuple[ReleasedSheet, ...]
    lists_sha256: str | None = None
    columns_sha256: str | None = None
    columns: tuple[ReleasedColumns, ...] = ()
    outdated: tuple[OutdatedShard, ...] = ()
    vectors: ReleasedVectors | None = None
    declared: tuple[ReleasedDeclaration, ...] = ()

    @property
    def picture_count(self) -> int:
        """How many pictures it has."""
        return sum(source.picture_count for one in self.columns for source in one.sources)

    @property
    def picture_bytes(self) -> int:
        """The size of its pictures."""
        return sum(source.byte_count for one in self.columns for source in one.sources)

    @property
    def removed_count(self) -> int:
        """How many rows of its shards it does not have because they were removed."""
        return sum(shard.removed_count for shard in self.shards)

    @property
    def sample_count(self) -> int:
        """How many of its shards are invented."""
        return sum(shard.is_sample for shard in self.shards)


def digest_columns(columns: Iterable[ReleasedColumns | NotedColumns]) -> str | None:
    """Returns the digest of the columns that came after the rows, in hexadecimal; None if none.

    It is SHA-256 over a JSON object as that of `digest_content`: for each set of columns the
    digest of each shard that has values. The digest of the content leaves them out, so that a
    release without them has the number that it always had.
    """
    described: dict[str, dict[str, str]] = {}
    for one in columns:
        if one.value_count:
            described.setdefault(one.column_set, {})[one.shard] = one.digest
    if not described:
        return None
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_content(shards: Iterable[ReleasedShard], count_digests: Mapping[str, str]) -> str:
    """Returns the digest of what a release holds, in hexadecimal.

    It is SHA-256 over a JSON object without blanks, keys in order and in ASCII: the digests of the
    tables of counts, and under `shards` for each shard what `DIGESTED` names. Equal files, rules
    and names give the same anywhere, in whatever order and layout.
    """
    read = attrgetter(*DIGESTED)
    described = {s.shard: dict(zip(DIGESTED, read(s), strict=True)) for s in shards}
    content = {**count_digests, "shards": described}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(dataset: lance.LanceDataset, tag: str) -> Manifest | None:
    """Returns the record in a version of the Lance table `images`, if it is that of the release."""
    transaction = dataset.read_transaction(dataset.version)
    properties = (transaction.transaction_properties if transaction else None) or {}
    if MANIFEST_KEY not in properties:
        return None
    manifest = Manifest.model_validate_json(properties[MANIFEST_KEY])
    return manifest if manifest.release == tag else None


def find_versions() -> dict[str, str]:
    """Returns the versions of this code and of what it computes with."""
    return dict(_list_versions())


@cache
def _list_versions() -> list[tuple[str, str]]:
    # Once a process: what is imported does not change while it runs.
    commit = _find_commit()
    return [
        ("laion-assets", version("laion-assets")),
        *([("laion-assets commit", commit)] if commit else []),
        *((library, version(library)) for library in LIBRARIES),
        ("python", platform.python_version()),
        ("sqlite", sqlite3.sqlite_version),
    ]


def _find_commit() -> str | None:
    """Returns the commit of the checkout that runs, `-dirty` if it was changed; None if none."""
    describe = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        result = subprocess.run(  # noqa: S603
            describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
