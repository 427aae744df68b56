"""Finds the files of an encoder, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_assets.errors import LaionError, first_line
from laion_assets.settings import DEMO_ENCODER

VISION, TEXT = "vision_model.onnx", "text_model.onnx"
TOKENIZER, PREPROCESSOR = "tokenizer.json", "preprocessor_config.json"
NEEDED = (VISION, TEXT, TOKENIZER, PREPROCESSOR)
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
OPTIONAL = (CONFIG, TOKENIZER_CONFIG)
ONNX_FOLDER = "onnx"
# Names the encoder of the demo, wherever the package is.
DEMO = "demo"
HUB_FORM = "hf://<org>/<name>[@revision][/<folder>]"
_HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+?))?/?")
# Weights of over 2 GB lie beside their ONNX file.
_DATA = re.compile(r"[._]data(_\d+)?")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelFiles:
    """The files of an encoder.

    Attributes:
        paths: all of them, by their names.
        config: of the model; empty if the file is not there.
        tokenizer_config: of the tokenizer; empty if the file is not there.
        preprocessor_config: of the pictures.
    """

    paths: Mapping[str, Path]
    config: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    preprocessor_config: Mapping[str, Any]

    @property
    def vision(self) -> Path:
        """The model of pictures."""
        return self.paths[VISION]

    @property
    def text(self) -> Path:
        """The model of texts."""
        return self.paths[TEXT]

    @property
    def tokenizer(self) -> Path:
        """The tokenizer."""
        return self.paths[TOKENIZER]

    @property
    def preprocessor(self) -> Path:
        """What is done to pictures."""
        return self.paths[PREPROCESSOR]

    @property
    def text_config(self) -> Mapping[str, Any]:
        """Of the model of texts."""
        found = self.config.get("text_config")
        return found if isinstance(found, dict) else {}

    @property
    def is_siglip(self) -> bool:
        """Whether the model was trained with a sigmoid and padded texts."""
        kind = self.config.get("model_type") or self.tokenizer_config.get("tokenizer_class")
        return str(kind).lower().startswith("siglip")

    @property
    def is_clip(self) -> bool:
        """Whether the model says that it is CLIP."""
        return str(self.config.get("model_type", "")).startswith("clip")

    def digest(self) -> str:
        """Returns the SHA-256 over the names and contents of all files, in hexadecimal."""
        whole = hashlib.sha256()
        for name, path in sorted(self.paths.items()):
            content = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    content.update(chunk)
            whole.update(f"{name} {content.hexdigest()}\n".encode())
        return whole.hexdigest()


def find_files(source: str, hub_endpoint: str | None = None) -> ModelFiles:
    """Finds the files of an encoder, and brings them from the Hub if need be.

    Args:
        source: a folder, a location of the Hub, or `demo`.
        hub_endpoint: where the Hub is; None: where huggingface_hub looks by itself.

    Raises:
        LaionError: one of them is not there, or is no JSON.
    """
    places = _list_places(source, hub_endpoint)
    paths = {name: path for name in (*NEEDED, *OPTIONAL) if (path := _look_for(places, name))}
    if missing := [name for name in NEEDED if name not in paths]:
        raise LaionError(
            f"LAION_ENCODER: {source} has no {' and no '.join(missing)}; name the folder of an "
            f"encoder in ONNX, or {HUB_FORM}",
            code="encoder-files-missing",
        )
    for name in (VISION, TEXT):
        folder = paths[name].parent
        beside = [p for p in folder.glob(f"{name}*") if _DATA.fullmatch(p.name.removeprefix(name))]
        paths |= {path.name: path for path in beside}
    return ModelFiles(
        paths=paths,
        config=_read_json(paths.get(CONFIG)),
        tokenizer_config=_read_json(paths.get(TOKENIZER_CONFIG)),
        preprocessor_config=_read_json(paths[PREPROCESSOR]),
    )


def _list_places(source: str, hub_endpoint: str | None) -> Sequence[Path]:
    """Returns where to look, in this order."""
    if not source.startswith("hf://"):
        folder = DEMO_ENCODER if source == DEMO else Path(source).expanduser()
        if not folder.is_dir():
            raise LaionError(
                f"LAION_ENCODER: there is no folder {source}; name one with an encoder in ONNX, or "
                f"{HUB_FORM}",
                code="encoder-folder-missing",
            )
        return folder, folder / ONNX_FOLDER
    match = _HUB.fullmatch(source)
    if match is None:
        raise LaionError(
            f"LAION_ENCODER: {source} is not of the form {HUB_FORM}; correct it",
            code="encoder-location-invalid",
        )
    prefix = f"{match[3]}/" if match[3] else ""
    root = _download(source, match[1], match[2], prefix, hub_endpoint)
    folder = root / prefix
    return folder, folder / ONNX_FOLDER, root


def _download(
    source: str, repository: str, revision: str | None, prefix: str, hub_endpoint: str | None
) -> Path:
    """Brings the files that are needed into huggingface_hub's cache; returns the snapshot."""
    import huggingface_hub

    patterns = [
        f"{folder}{name}"
        for folder in {"", prefix, f"{prefix}{ONNX_FOLDER}/"}
        for name in (f"{VISION}*", f"{TEXT}*", TOKENIZER, PREPROCESSOR, *OPTIONAL)
    ]
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=patterns, endpoint=hub_endpoint
        )
    except Exception as error:  # its client of HTTP, which is not always the same, has its own
        raise LaionError(
            f"LAION_ENCODER: {source} cannot be fetched ({first_line(error)}); correct it, set "
            "HF_TOKEN, or try again later",
            code="encoder-not-fetched",
        ) from error
    return Path(snapshot)


def _look_for(places: Sequence[Path], name: str) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)


def _read_json(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise LaionError(
            f"{path}: is no JSON ({first_line(error)}); fetch the encoder again",
            code="encoder-config-unreadable",
        ) from error
    return found
