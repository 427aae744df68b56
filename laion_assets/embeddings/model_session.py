"""Runs one model in ONNX, on a GPU if onnxruntime has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laion_assets.errors import LaionError, first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# The types of inputs that a model may have.
TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
# onnxruntime's levels: errors alone. It warns of each step that the GPU leaves to the CPU.
_ERRORS = 3


def can_use_gpu() -> bool:
    """Returns whether models run on a GPU here, if there is one."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return False
    return GPU in onnxruntime.get_available_providers()


class ModelSession:
    """A model that makes one vector of each picture or text.

    Args:
        path: the ONNX file.
        outputs: names of outputs with the vectors, the best first.

    Attributes:
        provider: what runs it.
        fixed_batch: rows that it takes at once; None: any number.
        input_length: length of the second side of its first input; None: any.

    Raises:
        LaionError: it cannot be loaded, or has none of these outputs.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        is_there = onnxruntime.get_available_providers()
        providers = [provider for provider in (GPU, CPU) if provider in is_there]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its classes have no base of their own
            raise LaionError(
                f"{path}: cannot be loaded ({first_line(error)}); fetch the encoder again",
                code="encoder-model-unusable",
            ) from error
        self._path = path
        self._inputs = self._session.get_inputs()
        self._output = self._choose(outputs)
        self.provider: str = self._session.get_providers()[0]
        shape = self._inputs[0].shape
        self.fixed_batch = _fixed(shape, 0)
        self.input_length = _fixed(shape, 1)

    def run(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Returns a vector for each row.

        Args:
            values: what the model may ask for, by name; each has a row for each picture or text.

        Raises:
            LaionError: the model asks for more, or cannot be run.
        """
        import numpy as np

        count = len(next(iter(values.values())))
        inputs = {}
        for one in self._inputs:
            if one.name not in values or one.type not in TYPES:
                raise LaionError(
                    f"{self._path}: asks for `{one.name}` ({one.type}), which is not known; take "
                    "another export of the encoder",
                    code="encoder-input-unknown",
                )
            rows = values[one.name].astype(TYPES[one.type], copy=False)
            if self.fixed_batch and count < self.fixed_batch:
                rows = np.concatenate([rows, rows[:1].repeat(self.fixed_batch - count, axis=0)])
            inputs[one.name] = rows
        try:
            (found,) = self._session.run([self._output], inputs)
        except Exception as error:  # as above
            raise LaionError(
                f"{self._path}: cannot be run ({first_line(error)}); check that its configuration "
                "belongs to it",
                code="encoder-run-failed",
            ) from error
        vectors: NDArray[np.float32] = np.asarray(found, np.float32)[:count]
        if vectors.ndim != 2:  # noqa: PLR2004 - rows and numbers
            raise LaionError(
                f"{self._path}: `{self._output}` has the shape {vectors.shape}; take an export "
                "that makes one vector of each picture and text",
                code="encoder-output-shape",
            )
        return vectors

    def _choose(self, names: Sequence[str]) -> str:
        found = [output.name for output in self._session.get_outputs()]
        for name in names:
            if name in found:
                return name
        raise LaionError(
            f"{self._path}: has the outputs {', '.join(found)}, and none of {', '.join(names)}; "
            "take an export with projections",
            code="encoder-output-unknown",
        )


def _fixed(shape: Sequence[int | str | None], side: int) -> int | None:
    length = shape[side] if len(shape) > side else None
    return length if isinstance(length, int) and length > 0 else None
