"""Finds pictures that look alike, by their perceptual hashes."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.matches import Matches, find_nothing

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Of 64 bits. Copies at another size or quality differ in a few, other pictures in about 32.
MAX_DISTANCE = 6
BATCH_ROWS = 262_144


class AlikePictures:
    """The perceptual hashes of one version of the table, 16 bytes a picture once it was asked."""

    def __init__(self, dataset: lance.LanceDataset, hidden: Numbers | None = None) -> None:
        """Reads nothing yet.

        Args:
            dataset: the version.
            hidden: ids of rows that look like nothing, ascending.
        """
        self._dataset = dataset
        self._hidden = hidden
        self._lock = Lock()
        self._rows: Numbers | None = None
        self._hashes: Numbers | None = None

    def find(self, phash: int) -> Matches:
        """Returns the pictures whose hash differs in `MAX_DISTANCE` bits at most.

        Their scores are the bits that are equal, so that the most alike come first.
        """
        import numpy as np

        if "phash" not in self._dataset.schema.names:
            return find_nothing()
        with self._lock:
            if self._rows is None or self._hashes is None:
                self._rows, self._hashes = self._read()
        wanted = np.array(phash, np.int64).view(np.uint64)
        distances = np.bitwise_count(self._hashes ^ wanted)
        near = np.flatnonzero(distances <= MAX_DISTANCE)
        near = near[np.argsort(self._rows[near])]
        return Matches(self._rows[near], (64 - distances[near]).astype(np.float32))

    def _read(self) -> tuple[Numbers, Numbers]:
        import numpy as np

        rows, hashes = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        scanner = self._dataset.scanner(
            columns=["phash"],
            filter="phash IS NOT NULL",
            with_row_id=True,
            batch_size=BATCH_ROWS,
        )
        for batch in scanner.to_batches():
            rows.append(batch["_rowid"].to_numpy())
            hashes.append(batch["phash"].to_numpy().view(np.uint64))
        found = np.concatenate(rows), np.concatenate(hashes)
        if self._hidden is None or not len(self._hidden):
            return found
        is_shown = ~np.isin(found[0], self._hidden)
        return found[0][is_shown], found[1][is_shown]
