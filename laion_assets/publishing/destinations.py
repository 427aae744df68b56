"""Opens the place that a person names as the destination of a release."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.publishing.folder_target import FolderTarget
from laion_assets.publishing.hub_target import HubTarget
from laion_assets.raw_shards.sources.source import hide_secrets, split_scheme

if TYPE_CHECKING:
    from laion_assets.publishing.target import Target

_HUB = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?", re.IGNORECASE)


def open_target(destination: str, hub_endpoint: str) -> Target:
    """Returns the destination.

    Args:
        destination: a folder, or `hf://datasets/<org>/<name>`.
        hub_endpoint: where the Hugging Face Hub is.

    Raises:
        LaionError: it cannot be one.
    """
    if (on_hub := _HUB.fullmatch(destination)) is not None:
        return HubTarget(on_hub[1], hub_endpoint)
    if split_scheme(destination):
        raise LaionError(
            f"{hide_secrets(destination)}: a release is published to a folder or to "
            "hf://datasets/<org>/<name>; name one",
            code="publish-place-unknown",
        )
    return FolderTarget(Path(destination).expanduser().absolute())
