"""Publishes to a folder. Each file gets its name when it is whole, those that others name first."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laion_assets.publishing.target import (
    CARD,
    RECORD,
    StagedFile,
    There,
    parse_record,
    refuse_other,
)
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.version_files import place_file

# Has what is not whole yet; while it is there, a release is on its way.
UNFINISHED = ".unfinished-release"


@dataclass(frozen=True)
class FolderTarget:
    """A folder of this machine.

    Attributes:
        folder: absolute.
    """

    folder: Path
    is_public: bool = False

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def address(self) -> str:
        """The folder as one writes it who is beside it."""
        return f"./{self.folder.name}"

    @property
    def data_uri(self) -> str:
        """The folder of the tables."""
        return f"./{self.folder.name}/data"

    def look(self) -> There:
        """Returns what is in the folder.

        Raises:
            LaionError: something else is there.
        """
        if self.folder.is_file():
            raise refuse_other(self.name)
        sizes = {
            path.relative_to(self.folder).as_posix(): path.stat().st_size
            for path in self.folder.rglob("*")
            if path.is_file() and UNFINISHED not in path.parts
        }
        has_others = any(not path.startswith(".") for path in sizes)
        if RECORD not in sizes and has_others and not self._unfinished.exists():
            raise refuse_other(self.name)
        texts = {name: self._read(name) for name in (CARD, RECORD)}
        record = texts[RECORD]
        return There(
            sizes=sizes,
            record=None if record is None else parse_record(record, self.name),
            texts=texts,
        )

    def send(self, files: Sequence[StagedFile]) -> None:
        """Links or copies files that nobody reads yet.

        Raises:
            DiskSpaceError: the disk has no room for them.
        """
        self._unfinished.mkdir(parents=True, exist_ok=True)
        if files and files[0].source.stat().st_dev != self.folder.stat().st_dev:
            needed_bytes = LEAST_BYTES + sum(file.size for file in files)
            check_space(self.folder, needed_bytes, f"publishing to {self.folder}")
        self._place(files)

    def finish(self, files: Sequence[StagedFile], release: str) -> None:  # noqa: ARG002
        """Brings the files that make the release visible, one after the other."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._place(files)
        shutil.rmtree(self._unfinished)

    def _place(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            place_file(file.source, self.folder / file.path, self._unfinished)

    def _read(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text("utf-8") if path.exists() else None

    @property
    def _unfinished(self) -> Path:
        return self.folder / UNFINISHED
