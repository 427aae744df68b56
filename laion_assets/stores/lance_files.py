"""Which files a version of a Lance table is made of."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lance

_TAGS = "_refs/tags"


def list_kept_versions(dataset: lance.LanceDataset) -> set[int]:
    """Returns the newest version and those that a tag holds."""
    return {dataset.version, *(int(tag["version"]) for tag in dataset.tags.list().values())}


def list_files(dataset: lance.LanceDataset, versions: Collection[int]) -> set[str]:
    """Returns the paths, from the folder of the table, of all that these versions need.

    Only manifests are read, so a file that is lost is among them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    files = dataset.tracked_files(min_version=min(versions, default=0)).read_all()
    wanted = files.filter(pc.is_in(files["version"], pa.array(sorted(versions), pa.int64())))
    return set(wanted["path"].to_pylist())


def list_tag_files(dataset: lance.LanceDataset) -> set[str]:
    """Returns the paths, from the folder of the table, of its tags."""
    folder = Path(dataset.uri) / _TAGS
    # One that is being written has a hidden name.
    return {f"{_TAGS}/{path.name}" for path in folder.glob("[!.]*.json")}


def is_immutable(path: str) -> bool:
    """Returns whether a file of that name has one content for ever; Lance gives it an id."""
    return not path.startswith(("_versions/", "_refs/"))
