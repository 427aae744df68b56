"""The files of one version of a Lance table, and the same files in another place.

Lance never changes a file that it wrote, so a link is as good as a copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lance

# Manifests are named so that the newest comes first in a listing.
_GREATEST_VERSION = (1 << 64) - 1
_MANIFEST_SUFFIX = ".manifest"


def list_version_files(dataset: lance.LanceDataset) -> list[str]:
    """Returns the files that the open version needs, by their paths in the folder of the table."""
    tracked = dataset.tracked_files(min_version=dataset.version).read_all()
    return sorted(
        {file["path"] for file in tracked.to_pylist() if file["version"] == dataset.version}
    )


def parse_version(path: str) -> int | None:
    """Returns the version whose manifest a file is, by its name; None if it is no manifest."""
    folder, _, name = path.rpartition("/")
    number = name.removesuffix(_MANIFEST_SUFFIX)
    if not folder.endswith("_versions") or number == name or not number.isdigit():
        return None
    # Tables that old versions of Lance made count upwards.
    is_reversed = len(number) == len(str(_GREATEST_VERSION))
    return _GREATEST_VERSION - int(number) if is_reversed else int(number)


def link_files(source: Path, names: Iterable[str], target: Path) -> None:
    """Puts files of a folder into another one, under the same names."""
    for name in names:
        place_file(source / name, target / name)


def place_file(source: Path, target: Path, unfinished: Path | None = None) -> None:
    """Puts a file in another place: a link where the disk is the same, else a copy.

    Args:
        source: the file.
        target: its new name; a file that has it is replaced.
        unfinished: a folder on the disk of the target. What has the new name is whole then,
            whenever the process ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    place = target if unfinished is None else unfinished / target.name
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
    if place != target:
        place.replace(target)
