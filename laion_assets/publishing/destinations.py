"""Opens the place that a person names as the destination of a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.publishing.folder_target import FolderTarget
from laion_assets.raw_shards.sources.source import hide_secrets, split_scheme

if TYPE_CHECKING:
    from laion_assets.publishing.target import Target


def open_target(destination: str) -> Target:
    """Returns the destination.

    Args:
        destination: a folder, or `hf://datasets/<org>/<name>`.

    Raises:
        LaionError: it cannot be one.
    """
    if split_scheme(destination):
        raise LaionError(
            f"{hide_secrets(destination)}: a release is published to a folder or to "
            "hf://datasets/<org>/<name>; name one",
            code="publish-place-unknown",
        )
    return FolderTarget(Path(destination).expanduser().absolute())
