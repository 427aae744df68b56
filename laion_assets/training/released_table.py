"""Finds the table of a release, in a project of ours or in a dataset that somebody published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError, first_line
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals
from laion_assets.stores.source_dataset import open_source_dataset

if TYPE_CHECKING:
    import lance

SUFFIX = ".lance"
# What is looked for in a folder: a LanceDB database, a data folder, a published dataset.
TABLES = ("images.lance", "lance/images.lance", "train.lance", "data/train.lance")


def find_table(uri: str) -> str:
    """Returns where the table with the images is.

    Args:
        uri: a table (`….lance`), a LanceDB database, a data folder, or a published dataset: a
            folder, or `hf://datasets/<org>/<name>`.

    Raises:
        LaionError: a folder has none.
    """
    uri = uri.rstrip("/")
    if uri.endswith(SUFFIX):
        return uri
    if "://" in uri:
        return f"{uri}/train{SUFFIX}" if uri.endswith("/data") else f"{uri}/data/train{SUFFIX}"
    for name in TABLES:
        if (Path(uri).expanduser() / name).is_dir():
            return str(Path(uri).expanduser() / name)
    raise LaionError(
        f"{uri}: it has no images.lance and no data/train.lance; name a LanceDB database, a "
        "published dataset or a table (….lance)",
        code="training-no-table",
    )


def open_release(uri: str, release: str) -> lance.LanceDataset:
    """Opens a table as a release has it.

    Args:
        uri: the table, as from `find_table`.
        release: the tag.

    Raises:
        LaionError: it has no such tag, or cannot be read.
    """
    with name_failures(uri):
        dataset = open_source_dataset(uri, {})
        try:
            return dataset.checkout_version(release)
        except OSError as error:
            if "Ref not found" not in str(error):
                raise
    raise LaionError(
        f"{uri}: no release {release!r}; `tags.list()` of the table has their names",
        code="training-release-unknown",
    )


def read_removals(uri: str) -> Removals:
    """Returns the list of removals that holds for a table; what was published has none.

    Raises:
        LaionError: it cannot be read.
    """
    store = LanceStore.beside(uri)
    return Removals() if store is None else store.removals.read()


def open_version(uri: str, version: int) -> lance.LanceDataset:
    """Opens a version of a table.

    Raises:
        LaionError: it cannot be read.
    """
    with name_failures(uri):
        return open_source_dataset(uri, {}).checkout_version(version)


@contextmanager
def name_failures(uri: str) -> Iterator[None]:
    """Says in one line which table could not be read.

    Raises:
        LaionError: it could not.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        raise LaionError(
            f"{uri}: cannot be read ({first_line(error)}); check the address, and that the "
            "release was not deleted",
            code="training-table-unreadable",
        ) from error
