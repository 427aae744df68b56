"""Says which rows of a release are on the list of removals, and what its counts are without them.

A release never changes, so the rows that came onto the list after it are still in it: whoever reads
one leaves them out. There are few, so their counts are made at once and taken off those of the
release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.counts.captions import Folding, count_phrases
from laion_assets.releases.catalog import open_released
from laion_assets.removals.find_rows import find_row_ids
from laion_assets.removals.matching import Matcher

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    from laion_assets.releases.manifest import Manifest
    from laion_assets.stores.lance_store import LanceStore

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Rows that are read at a time.
BATCH_ROWS = 50_000


def holds_removed_rows(store: LanceStore, manifest: Manifest) -> bool:
    """Returns whether a release has rows that are on the list of removals.

    Such a release is not to be published, whatever else it is used for.

    Args:
        store: the Lance tables.
        manifest: the record of the release.

    Raises:
        LaionError: the list cannot be read.
    """
    return len(find_hidden(store, manifest)) > 0


def find_hidden(store: LanceStore, manifest: Manifest) -> Numbers:
    """Returns the ids of the rows of a release that are on the list of removals, ascending.

    Raises:
        LaionError: the list cannot be read.
    """
    import numpy as np

    matcher = Matcher.of(store.removals.read())
    if matcher.is_empty:
        return np.zeros(0, np.uint64)
    domains = open_released(store, manifest, "domain_counts").to_table(columns=["domain"])
    images = open_released(store, manifest, "images")
    return find_row_ids(images, matcher, domains["domain"].to_pylist())


class HiddenRows:
    """The rows of a version of `images` that are to be left out."""

    def __init__(self, dataset: lance.LanceDataset, ids: Numbers) -> None:
        """Reads nothing yet.

        Args:
            dataset: the version.
            ids: of the rows, ascending.
        """
        self._dataset = dataset
        self.ids = ids

    @cached_property
    def hosts(self) -> Mapping[tuple[str, str | None], int]:
        """How many of them each domain and its registered domain have."""
        counts: Counter[tuple[str, str | None]] = Counter()
        for batch in self._read(["domain", "registered_domain"]):
            sites = batch["registered_domain"].to_pylist()
            counts.update(zip(batch["domain"].to_pylist(), sites, strict=True))
        return counts

    def count_names(self, names: Iterable[str]) -> dict[str, int]:
        """Returns for each name how many of their captions it matches."""
        folding = Folding()
        phrases = {name: folding.phrase(name) for name in names}
        batches = (batch for table in self._read(["caption"]) for batch in table.to_batches())
        counts = count_phrases(batches, sorted({p for p in phrases.values() if p}), folding)
        return {name: counts.get(phrase, 0) for name, phrase in phrases.items()}

    def _read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yields columns of the rows; one that the table lacks is NULL."""
        import pyarrow as pa

        present = [column for column in columns if column in self._dataset.schema.names]
        for start in range(0, len(self.ids), BATCH_ROWS):
            ids = pa.array(self.ids[start : start + BATCH_ROWS], pa.uint64())
            table = self._dataset._take_rows(ids, columns=present)
            for column in columns:
                if column not in present:
                    table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
            yield table.select(columns)


def subtract(table: pa.Table, key: str, less: Mapping[str, int]) -> pa.Table:
    """Returns a table of counts with less images; what has none left is not in it.

    Args:
        table: with the columns `key` and `image_count`.
        key: what is counted.
        less: how many images less it has, by key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not less:
        return table
    places = pc.index_in(table[key], value_set=pa.array(list(less), pa.string()))
    numbers = pc.fill_null(pa.array(less.values(), pa.int64()).take(places.combine_chunks()), 0)
    left = pc.subtract(table["image_count"], numbers)
    table = table.set_column(table.schema.get_field_index("image_count"), "image_count", left)
    return table.filter(pc.greater(left, 0))
