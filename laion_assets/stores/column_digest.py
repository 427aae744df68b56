"""A digest of the values of columns, the same however their rows are cut into batches."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnDigest:
    """SHA-256 over the values of columns, in the order of the rows.

    Of each column the type, which rows have a value, the lengths of the values and their bytes are
    hashed. Numbers are hashed as they are in memory, little-endian.

    Args:
        schema: the columns: numbers, booleans, texts, bytes, and lists of these.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._types = {field.name: str(field.type) for field in schema}
        # Of each column one for each kind of fact, so that batches do not mix them.
        self._hashes = {name: defaultdict[str, Any](hashlib.sha256) for name in self._types}

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the next rows."""
        import numpy as np

        for name, hashes in self._hashes.items():
            values = batch[name]
            is_there = values.is_valid().to_numpy(zero_copy_only=False)
            hashes["is there"].update(is_there.astype(np.uint8).tobytes())
            _add_values(values.drop_null(), hashes)

    def hexdigest(self) -> str:
        """Returns the digest of the rows that were added, in hexadecimal."""
        content = {
            name: [self._types[name], {fact: h.hexdigest() for fact, h in hashes.items()}]
            for name, hashes in self._hashes.items()
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _add_values(values: pa.Array, hashes: dict[str, Any], depth: int = 0) -> None:
    """Adds values, of which none is NULL, and the items of lists one level deeper."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    lengths, content = hashes[f"lengths {depth}"], hashes[f"bytes {depth}"]
    if pa.types.is_fixed_size_list(kind):
        _add_values(values.flatten(), hashes, depth + 1)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths.update(pc.list_value_length(values).cast(pa.int64()).to_numpy().tobytes())
        _add_values(values.flatten(), hashes, depth + 1)
    elif _is_text_or_bytes(kind):
        lengths.update(pc.binary_length(values).cast(pa.int64()).to_numpy().tobytes())
        content.update(_content(values))
    else:
        content.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())


def _is_text_or_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _content(values: pa.Array) -> memoryview:
    """Returns the bytes of all values, one after the other."""
    import numpy as np
    import pyarrow as pa

    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return memoryview(b"")
    is_large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    ends = np.frombuffer(offsets, np.int64 if is_large else np.int32)
    return memoryview(data)[int(ends[values.offset]) : int(ends[values.offset + len(values)])]
