"""What the Lance table itself says of its newest release: digests, beside the record of all shards.

The record has a line for each shard, and whoever only asks whether anything has changed since need
not read it. The digests are in the metadata of the table, so whoever opens it has them. They only
spare work: where they are missing, or are not those of the newest release, the record is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from laion_assets.releases.manifest import Manifest, Record
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb
    import lance

# In the metadata of every later version too.
DIGESTS_KEY = "laion_assets.release_digests"


class ReleaseDigests(Record):
    """What tells one release from another.

    Attributes:
        release: its tag on the Lance tables.
        lance_versions: the tagged version of each.
        content_sha256: as in the record.
        columns_sha256: as in the record.
        lists_sha256: as in the record.
        shards_sha256: of what makes the content of its shards; see `digest_shard_contents.sql`.
        sheets: SHA-256 of each list of names, by kind.
    """

    release: str
    lance_versions: Mapping[str, int]
    content_sha256: str
    columns_sha256: str | None
    lists_sha256: str | None
    shards_sha256: str
    sheets: Mapping[str, str]

    @classmethod
    def of(cls, manifest: Manifest, shards_sha256: str) -> Self:
        """Returns those of a record."""
        return cls(
            release=manifest.release,
            lance_versions=manifest.lance_versions,
            content_sha256=manifest.content_sha256,
            columns_sha256=manifest.columns_sha256,
            lists_sha256=manifest.lists_sha256,
            shards_sha256=shards_sha256,
            sheets={sheet.kind: sheet.sha256 for sheet in manifest.sheets},
        )


def read_digests(
    dataset: lance.LanceDataset, tags: Mapping[str, Mapping[str, int]]
) -> ReleaseDigests | None:
    """Returns the digests of the newest release; None if they are not known without its record.

    Args:
        dataset: the newest version of the Lance table `images`.
        tags: as `list_tags` has them. Of a release that is damaged or deleted, or older than
            another tag, the table does not tell.
    """
    try:
        digests = ReleaseDigests.model_validate_json(dataset.metadata.get(DIGESTS_KEY, ""))
    except ValidationError:
        return None
    tagged = {table: tags.get(table, {}).get(digests.release) for table in digests.lance_versions}
    is_newest = max(tags["images"].values(), default=0) == digests.lance_versions["images"]
    return digests if is_newest and tagged == digests.lance_versions else None


def digest_shards(connection: duckdb.DuckDBPyConnection) -> str:
    """Returns the digest of what makes the content of a release of the loaded shards."""
    ((digest,),) = connection.execute(load_sql("releases/digest_shard_contents")).fetchall()
    return str(digest)
