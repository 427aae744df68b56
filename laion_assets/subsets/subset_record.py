"""What a subset says of itself: the release, the definition and the figures behind its rows.

It lies in the metadata of the schema, so it is committed with the rows, and whoever reads the table
has it at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.releases.manifest import Manifest, Record
from laion_assets.removals.find_rows import TELLING, find_row_ids
from laion_assets.removals.matching import Matcher
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

RECORD_KEY = "laion_assets.subset"
# Raise it when the same definition gives other rows, or rows in another order, than before.
RULES_VERSION = 1


class SubsetRecord(Record):
    """The record of a subset.

    Attributes:
        subset: its name.
        release: the tag of the release that it is a part of.
        content_sha256: of that release.
        columns_sha256: of that release.
        definition: as `curation.toml` had it.
        definition_sha256: of the definition and the rules that read it, in hexadecimal.
        encoder_digest: of the model that read `like`; None without.
        vectors_encoder: of the model that made the vectors of the release; None if nobody knows it.
        digest: SHA-256 over the values of all columns, in the order of the rows, in hexadecimal.
        row_count: its rows.
        match_count: rows of the release that fit, of which `limit` took these.
        picture_count: rows with a picture; 0 without the column `image`.
        vector_count: rows with a vector; 0 without the column `img_emb`.
        is_sample: whether the release has shards with invented rows.
        missing: rows without a value, by column.
        data_bytes: size of its data files.
        run_id: the Dagster run that made it.
        made_at: when, in UTC.
        versions: of the code and of the libraries that made it.
        removals_sha256: of the list of removals whose rows it was made without; None: nobody knows.
    """

    subset: str
    release: str
    content_sha256: str
    columns_sha256: str | None
    definition: Mapping[str, Any]
    definition_sha256: str
    encoder_digest: str | None
    vectors_encoder: str | None
    digest: str
    row_count: int
    match_count: int
    picture_count: int
    vector_count: int
    is_sample: bool
    missing: Mapping[str, int]
    data_bytes: int
    run_id: str
    made_at: datetime
    versions: Mapping[str, str]
    removals_sha256: str | None = None


class ReleaseWithSubsets(Manifest):
    """The record of a release, and those of the subsets that were made of it.

    Attributes:
        subsets: by name; what was begun and has no tag yet is none.
    """

    subsets: tuple[SubsetRecord, ...]


def digest_subset(subset: DeclaredSubset) -> str:
    """Returns SHA-256 of the definition of a subset and of the rules, in hexadecimal."""
    text = json.dumps([subset.name, subset.describe(), RULES_VERSION], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(
    record: SubsetRecord, subset: DeclaredSubset, manifest: Manifest, removals: Removals
) -> bool:
    """Returns whether a subset was made of this release as it is declared.

    One whose columns do not tell which rows were removed since is to be made again.
    """
    made = record.release, record.content_sha256, record.columns_sha256, record.definition_sha256
    wanted = manifest.release, manifest.content_sha256, manifest.columns_sha256
    tells = record.missing.keys() >= TELLING or record.removals_sha256 == removals.digest
    return made == (*wanted, digest_subset(subset)) and tells


def find_removed(dataset: lance.LanceDataset, removals: Removals) -> Numbers:
    """Returns the ids of the rows of a table that are on the list of removals, ascending.

    Args:
        dataset: a version of `images` or of a subset.
        removals: the list.

    Raises:
        LaionError: the list changed since it was made, and its columns do not tell.
    """
    import numpy as np

    record = read_record(dataset)
    if record is not None and record.removals_sha256 == removals.digest:
        return np.zeros(0, np.uint64)
    return find_row_ids(dataset, Matcher.of(removals))


def is_subset(dataset: lance.LanceDataset) -> bool:
    """Returns whether this project made a table as a subset, of whatever version."""
    return RECORD_KEY.encode() in (dataset.schema.metadata or {})


def read_record(dataset: lance.LanceDataset) -> SubsetRecord | None:
    """Returns the record in a version of a table; None if it has none that can be read."""
    text = (dataset.schema.metadata or {}).get(RECORD_KEY.encode())
    if text is None:
        return None
    try:
        return SubsetRecord.model_validate_json(text)
    except ValidationError:
        return None


def open_subsets(store: LanceStore) -> Iterator[tuple[str, lance.LanceDataset]]:
    """Yields the name and the newest version of each subset, whole or not, declared or not."""
    for name in store.list_tables():
        dataset = store.find(name)
        if dataset is not None and is_subset(dataset):
            yield name, dataset


def find_made(store: LanceStore, name: str) -> SubsetRecord | None:
    """Returns the record of a subset that was made to its end, with indices and tag; else None."""
    dataset = store.find(name)
    return None if dataset is None else _read_whole(dataset)


def _read_whole(dataset: lance.LanceDataset) -> SubsetRecord | None:
    record = read_record(dataset)
    if record is None:
        return None
    tag = dataset.tags.list().get(record.release)
    if tag is None or read_record(dataset.checkout_version(int(tag["version"]))) != record:
        return None
    return record


def list_made(store: LanceStore) -> dict[str, SubsetRecord]:
    """Returns the records of all subsets that were made, declared or not, by name."""
    found = ((name, _read_whole(dataset)) for name, dataset in open_subsets(store))
    return {name: record for name, record in found if record is not None}


def add_subsets(store: LanceStore, manifest: Manifest) -> ReleaseWithSubsets:
    """Returns the record of a release with those of its subsets, declared or not any more."""
    found = []
    for _, dataset in open_subsets(store):
        tag = dataset.tags.list().get(manifest.release)
        record = read_record(dataset.checkout_version(int(tag["version"]))) if tag else None
        if record is not None:
            found.append(record)
    return ReleaseWithSubsets(**dict(manifest), subsets=tuple(found))
