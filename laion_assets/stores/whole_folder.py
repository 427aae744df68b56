"""Makes a folder that is replaced whole: whoever reads it sees the one before or the new one.

While it is made it has a hidden name beside its own. A folder cannot take the place of another in
one step, so the one before gets a hidden name for an instant; after a kill there, the next process
gives it its name back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from laion_assets.stores.sqlite_file import sync


@contextmanager
def replace_folder(destination: Path) -> Iterator[Path]:
    """Yields an empty folder, which gets its name when the block has ended well.

    If the block fails, what was there before stays, and nothing else is left. Hold a lock
    meanwhile, and call `recover_folder` first.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{destination.name}.part-", dir=destination.parent))
    # `mkdtemp` makes folders for one user alone; this one is as any other.
    made.chmod(0o777 & ~_read_umask())
    try:
        yield made
        for folder, _, names in os.walk(made):
            for path in (Path(folder), *(Path(folder) / name for name in names)):
                sync(path)
        old = made.with_name(made.name.replace(".part-", ".old-"))
        if destination.exists():
            destination.rename(old)
        made.rename(destination)
        sync(destination.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def recover_folder(destination: Path) -> None:
    """Removes what a killed process left; the folder of before gets its name back."""
    for left in destination.parent.glob(f".{destination.name}.part-*"):
        shutil.rmtree(left)
    for old in destination.parent.glob(f".{destination.name}.old-*"):
        if destination.exists():
            shutil.rmtree(old)
        else:
            old.rename(destination)


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
