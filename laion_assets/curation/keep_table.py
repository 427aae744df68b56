"""Reads the table `[keep]` of `curation.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laion_assets.curation.place import CurationError, Place, check_keys


def read_kept(place: Place, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the columns of the shards that are kept.

    Args:
        place: of the table.
        content: the whole file.

    Raises:
        CurationError: it is no list of names.
    """
    table = content.get("keep", {})
    if isinstance(table, dict):
        check_keys(place, table, ("source_columns",))
        names = table.get("source_columns", [])
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    raise CurationError(
        f'{place}: write `source_columns = ["num_faces"]`, a list of columns of the shards',
        code="keep-no-list",
    )
