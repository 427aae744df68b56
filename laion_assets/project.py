"""The files that make a folder a project: its settings, Dagster's instance, the lists of names.

The repository has them at its root. `pyproject.toml` puts copies of the same files into the wheel,
so that `laion` works without a checkout, and `laion init` can write a project of one's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from laion_assets.errors import ProjectError
from laion_assets.settings import find_files_dir, is_project

# Without this file Dagster keeps its history elsewhere, with its own defaults.
INSTANCE_FILE = "dagster.yaml"
PROJECT_FILES = (".env", INSTANCE_FILE, "workspace.yaml", "data/curation.toml")
PACKAGE = Path(__file__).parent


def set_up_home(home: Path) -> None:
    """Writes what a project needs and its folder lacks; changes no file that is there.

    Raises:
        ProjectError: the folder cannot be written.
    """
    missing = (INSTANCE_FILE,) if is_project(home) else PROJECT_FILES
    _write_files(home, (name for name in missing if not (home / name).exists()))


def init_project(folder: Path) -> list[Path]:
    """Writes an editable project, and returns its files.

    Raises:
        ProjectError: the folder has other files of these names, or cannot be written.
    """
    names = (*PROJECT_FILES, *_list_sheets())
    if others := [name for name in names if _is_other_file(folder, name)]:
        raise ProjectError(
            f"{folder}: has a different {', '.join(others)}; choose an empty folder, or move "
            "these files away",
            code="project-has-other-files",
        )
    _write_files(folder, names)
    return [folder / name for name in names]


def _list_sheets() -> list[str]:
    files = find_files_dir()
    return [path.relative_to(files).as_posix() for path in sorted(files.glob("data/sheets/*.csv"))]


def _is_other_file(folder: Path, name: str) -> bool:
    place = folder / name
    if place.is_file():
        return place.read_bytes() != (find_files_dir() / name).read_bytes()
    return place.exists() or place.is_symlink()


def _write_files(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        place = folder / name
        content = (find_files_dir() / name).read_bytes()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_bytes(content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ProjectError(
                f"{place}: cannot be written ({reason}); choose another folder (for "
                "a home: LAION_HOME)",
                code="project-not-writable",
            ) from error


def digest_program() -> str:
    """Returns a digest of the package's modules, statements and templates."""
    digest = hashlib.sha256()
    for path in sorted(p for p in PACKAGE.rglob("*") if p.suffix in {".py", ".sql", ".html"}):
        digest.update(f"{path.relative_to(PACKAGE)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
