"""Says what is hidden as unsafe: by the probability, or by the label of a source that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.schemas import UNSAFE_LABELS

if TYPE_CHECKING:
    import pyarrow as pa

# Above it the search page hides an image until somebody asks for it; the threshold of many a LAION
# subset.
PUNSAFE_THRESHOLD = 0.5
# A column that no table has: `punsafe`; 1 where that is missing and the label is one of these.
UNSAFETY = "unsafety"


def is_unsafe(punsafe: float | None, label: str | None, threshold: float) -> bool:
    """Returns whether an image is hidden at a threshold; none is at 1.

    Args:
        punsafe: probability of being unsafe, None if it is not known.
        label: what its source has in the column `nsfw`.
        threshold: the probability above which images are hidden.
    """
    if punsafe is None:
        punsafe = float(label is not None and label.strip().upper() in UNSAFE_LABELS)
    return punsafe > threshold


def measure_unsafety(punsafe: pa.Array, labels: pa.Array) -> pa.Array:
    """Returns for each image its probability; without one, 1 for an unsafe label, else NULL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if labels.null_count == len(labels):
        return punsafe
    written = pc.utf8_upper(pc.utf8_trim_whitespace(labels))
    is_labelled = pc.is_in(written, pa.array(UNSAFE_LABELS, written.type))
    one = pa.scalar(1, punsafe.type)
    return pc.coalesce(punsafe, pc.if_else(is_labelled, one, pa.scalar(None, punsafe.type)))


def drop_unsafe(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the rows that the search page shows without being asked; see `PUNSAFE_THRESHOLD`.

    Args:
        batch: rows with the columns `punsafe` and `nsfw`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    unsafety = measure_unsafety(batch["punsafe"], batch["nsfw"])
    is_hidden = pc.fill_null(pc.greater(unsafety, PUNSAFE_THRESHOLD), pa.scalar(value=False))
    return batch.filter(pc.invert(is_hidden))
