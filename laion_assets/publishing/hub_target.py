"""Publishes to the Hugging Face Hub.

Files that nobody reads yet come in commits of their own, so that an attempt that is cut off does
not begin anew. One last commit brings versions, tags, card and record, so a reader has the release
before or this one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError, first_line
from laion_assets.publishing.target import (
    CARD,
    RECORD,
    TABLES,
    StagedFile,
    There,
    name_folder,
    parse_record,
    refuse_other,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# A commit of the Hub takes a while itself; what was sent before it is not lost.
COMMIT_BYTES = 5 << 30
COMMIT_FILES = 100
# What the Hub itself or a person puts into a new dataset, and what an attempt may have left.
_OWN_FILES = frozenset({".gitattributes", CARD})
_UNREAD = tuple(
    f"{name_folder(table)}/{folder}/"
    for table in TABLES.values()
    for folder in ("data", "_indices", "_deletions", "_transactions")
)
_CONFLICTS = (409, 412)
_REFUSALS = (401, 403, 404)
_LEAST_SERVER_STATUS = 500


@dataclass
class HubTarget:
    """A dataset on the Hub.

    Attributes:
        dataset: `<org>/<name>`.
        endpoint: where the Hub is.
        is_created: whether it was made by this publication; it is private then.
    """

    dataset: str
    endpoint: str
    is_public: bool = True
    is_created: bool = False
    _head: str | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The dataset as our commands take it."""
        return f"hf://datasets/{self.dataset}"

    @property
    def address(self) -> str:
        """Its name on the Hub."""
        return self.dataset

    @property
    def data_uri(self) -> str:
        """The folder of the tables."""
        return f"{self.name}/data"

    def look(self) -> There:
        """Returns what the Hub has; nothing if there is no such dataset.

        Raises:
            LaionError: something else is there, or the Hub does not answer.
        """
        from huggingface_hub.errors import RepositoryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        api = self._open()
        with self._name_failures():
            try:
                head = api.repo_info(self.dataset, repo_type="dataset").sha
            except RepositoryNotFoundError:
                return There()
            tree = api.list_repo_tree(
                self.dataset, recursive=True, revision=head, repo_type="dataset"
            )
            sizes = {file.path: file.size for file in tree if isinstance(file, RepoFile)}
            texts = {name: self._read(api, name, head, sizes) for name in (CARD, RECORD)}
        self._head = head
        record = texts[RECORD]
        others = [p for p in sizes if p not in _OWN_FILES and not p.startswith(_UNREAD)]
        if record is None and others:
            raise refuse_other(self.name)
        return There(
            sizes=sizes,
            record=None if record is None else parse_record(record, self.name),
            texts=texts,
        )

    def send(self, files: Sequence[StagedFile]) -> None:
        """Brings files that nobody reads yet, and makes the dataset if it is not there.

        Raises:
            LaionError: the Hub refuses them, or does not answer.
        """
        self._create()
        groups = list(_group(files))
        for number, group in enumerate(groups, 1):
            self._commit(group, f"Files of the next release, {number} of {len(groups)}")

    def finish(self, files: Sequence[StagedFile], release: str) -> None:
        """Makes the release visible in one commit, and gives that the tag of the release.

        Raises:
            LaionError: somebody else changed the dataset meanwhile, or the Hub refuses the files.
        """
        self._create()
        if files:
            self._commit(files, f"Release {release}")
        with self._name_failures():
            self._open().create_tag(
                self.dataset,
                tag=release,
                revision=self._head,
                repo_type="dataset",
                exist_ok=True,
            )

    def _create(self) -> None:
        if self._head is not None:
            return
        api = self._open()
        with self._name_failures():
            # What goes to everybody is for a person to decide, who looks at it first.
            api.create_repo(self.dataset, repo_type="dataset", private=True)
            self._head = api.repo_info(self.dataset, repo_type="dataset").sha
        self.is_created = True

    def _commit(self, files: Sequence[StagedFile], message: str) -> None:
        from huggingface_hub import CommitOperationAdd

        additions = [CommitOperationAdd(file.path, str(file.source)) for file in files]
        with self._name_failures():
            made = self._open().create_commit(
                self.dataset,
                additions,
                commit_message=message,
                repo_type="dataset",
                parent_commit=self._head,
            )
        self._head = made.oid

    def _open(self) -> HfApi:
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise LaionError(
                f"{self.name}: publishing to the Hub needs huggingface_hub; run "
                "`pip install 'laion-assets[hub]'`",
                code="hub-library-missing",
            ) from error
        return HfApi(endpoint=self.endpoint, library_name="laion-assets")

    def _read(self, api: HfApi, name: str, head: str | None, sizes: dict[str, int]) -> str | None:
        if name not in sizes:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(
                self.dataset, name, repo_type="dataset", revision=head, cache_dir=folder
            )
            return Path(path).read_text("utf-8")

    @contextmanager
    def _name_failures(self) -> Iterator[None]:
        """Raises what the Hub and the network do as errors of ours."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            yield
        except LaionError:
            raise
        except Exception as error:  # its client of HTTP has errors of its own
            # One about a large file names the file alone.
            reason = error.__cause__ if isinstance(error, RuntimeError) else error
            if isinstance(reason, HfHubHTTPError):
                raise self._name_status(reason.response.status_code, reason) from error
            why = first_line(reason if isinstance(reason, Exception) else error)
            raise LaionError(
                f"{self.name}: not published ({why}); run the same again to go on",
                code="hub-publish-failed",
                is_passing=True,
            ) from error

    def _name_status(self, status: int, error: Exception) -> LaionError:
        if status in _CONFLICTS:
            return LaionError(
                f"{self.name}: somebody else changed it meanwhile; run the same again",
                code="hub-changed-meanwhile",
                is_passing=True,
            )
        if status in _REFUSALS:
            return LaionError(
                f"{self.name}: not allowed (status {status}); set HF_TOKEN to a token that may "
                "write to it",
                code="hub-write-refused",
            )
        return LaionError(
            f"{self.name}: the Hub answers with status {status} ({first_line(error)}); run the "
            "same again to go on",
            code="hub-status",
            is_passing=status >= _LEAST_SERVER_STATUS,
        )


def _group(files: Sequence[StagedFile]) -> Iterator[list[StagedFile]]:
    """Yields the files of each commit."""
    group: list[StagedFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > COMMIT_BYTES or len(group) == COMMIT_FILES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
