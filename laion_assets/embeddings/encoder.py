"""Makes vectors of texts and of pictures with a CLIP or SigLIP model in ONNX.

Texts and pictures that belong together get vectors close to each other. The model's own
configuration says how pictures and texts are prepared, so each model works as it was trained.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

from laion_assets.embeddings.model_files import DEMO, ModelFiles, find_files
from laion_assets.embeddings.model_session import ModelSession
from laion_assets.embeddings.preprocessing import read_preprocessor
from laion_assets.embeddings.tokens import Tokenizer
from laion_assets.errors import LaionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Pictures and texts that a model gets at once: 20 MB of pixels.
BATCH = 32
LIBRARIES = ("onnxruntime", "tokenizers", "huggingface_hub")
# Outputs with the vector of a picture and of a text, the best first. In CLIP, `pooler_output` comes
# before the projection that makes both comparable; in SigLIP there is none.
PICTURE_OUTPUTS = ("image_embeds", "pooler_output")
TEXT_OUTPUTS = ("text_embeds", "pooler_output")


class Encoder:
    """A model of pictures and a model of texts whose vectors can be compared.

    It may be used by several threads at once. The model of pictures is loaded when it is first
    needed: a search by words does without.

    Attributes:
        name: the setting as given.
        digest: SHA-256 over the weight and configuration files, in hexadecimal. Vectors of encoders
            with another digest cannot be compared.
        dimension: numbers of a vector.
    """

    def __init__(self, name: str, files: ModelFiles) -> None:
        self.name = name
        self._files = files
        self._preprocessor = read_preprocessor(files.preprocessor_config, files.preprocessor)
        self._text = ModelSession(files.text, self._outputs(TEXT_OUTPUTS))
        self._tokenizer = Tokenizer(files, self._text.input_length)
        self._vision: ModelSession | None = None
        self._lock = Lock()
        self.dimension = self.embed_texts(["a picture"]).shape[1]
        self.digest = files.digest()

    @property
    def provider(self) -> str:
        """What runs the model of pictures, in words of onnxruntime."""
        return self._open_vision().provider

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns a vector of unit length for each text.

        Raises:
            LaionError: the model cannot be run.
        """
        import numpy as np

        found = []
        for batch in _cut(texts, self._text.fixed_batch):
            tokens = self._tokenizer.cut(batch)
            inputs: Mapping[str, NDArray[Any]] = {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                "token_type_ids": np.zeros_like(tokens.ids),
            }
            found.append(self._text.run(inputs))
        return self._join(found)

    def embed_pictures(self, pictures: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns a vector of unit length for each picture.

        Args:
            pictures: files, JPEG, PNG or WebP.

        Raises:
            LaionError: one of them cannot be decoded, or the model cannot be run.
        """
        vision = self._open_vision()
        found = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for batch in _cut(pictures, vision.fixed_batch):
                pixels = list(pool.map(self._preprocessor.prepare, batch))
                found.append(self._run_vision(vision, pixels))
        return self._join(found)

    def prepare(self, picture: bytes) -> NDArray[np.float32]:
        """Returns what the model takes of a picture, for `embed_prepared`.

        Raises:
            LaionError: it cannot be decoded.
        """
        return self._preprocessor.prepare(picture)

    def embed_prepared(self, pixels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Returns a vector of unit length for each prepared picture.

        Raises:
            LaionError: the model cannot be run.
        """
        vision = self._open_vision()
        found = [self._run_vision(vision, batch) for batch in _cut(pixels, vision.fixed_batch)]
        return self._join(found)

    def _run_vision(
        self, vision: ModelSession, pixels: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        import numpy as np

        if self._preprocessor.output_size is None:
            # Each has a size of its own.
            parts = [vision.run({"pixel_values": one[None]}) for one in pixels]
            return np.concatenate(parts)
        return vision.run({"pixel_values": np.stack(pixels)})

    def _open_vision(self) -> ModelSession:
        with self._lock:
            if self._vision is None:
                self._vision = ModelSession(self._files.vision, self._outputs(PICTURE_OUTPUTS))
            return self._vision

    def _outputs(self, names: Sequence[str]) -> Sequence[str]:
        return names[:1] if self._files.is_clip else names

    def _join(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Returns all vectors of unit length; a zero stays zero."""
        import numpy as np

        if not parts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = np.concatenate(parts)
        is_first = not hasattr(self, "dimension")
        if not is_first and vectors.shape[1] != self.dimension:
            raise LaionError(
                f"{self._files.vision}: makes vectors of {vectors.shape[1]} numbers, and its model "
                f"of texts of {self.dimension}; take both from one encoder",
                code="encoder-dimensions-differ",
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return units


def open_encoder(source: str, hub_endpoint: str | None = None) -> Encoder:
    """Opens an encoder.

    Args:
        source: a folder, or `hf://<org>/<name>[@revision][/<folder>]`; there or in `onnx/` are
            `vision_model.onnx`, `text_model.onnx`, `tokenizer.json`, `preprocessor_config.json`.
            What comes from the Hub is kept in the cache of huggingface_hub. `demo` is the encoder
            that the demo ships.
        hub_endpoint: where the Hub is; None: where huggingface_hub looks by itself.

    Raises:
        LaionError: a library or a file is not there, or cannot be used.
    """
    if missing := find_missing_library():
        raise LaionError(
            f"LAION_ENCODER: needs {missing}; install it with `pip install 'laion-assets[clip]'`",
            code="encoder-library-missing",
        )
    return Encoder(source, find_files(source, hub_endpoint))


def find_encoder(
    source: str | None, hub_endpoint: str | None, wanted: str | None
) -> Encoder | None:
    """Opens the encoder that is set; without one that of the demo, if it made the vectors.

    Args:
        source: as `open_encoder` takes it; None: none is set.
        hub_endpoint: as `open_encoder` takes it.
        wanted: the digest of the encoder of the vectors; None if nobody knows it.
    """
    if source is not None:
        return open_encoder(source, hub_endpoint)
    if not wanted or find_missing_library() or find_files(DEMO).digest() != wanted:
        return None
    return open_encoder(DEMO)


def find_missing_library() -> str | None:
    """Returns a library that an encoder needs and that is not installed; None if all are."""
    return next((name for name in LIBRARIES if importlib.util.find_spec(name) is None), None)


def _cut(items: Sequence[Any], fixed_batch: int | None) -> Iterator[Sequence[Any]]:
    step = fixed_batch or BATCH
    for start in range(0, len(items), step):
        yield items[start : start + step]
