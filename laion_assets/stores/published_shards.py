"""What a published table says of its shards, so that whoever loads it has the very same ones.

It lies in the commit of the published version. The rows of a shard alone do not say how long its
file was, what it was called, or which rows of it were left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lance

# In the metadata of the table: the release that was published last.
RELEASE_KEY = "laion_assets.published_release"
# The property of the commit.
PUBLISHED_KEY = "laion_assets.published_shards"
# The key in the metadata of a parquet file that was made from such rows.
ORIGIN_KEY = "laion_assets.origin_sha256"


@dataclass(frozen=True)
class PublishedShard:
    """A shard in a published table.

    Attributes:
        shard: its name.
        sha256: of the file that its rows came from, in hexadecimal.
        file_rows: rows in that file.
        image_count: rows of it in the table.
        id_sum: sum of their `image_id`, a whole number in decimal.
        is_sample: whether they are invented.
        columns: the digest of each set of columns that came after the rows.
    """

    shard: str
    sha256: str
    file_rows: int
    image_count: int
    id_sum: str
    is_sample: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Names the content, whatever the layout of the table."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def write_published_shards(shards: Iterable[PublishedShard]) -> str:
    """Returns the property of the commit."""
    return json.dumps([asdict(shard) for shard in shards])


def read_published_shards(dataset: lance.LanceDataset) -> dict[str, PublishedShard] | None:
    """Returns the shards of the open version, by name; None if it is no published release.

    Raises:
        ValueError: what stands there cannot be read.
    """
    # Of other tables nothing more is asked for.
    if not dataset.metadata.get(RELEASE_KEY):
        return None
    transaction = dataset.read_transaction(dataset.version)
    properties = (transaction.transaction_properties if transaction else None) or {}
    if PUBLISHED_KEY not in properties:
        return None
    try:
        shards = [PublishedShard(**shard) for shard in json.loads(properties[PUBLISHED_KEY])]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the list of its shards cannot be read: {error}") from error
    return {shard.shard: shard for shard in shards}
