"""Opens Lance datasets of others, on this machine or on the Hugging Face Hub, to read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.settings import hush_lance
from laion_assets.stores.object_store import find_lance_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    import lance


def open_source_dataset(uri: str, options: Mapping[str, str]) -> lance.LanceDataset:
    """Opens the newest version of a dataset.

    Lance finds the Hub by `HF_ENDPOINT` in the environment alone.

    Args:
        uri: a path, `hf://datasets/<org>/<name>/<path>`, or `s3://<bucket>/<path>`.
        options: how to ask for it, as Lance's `storage_options`.

    Raises:
        ValueError: there is none, or it cannot be read.
        OSError: it cannot be read.
    """
    hush_lance()
    import lance

    if uri.startswith("s3://"):
        options = {**find_lance_options(), **options}
    return lance.dataset(uri, storage_options=dict(options))
