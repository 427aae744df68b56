"""Datasets of the Hugging Face Hub: `hf://datasets/<org>/<name>[@revision]/<path or glob>`.

Its HTTP API lists the files with their SHA-256; the files are then fetched as any other URL.
Source: https://huggingface.co/docs/hub/api, and huggingface_hub's `HfFileSystem` for the URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin

from laion_assets.errors import ShardError
from laion_assets.raw_shards.sources.source import (
    Source,
    SourceRules,
    describe_each,
    fixed_folder,
    has_glob,
    hide_secrets,
    is_a_folder,
    is_deep,
    is_match,
    name_folders,
    shard_of,
)
from laion_assets.raw_shards.sources.urls import follow
from laion_assets.stores.http_client import (
    HTTP_OK,
    name_failures,
    open_session,
    refuse_status,
    retry,
)

if TYPE_CHECKING:
    import requests

FORM = "hf://datasets/<org>/<name>[@revision]/<path or glob>"
# A page of the list has up to 1,000 entries.
MAX_PAGES = 1000
MAX_PAGE_BYTES = 20_000_000
REMEDIES = {
    401: "no such dataset, or not allowed; correct LAION_SHARDS or set HF_TOKEN",
    403: "not allowed; ask for access to the dataset and set HF_TOKEN",
    404: "no such dataset, revision or folder; correct LAION_SHARDS",
    429: "too many requests; set HF_TOKEN or try again later",
}
# A revision with a slash has to be percent-encoded, but for the two that the Hub itself makes.
_LOCATION = re.compile(
    r"hf://datasets/([\w.-]+/[\w.-]+)(?:@(refs/(?:convert/[\w.-]+|pr/\d+)|[^/]+))?/(.+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Dataset:
    location: str
    name: str
    revision: str
    pattern: str


def list_hub(location: str, rules: SourceRules) -> list[Source | ShardError]:
    """Returns the parquet files of a dataset that a path or glob names.

    Raises:
        ShardError: the location is not of this form, or the Hub does not list it.
    """
    match = _LOCATION.fullmatch(location)
    location = hide_secrets(location)
    if match is None:
        raise ShardError(
            f"{location}: expected {FORM}; correct LAION_SHARDS", code="hub-location-invalid"
        )
    pattern = match[3].rstrip("/")
    dataset = _Dataset(location, match[1], unquote(match[2] or "main"), pattern)
    entries = [
        entry
        for entry in _list_tree(dataset, rules)
        if is_match(str(entry["path"]).split("/"), pattern.split("/"))
    ]
    files = [entry for entry in entries if entry.get("type") == "file"]
    folders = [str(entry["path"]) for entry in entries if entry.get("type") == "directory"]
    if not files and not has_glob(pattern):
        raise is_a_folder(location.rstrip("/")) if folders else _no_such_file(location)
    revision = f"@{match[2]}" if match[2] else ""
    place = f"hf://datasets/{match[1]}{revision}/"
    named = name_folders(place, folders, [str(entry["path"]) for entry in files])
    return [*describe_each(files, partial(_describe, dataset, rules)), *named]


def _no_such_file(location: str) -> ShardError:
    return ShardError(
        f"{location}: no such file on the Hub; correct LAION_SHARDS", code="hub-file-missing"
    )


def _describe(dataset: _Dataset, rules: SourceRules, entry: dict[str, object]) -> Source:
    path = str(entry["path"])
    lfs = entry.get("lfs")
    sha256 = str(lfs["oid"]) if isinstance(lfs, dict) and "oid" in lfs else None
    revision = quote(dataset.revision, safe="")
    name = f"hf://datasets/{dataset.name}@{revision}/{path}"
    url = f"{rules.hub_endpoint}/datasets/{dataset.name}/resolve/{revision}/{quote(path)}"
    version = f"sha256:{sha256}" if sha256 else f"git:{entry['oid']}"
    return Source(shard_of(path.rpartition("/")[2], name), url, name, version, sha256)


def _list_tree(dataset: _Dataset, rules: SourceRules) -> Iterator[dict[str, object]]:
    folder = fixed_folder(dataset.pattern)
    tree = f"tree/{quote(dataset.revision, safe='')}/{quote(folder)}".rstrip("/")
    url: str | None = f"{rules.hub_endpoint}/api/datasets/{dataset.name}/{tree}"
    if is_deep(dataset.pattern):
        url = f"{url}?recursive=true"
    with open_session() as session:
        for _ in range(MAX_PAGES):
            if url is None:
                return
            entries, url = retry(
                lambda url=url: _read_page(session, url, dataset.location, rules),  # type: ignore[misc]
                ShardError,
                attempts=rules.attempts,
                backoff_s=rules.backoff_s,
            )
            yield from entries
    raise ShardError(
        f"{dataset.location}: the Hub's list of files does not end; name a folder in it",
        code="hub-list-endless",
    )


def _read_page(
    session: requests.Session, url: str, location: str, rules: SourceRules
) -> tuple[list[dict[str, object]], str | None]:
    import json

    page = Source("", url, location)
    with (
        name_failures(location, ShardError),
        follow(session, "GET", page, {}, rules) as answer,
    ):
        response = answer.response
        if response.status_code != HTTP_OK:
            refuse_status(location, response, REMEDIES, ShardError)
        body = response.raw.read(MAX_PAGE_BYTES, decode_content=True)
        following = response.links.get("next", {}).get("url")
    try:
        entries = json.loads(body)
        is_list = all(
            isinstance(entry, dict) and {"path", "oid"} <= entry.keys() for entry in entries
        )
    except (ValueError, TypeError):
        is_list = False
    if not is_list:
        raise ShardError(
            f"{location}: the Hub sent no list of files; check HF_ENDPOINT", code="hub-without-list"
        )
    return entries, urljoin(url, following) if following else None
