"""Shards on web servers, the Hugging Face Hub's among them: what a URL says, and what its server.

A server names a content by its ETag, or else by the time of its last change. The Hub gives the
SHA-256 of a large file in X-Linked-Etag, with the redirect to the server that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

from laion_assets.errors import AccessError, GoneError, ShardError
from laion_assets.raw_shards.sources.source import (
    Source,
    SourceRules,
    hide_secrets,
    shard_of,
)
from laion_assets.stores.http_client import (
    HTTP_NOT_MODIFIED,
    HTTP_OK,
    MAX_REDIRECTS,
    name_failures,
    open_session,
    refuse_status,
    retry,
    send,
)

if TYPE_CHECKING:
    import requests

SCHEMES = ("http", "https")
HTTP_PARTIAL = 206
GONE = (404, 410)
REFUSED = (401, 403)
# What a server says that answers GET, and not HEAD: as one does to a URL that was signed for GET.
NO_HEAD = (403, 405, 501)
REMEDIES = {
    401: "not allowed; set HF_TOKEN for the Hub, or a login in .netrc for another server",
    403: "not allowed; ask for access, set HF_TOKEN for the Hub, or get a new link",
    404: "no such file; correct LAION_SHARDS",
    410: "the file was removed; correct LAION_SHARDS",
    416: "the server cannot send the part that was asked for; try again",
    429: "too many requests; try again later",
}
LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Answer:
    """A response after all redirects, and the SHA-256 that one of them promised."""

    response: requests.Response
    sha256: str | None

    @property
    def is_not_modified(self) -> bool:
        """Whether the server says that the content is the one that was named."""
        return self.response.status_code == HTTP_NOT_MODIFIED

    @property
    def version(self) -> str | None:
        """What the server calls the content, as `Source` has it; None if it has no word for it."""
        headers = self.response.headers
        if self.sha256:
            return f"sha256:{self.sha256}"
        if etag := headers.get("ETag"):
            return f"etag:{etag}"
        return f"modified:{modified}" if (modified := headers.get("Last-Modified")) else None


def describe_url(url: str, sha256: str | None) -> Source:
    """Returns what a URL says of its shard, without asking the server.

    Raises:
        ShardError: it is no usable URL, holds a password, is a pattern, or its name cannot be a
            shard's.
    """
    name = hide_secrets(url)
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ShardError(f"{name}: not a valid URL; correct LAION_SHARDS", code="url-invalid")
    if "@" in parts.netloc:
        raise ShardError(
            f"{name}: others can read a password in LAION_SHARDS; put it in ~/.netrc",
            code="url-with-password",
        )
    if "*" in parts.path:
        raise ShardError(
            f"{name}: a web server does not list its files; write a range as {{00000..00127}}, "
            "or use hf:// or s3://",
            code="url-with-glob",
        )
    file_name = unquote(parts.path.rpartition("/")[2])
    version = f"sha256:{sha256}" if sha256 else None
    return Source(shard_of(file_name, name), url, name, version, sha256)


def warn_of_plain_http(url: str) -> str | None:
    """Returns a warning if anybody on the way could change what the server sends."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() == "http" and not LOOPBACK.fullmatch(parts.hostname or ""):
        return f"{hide_secrets(url)}: http is not protected against changes on the way; use https"
    return None


def read_version(source: Source, rules: SourceRules) -> str | None:
    """Asks the server which content it has now; None if it does not say.

    Raises:
        ShardError: there is no answer, or none that helps.
    """

    def ask() -> str | None:
        with name_failures(source.name, ShardError), open_session() as session:
            with follow(session, "HEAD", source, {}, rules) as answer:
                if answer.response.status_code not in NO_HEAD or answer.sha256:
                    return _check_version(source, answer)
            with follow(session, "GET", source, {"Range": "bytes=0-0"}, rules) as answer:
                return _check_version(source, answer)

    return retry(ask, ShardError, attempts=rules.attempts, backoff_s=rules.backoff_s)


@contextmanager
def follow(
    session: requests.Session,
    method: str,
    source: Source,
    headers: Mapping[str, str],
    rules: SourceRules,
) -> Iterator[Answer]:
    """Sends a request and follows redirects, to https alone unless it began with http.

    The one that promises a SHA-256 is not followed where that is all that is asked for: by HEAD,
    or by If-None-Match with this very SHA-256.
    """
    url, sha256 = source.place, None
    for _ in range(MAX_REDIRECTS + 1):
        # What the server would compress on the way could not be resumed, nor its length checked.
        sent = {"Accept-Encoding": "identity", **headers, **_authorize(url, rules)}
        with send(session, method, url, sent, rules.timeout_s) as response:
            sha256 = sha256 or _linked_sha256(response)
            location = session.get_redirect_target(response)
            is_told = sha256 and (method == "HEAD" or headers.get("If-None-Match") == f'"{sha256}"')
            if location is None or is_told:
                yield Answer(response, sha256)
                return
        target = urljoin(url, location)
        _check_redirect(source.name, url, target)
        url = target
    raise ShardError(
        f"{source.name}: redirected more than {MAX_REDIRECTS} times; check the link",
        code="url-redirects-too-often",
    )


def _authorize(url: str, rules: SourceRules) -> dict[str, str]:
    """Returns the header with the token for the Hub, and for nobody else."""
    hub, there = urlsplit(rules.hub_endpoint), urlsplit(url)
    is_hub = (there.scheme, there.netloc.lower()) == (hub.scheme, hub.netloc.lower())
    is_safe = there.scheme == "https" or LOOPBACK.fullmatch(there.hostname or "")
    is_sent = rules.hub_token and is_hub and is_safe
    return {"Authorization": f"Bearer {rules.hub_token}"} if is_sent else {}


def _check_redirect(name: str, url: str, target: str) -> None:
    here, there = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
    if there not in {"https", here} or there not in SCHEMES:
        place = hide_secrets(target)
        raise ShardError(
            f"{name}: redirected to {place}, which is not https; check the link",
            code="url-redirect-insecure",
        )


def _linked_sha256(response: requests.Response) -> str | None:
    etag = response.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"').lower()
    return etag if _SHA256.fullmatch(etag) else None


def refuse_answer(source: Source, answer: Answer) -> NoReturn:
    """Raises what a status that is no success means.

    Raises:
        GoneError: there is no such file.
        AccessError: it is not for this user.
        ShardError: anything else.
    """
    status = answer.response.status_code
    kinds: dict[int, type[ShardError]] = {
        **dict.fromkeys(GONE, GoneError),
        **dict.fromkeys(REFUSED, AccessError),
    }
    refuse_status(source.name, answer.response, REMEDIES, kinds.get(status, ShardError))


def _check_version(source: Source, answer: Answer) -> str | None:
    if answer.response.status_code not in (HTTP_OK, HTTP_PARTIAL) and not answer.sha256:
        refuse_answer(source, answer)
    return answer.version
