"""The Hugging Face Hub on loopback: its list of files, its redirects, and the server of the bytes.

As https://huggingface.co/docs/hub/api tells of it, and as the Hub answered in 2025.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote

from laion_assets_tests.servers.file_server import (
    Answer,
    FileServer,
    Handler,
    Serve,
    redirect,
    send,
)


def sha256(content: bytes) -> str:
    """Returns the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class Hub:
    """Datasets on a server; the bytes of large files are on another one.

    Attributes:
        server: answers for the Hub.
        cdn: has the bytes.
        page_entries: entries of a page of a list.
        token: what a private dataset asks for.
    """

    server: FileServer
    cdn: FileServer
    page_entries: int = 2
    token: str = "hf_secret"  # noqa: S105
    files: dict[str, bytes] = field(default_factory=dict)

    def publish(
        self,
        dataset: str,
        files: Mapping[str, bytes],
        revision: str = "main",
        *,
        is_private: bool = False,
        serve: Callable[[bytes], Answer] = Serve,
    ) -> None:
        """Puts a dataset there, in place of what the revision had; a `.txt` is no large file."""
        guard = self._guard if is_private else (lambda answer: answer)
        tree = f"/api/datasets/{dataset}/tree/{quote(revision, safe='')}"
        folders = {path.rpartition("/")[0] for path in files} | {""}
        folders |= {"/".join(f.split("/")[:n]) for f in folders for n in range(len(f.split("/")))}
        for folder in folders:
            self.server.put(
                f"{tree}/{quote(folder)}".rstrip("/"), guard(self._list(files, folder, folders))
            )
        info = f"/api/datasets/{dataset}/paths-info/{quote(revision, safe='')}"
        self.server.put(info, guard(_describe_paths(files)))
        for path, content in files.items():
            place = f"/{dataset}/{sha256(content)}"
            self.cdn.put(place, serve(content))
            there = send(200, content, ETag=f'"{_git_id(content)}"')
            if not path.endswith(".txt"):
                there = redirect(
                    f"{self.cdn.origin}{place}?Signature=secret",
                    X_Linked_Etag=f'"{sha256(content)}"',
                    X_Linked_Size=str(len(content)),
                )
            resolve = f"/datasets/{dataset}/resolve/{quote(revision, safe='')}"
            self.server.put(f"{resolve}/{quote(path)}", guard(there))

    def rename(self, old: str, new: str) -> None:
        """Moves a dataset; who asks for it by its old name is sent to the new one."""
        for path in [path for path in self.server.answers if f"/{old}/" in path]:
            target = path.replace(f"/{old}/", f"/{new}/")
            self.server.put(target, *self.server.answers[path])
            self.server.put(path, _send_on(target))

    def _guard(self, answer: Answer) -> Answer:
        def choose(handler: Handler) -> None:
            is_known = handler.headers.get("Authorization") == f"Bearer {self.token}"
            (answer if is_known else send(401, X_Error_Code="RepoNotFound"))(handler)

        return choose

    def _list(self, files: Mapping[str, bytes], folder: str, folders: set[str]) -> Answer:
        inside = f"{folder}/" if folder else ""
        entries = [_describe(p, c) for p, c in files.items() if p.startswith(inside)]
        entries += [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": f}
            for f in folders
            if f.startswith(inside) and f != folder
        ]
        entries.sort(key=lambda entry: str(entry["path"]))

        def answer(handler: Handler) -> None:
            query = parse_qs(handler.request_seen.query)
            is_deep = query.get("recursive", [""])[0].lower() == "true"
            deep = [e for e in entries if is_deep or "/" not in str(e["path"])[len(inside) :]]
            first = int(query.get("cursor", ["0"])[0])
            after = first + self.page_entries
            headers = {}
            if after < len(deep):
                more = f"?{'recursive=true&' if is_deep else ''}cursor={after}"
                url = f"{self.server.origin}{handler.request_seen.path}{more}"
                headers["Link"] = f'<{url}>; rel="next"'
            send(200, json.dumps(deep[first:after]).encode(), **headers)(handler)

        return answer


def _describe(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "oid": _git_id(content),
        "size": len(content),
        "path": path,
    }
    if path.endswith(".txt"):
        return entry
    return entry | {"lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 134}}


def _describe_paths(files: Mapping[str, bytes]) -> Answer:
    """Describes the files that the body of a request asks for, as Lance does."""

    def answer(handler: Handler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        found = [_describe(path, files[path]) for path in parse_qs(body)["paths"] if path in files]
        send(200, json.dumps(found).encode())(handler)

    return answer


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def _send_on(target: str) -> Answer:
    def answer(handler: Handler) -> None:
        query = handler.request_seen.query
        redirect(f"{target}?{query}" if query else target, 307)(handler)

    return answer
