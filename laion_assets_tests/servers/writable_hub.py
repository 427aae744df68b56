"""The Hugging Face Hub on loopback as those see it who write to it, and who read what is new.

It has commits, tags and large files, as huggingface_hub 2.4, datasets 5.2 and Lance 13 ask for
them. Large files come as Git LFS has them; Xet, the Hub's own way, is not there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from laion_assets_tests.servers.loopback import PatientServer, QuietHandler, serve

TOKEN = "hf_secret"  # noqa: S105
# Else of one page of a list.
PAGE_ENTRIES = 50
# What the Hub keeps in Git itself.
SMALL_SUFFIXES = (".md", ".json", ".txt", ".gitattributes")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_DATASET = re.compile(r"/(?:api/)?datasets/([^/]+/[^/]+?)(?:\.git)?/(.*)")
_ABOUT = re.compile(r"/api/datasets/([^/]+/[^/]+)")


@dataclass
class Repository:
    """A dataset: its commits, the newest last, each with all files by path."""

    is_private: bool
    commits: list[tuple[str, str, dict[str, bytes]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], message: str) -> str:
        """Adds files in a commit; returns its number."""
        all_files = {**(self.commits[-1][2] if self.commits else {}), **files}
        text = f"{len(self.commits)} {message}"
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits.append((oid, message, all_files))
        return oid

    @property
    def head(self) -> str:
        """The number of the newest commit."""
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        """What the newest commit has."""
        return self.commits[-1][2]

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Returns number and files of a revision."""
        wanted = self.head if revision == "main" else self.tags.get(revision, revision)
        return next(((oid, files) for oid, _, files in self.commits if oid == wanted), None)


@dataclass
class WritableHub:
    """The Hub of a test.

    Attributes:
        port: where it listens.
        repositories: by `<org>/<name>`.
        uploads: large files, by SHA-256.
        requests: method and path of what came.
        before_write: is called with the number of each request that writes, before it has an
            effect; it may raise a status.
        closing: set when the server is to end.
    """

    port: int
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before_write: Callable[[int], None] = lambda _: None
    write_count: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


class StatusError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(status)
        self.status, self.code = status, code


class Handler(QuietHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Reads."""
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802
        """Reads without a body."""
        self._answer()

    def do_POST(self) -> None:  # noqa: N802
        """Writes, or asks for more than an address can say."""
        self._answer()

    def do_PUT(self) -> None:  # noqa: N802
        """Brings a large file."""
        self._answer()

    @property
    def hub(self) -> WritableHub:
        """The Hub."""
        return self.server.hub

    def _answer(self) -> None:
        self.close_connection = True
        path, _, self.query = self.path.partition("?")
        self.body = self._read_body()
        with suppress(OSError):
            try:
                with self.hub.lock:
                    self.hub.requests.append((self.command, path))
                    status, body, headers = self._choose(unquote(path))
            except StatusError as error:
                status, body = error.status, json.dumps({"error": error.code}).encode()
                headers = {"X-Error-Code": error.code} if error.code else {}
            self.start(status, {"Content-Length": str(len(body)), **headers})
            if self.command != "HEAD":
                self.wfile.write(body)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _choose(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        if path == "/api/validate-yaml":
            return _say({"warnings": [], "errors": []})
        if path == "/api/repos/create":
            return self._create()
        if path.startswith("/lfs/"):
            return self._upload(path.removeprefix("/lfs/"))
        if (about := _ABOUT.fullmatch(path)) is not None:
            return self._describe(about[1], "main")
        match = _DATASET.fullmatch(path)
        if match is None:
            raise StatusError(404)
        action, _, rest = match[2].partition("/")
        found = {
            "revision": self._describe,
            "tree": self._list,
            "resolve": self._resolve,
            "paths-info": self._describe_paths,
            "preupload": self._choose_ways,
            "commit": self._commit,
            "tag": self._tag,
            "info": self._offer_uploads,
        }.get(action)
        if found is None:
            raise StatusError(404)
        return found(match[1], rest)

    def _find(self, dataset: str) -> Repository:
        repository = self.hub.repositories.get(dataset)
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.is_private and not is_known):
            raise StatusError(404 if is_known else 401, "RepoNotFound")
        return repository

    def _find_files(self, dataset: str, revision: str) -> tuple[str, dict[str, bytes]]:
        found = self._find(dataset).find(revision)
        if found is None:
            raise StatusError(404, "RevisionNotFound")
        return found

    def _write(self) -> None:
        """Notes that something is written."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise StatusError(403)
        self.hub.write_count += 1
        self.hub.before_write(self.hub.write_count)

    def _create(self) -> tuple[int, bytes, dict[str, str]]:
        self._write()
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            raise StatusError(409)
        is_private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repository = self.hub.repositories[name] = Repository(is_private)
        repository.commit({".gitattributes": b"*.lance filter=lfs\n"}, "initial commit")
        return _say({"url": f"{self.hub.origin}/datasets/{name}", "id": name})

    def _describe(self, dataset: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        oid, files = self._find_files(dataset, revision)
        siblings = [{"rfilename": path} for path in sorted(files)]
        private = self._find(dataset).is_private
        about = {"id": dataset, "_id": dataset, "sha": oid, "siblings": siblings, "tags": []}
        return _say({**about, "private": private, "downloads": 0, "likes": 0, "gated": False})

    def _list(self, dataset: str, rest: str) -> tuple[int, bytes, dict[str, str]]:
        revision, _, folder = rest.partition("/")
        _, files = self._find_files(dataset, revision)
        query = parse_qs(self.query)
        is_deep = query.get("recursive", [""])[0].lower() in ("true", "1")
        entries = list(_list_entries(files, folder.strip("/"), is_deep=is_deep))
        if folder and not entries:
            raise StatusError(404, "EntryNotFound")
        first = int(query.get("cursor", ["0"])[0])
        after = first + PAGE_ENTRIES
        headers = {}
        if after < len(entries):
            kept = "&".join(f"{key}={query[key][0]}" for key in query if key != "cursor")
            path = self.path.partition("?")[0]
            headers["Link"] = f'<{self.hub.origin}{path}?{kept}&cursor={after}>; rel="next"'
        status, body, plain = _say(entries[first:after])
        return status, body, plain | headers

    def _describe_paths(self, dataset: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        _, files = self._find_files(dataset, revision)
        if self.headers.get("Content-Type", "").startswith("application/json"):
            asked = json.loads(self.body)["paths"]
        else:
            asked = parse_qs(self.body.decode())["paths"]
        everything = list(_list_entries(files, "", is_deep=True))
        return _say([entry for entry in everything if entry["path"] in asked])

    def _resolve(self, dataset: str, rest: str) -> tuple[int, bytes, dict[str, str]]:
        revision, _, path = rest.partition("/")
        oid, files = self._find_files(dataset, revision)
        if path not in files:
            raise StatusError(404, "EntryNotFound")
        content = files[path]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": oid,
            "Accept-Ranges": "bytes",
        }
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None:
            return 200, content, headers
        first = int(asked[1])
        after = min(int(asked[2]) + 1, len(content)) if asked[2] else len(content)
        headers["Content-Range"] = f"bytes {first}-{after - 1}/{len(content)}"
        return 206, content[first:after], headers

    def _choose_ways(self, dataset: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        _, files = self._find_files(dataset, revision)
        return _say(
            {
                "files": [
                    {
                        "path": one["path"],
                        "uploadMode": "regular" if _is_small(one["path"]) else "lfs",
                        "shouldIgnore": False,
                        "oid": _name(one["path"], files[one["path"]])
                        if one["path"] in files
                        else None,
                    }
                    for one in json.loads(self.body)["files"]
                ]
            }
        )

    def _offer_uploads(self, dataset: str, _: str) -> tuple[int, bytes, dict[str, str]]:
        self._find(dataset)
        objects = []
        for one in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.hub.origin}/lfs/{one['oid']}", "header": {}}
            is_there = one["oid"] in self.hub.uploads
            objects.append({**one, **({} if is_there else {"actions": {"upload": upload}})})
        return _say({"transfer": "basic", "objects": objects})

    def _upload(self, oid: str) -> tuple[int, bytes, dict[str, str]]:
        # The address itself is the permission, so it comes without a token.
        self.hub.write_count += 1
        self.hub.before_write(self.hub.write_count)
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise StatusError(400)
        self.hub.uploads[oid] = self.body
        return 200, b"", {}

    def _commit(self, dataset: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        self._write()
        repository = self._find(dataset)
        assert revision == "main"
        lines = [json.loads(line) for line in self.body.splitlines()]
        (header,) = [line["value"] for line in lines if line["key"] == "header"]
        if header.get("parentCommit", repository.head) != repository.head:
            raise StatusError(412)
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            else:
                assert line["key"] == "header", line
        oid = repository.commit(files, header["summary"])
        url = f"{self.hub.origin}/datasets/{dataset}/commit/{oid}"
        return _say({"success": True, "commitOid": oid, "commitUrl": url})

    def _tag(self, dataset: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        self._write()
        tag = json.loads(self.body)["tag"]
        repository = self._find(dataset)
        if tag in repository.tags:
            raise StatusError(409)
        repository.tags[tag] = repository.head if revision == "main" else revision
        return _say({})


class _Server(PatientServer):
    hub: WritableHub


@contextmanager
def run_writable_hub() -> Iterator[WritableHub]:
    """Runs a Hub without any dataset until the block is left."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.hub = WritableHub(server.server_address[1])
    with serve(server, server.hub.closing):
        yield server.hub


def _say(answer: object) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}


def _is_small(path: str) -> bool:
    return path.endswith(SMALL_SUFFIXES)


def _name(path: str, content: bytes) -> str:
    if not _is_small(path):
        return hashlib.sha256(content).hexdigest()
    text = b"blob %d\0%b" % (len(content), content)
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _list_entries(
    files: Mapping[str, bytes], folder: str, *, is_deep: bool
) -> Iterator[dict[str, object]]:
    inside = f"{folder}/" if folder else ""
    seen = set()
    for path in sorted(files):
        if not path.startswith(inside):
            continue
        parts = path[len(inside) :].split("/")
        for count in range(1, len(parts)):
            name = inside + "/".join(parts[:count])
            if (is_deep or count == 1) and name not in seen:
                seen.add(name)
                yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        if is_deep or len(parts) == 1:
            yield _describe_file(path, files[path])


def _describe_file(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "oid": _name(path, content)[:40],
        "size": len(content),
        "path": path,
    }
    if _is_small(path):
        return entry
    sha256 = hashlib.sha256(content).hexdigest()
    return entry | {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}
