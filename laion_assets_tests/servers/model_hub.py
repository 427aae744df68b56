"""Models of the Hugging Face Hub on loopback, as huggingface_hub 2.4 asks for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from laion_assets_tests.servers.file_server import FileServer, send


def publish_model(
    server: FileServer, name: str, files: Mapping[str, bytes], revision: str = "main"
) -> str:
    """Puts a model there; returns its commit."""
    commit = hashlib.sha1(f"{name} {revision}".encode(), usedforsecurity=False).hexdigest()
    entries = [
        {"rfilename": path, "path": path, "type": "file", "size": len(content), "oid": _id(content)}
        for path, content in files.items()
    ]
    about = {"id": name, "modelId": name, "sha": commit, "siblings": entries, "private": False}
    for version in (revision, commit):
        server.put(f"/api/models/{name}/revision/{version}", send(200, json.dumps(about).encode()))
        server.put(f"/api/models/{name}/tree/{version}", send(200, json.dumps(entries).encode()))
        for path, content in files.items():
            headers = {"ETag": f'"{_id(content)}"', "X_Repo_Commit": commit}
            server.put(f"/{name}/resolve/{version}/{path}", send(200, content, **headers))
    return commit


def _id(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
