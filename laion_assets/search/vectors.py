"""Asks the vectors of a release: by a text, a picture, another image, or a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.embeddings.nearest import (
    MAX_COMPARED,
    FewVectors,
    compare_few,
    find_nearest,
    pack_rows,
    read_few,
)
from laion_assets.embeddings.recall import FIRST_NPROBES
from laion_assets.errors import LaionError
from laion_assets.search.allowed import Allowed
from laion_assets.search.matches import Matches

if TYPE_CHECKING:
    import lance
    import numpy as np

    from laion_assets.embeddings.encoder import Encoder
    from laion_assets.releases.manifest import ReleasedVectors

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Where nothing was measured, as before the first release.
UNMEASURED_NPROBES = 4 * FIRST_NPROBES
# So many ranks are followed, and of more than one ranking that are joined so many of each.
MAX_RANKED = 1_000
MAX_JOINED = 200


class VectorSearch:
    """The vectors of one version of the table `images`; for several threads at once."""

    def __init__(
        self,
        dataset: lance.LanceDataset,
        recorded: ReleasedVectors | None,
        encoder: Encoder | None,
    ) -> None:
        """Reads nothing yet.

        Args:
            dataset: the version.
            recorded: what its release says of them; None: nothing.
            encoder: makes vectors of texts and pictures; None: only vectors can be searched by.
        """
        self._dataset = dataset
        self._recorded = recorded
        self._encoder = encoder

    @property
    def has_vectors(self) -> bool:
        """Whether the table has a column of vectors."""
        return COLUMN in self._dataset.schema.names

    @property
    def has_encoder(self) -> bool:
        """Whether texts and pictures can be searched by."""
        if self._encoder is None or not self.has_vectors:
            return False
        return self._explain_encoder(self._encoder) is None

    def embed_text(self, text: str) -> Numbers | None:
        """Returns the vector of a text; None if the encoder knows nothing of it.

        Raises:
            LaionError: there is no encoder for these vectors.
        """
        vector: Numbers = self._find_encoder().embed_texts([text])[0]
        return self.check(vector) if vector.any() else None

    def embed_picture(self, picture: bytes) -> Numbers:
        """Returns the vector of a picture.

        Raises:
            LaionError: it cannot be decoded, or there is no encoder for these vectors.
        """
        vector: Numbers = self._find_encoder().embed_pictures([picture])[0]
        return self.check(vector)

    def read(self, row: int) -> Numbers | None:
        """Returns the vector of a row id; None if it has none.

        Raises:
            LaionError: the table has no vectors.
        """
        import numpy as np
        import pyarrow as pa

        self._check_there()
        rows = pa.array([row], pa.uint64())
        (vector,) = self._dataset._take_rows(rows, columns=[COLUMN])[COLUMN].to_pylist()
        return None if vector is None else np.array(vector, np.float32)

    def read_few(self, rows: Numbers) -> FewVectors | None:
        """Returns the vectors of rows, if they are so few that all may be compared.

        Args:
            rows: row ids, ascending.
        """
        if len(rows) > MAX_COMPARED or not self.has_vectors:
            return None
        return read_few(self._dataset, rows)

    def check(self, vector: Numbers) -> Numbers:
        """Returns a vector that somebody brings, as the search takes it.

        Raises:
            LaionError: it is of another dimension, zero or not finite, or there are no vectors.
        """
        import numpy as np

        self._check_there()
        given = np.asarray(vector)
        if given.ndim == 2 and len(given) == 1:  # noqa: PLR2004 - a file of one row
            given = given[0]
        if given.shape != (self._dimension,) or given.dtype.kind not in "fiu":
            raise LaionError(
                f"vector: it has the shape {np.shape(vector)} of {given.dtype}, and those of the "
                f"table have {self._dimension} numbers; bring one that the same model made",
                code="search-vector-shape",
            )
        # Through the widest type: the squares of large numbers overflow in the others.
        wide = given.astype(np.float64)
        largest = np.abs(wide).max()
        if not np.isfinite(largest) or largest == 0:
            raise LaionError(
                "vector: it is zero or has a number that is not finite; bring another",
                code="search-vector-empty",
            )
        wide /= largest
        units: Numbers = (wide / np.linalg.norm(wide)).astype(np.float32)
        return units

    def find(
        self, vector: Numbers, count: int, allowed: Allowed, without: int | None = None
    ) -> Matches:
        """Returns the nearest vectors, those of one distance by row id.

        More are looked at where the last one is as near as those after it, so that the same ones
        are returned each time.

        Args:
            vector: as `check` returns it.
            count: how many, up to `MAX_RANKED`.
            allowed: the rows that may be found.
            without: a row id that is left out.
        """
        import numpy as np

        if allowed.few is not None:
            return Matches(*compare_few(allowed.few, vector, count, without))
        left_out = None if without is None else pack_rows(np.array([without], np.uint64))
        asked = count + 1
        while True:
            found = find_nearest(
                self._dataset,
                vector,
                asked,
                nprobes=self._nprobes,
                allowed=allowed.packed,
                share=allowed.share,
                without=left_out,
            )
            near = found.similarities
            is_cut = len(near) == asked and near[count - 1] == near[-1]
            if not is_cut or asked > MAX_RANKED:
                return Matches(found.rows[:count], near[:count])
            asked = min(asked * 4, MAX_RANKED + 1)

    @property
    def _dimension(self) -> int:
        return int(self._dataset.schema.field(COLUMN).type.list_size)

    @property
    def _nprobes(self) -> int:
        return UNMEASURED_NPROBES if self._recorded is None else self._recorded.nprobes

    def _check_there(self) -> None:
        if not self.has_vectors:
            raise LaionError(
                "there are no vectors here; load shards that bring some (`img_emb`), and release",
                code="search-no-vectors",
            )

    def _find_encoder(self) -> Encoder:
        self._check_there()
        if self._encoder is None:
            raise LaionError(
                "a search by meaning needs an encoder; set LAION_ENCODER to the model that made "
                "the vectors",
                code="search-encoder-missing",
            )
        if reason := self._explain_encoder(self._encoder):
            raise LaionError(
                f"LAION_ENCODER: {self._encoder.name} {reason}; set the model that made the "
                "vectors",
                code="search-encoder-other",
            )
        return self._encoder

    def _explain_encoder(self, encoder: Encoder) -> str | None:
        """Returns why vectors of an encoder cannot be compared with those of the table."""
        known = self._recorded.encoder_digest if self._recorded else None
        if known is not None and known != encoder.digest:
            return f"is {encoder.digest[:12]}…, and the vectors are of {known[:12]}…"
        if encoder.dimension != self._dimension:
            return (
                f"makes vectors of {encoder.dimension} numbers, and those of the table have "
                f"{self._dimension}"
            )
        return None
