"""Writes encoders whose answers one can work out: the mean colour, and the mean of words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = ("[UNK]", "[PAD]", "red", "green", "blue", "picture", "a")
# The vector of each word, by its number above.
WORD_VECTORS = np.array(
    [[0, 0, 0], [7, 7, 7], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32
)
PIXELS = {
    "do_resize": True,
    "size": {"height": 4, "width": 4},
    "resample": 3,
    "do_normalize": False,
    "image_mean": [0, 0, 0],
    "image_std": [1, 1, 1],
}


@dataclass(frozen=True)
class EncoderFiles:
    """What an encoder is written from.

    Attributes:
        picture_output, text_output: names of outputs.
        text_inputs: names of inputs; the mask leaves out what it is 0 for.
        text_shape: shape of the first input.
        dimension: numbers of a vector, at least 3; those after the third are 0.
        scale: makes another encoder.
        element: type of pixels and vectors.
        config, tokenizer_config, preprocessor_config: files beside; None: there is none.
    """

    picture_output: str = "image_embeds"
    text_output: str = "text_embeds"
    text_inputs: Sequence[str] = ("input_ids", "attention_mask")
    text_shape: Sequence[int | str] = ("batch", "length")
    picture_batch: int | str = "batch"
    dimension: int = 3
    scale: float = 1
    element: int = TensorProto.FLOAT
    config: Mapping[str, Any] | None = None
    tokenizer_config: Mapping[str, Any] | None = field(
        default_factory=lambda: {"model_max_length": 8, "pad_token": "[PAD]"}
    )
    preprocessor_config: Mapping[str, Any] = field(default_factory=lambda: PIXELS)

    def write(self, folder: Path, models: Path | None = None) -> Path:
        """Writes the files; the models into another folder if one is named."""
        models = models or folder
        models.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(self._vision(), models / "vision_model.onnx")
        onnx.save(self._text(), models / "text_model.onnx")
        (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
        for name in ("config", "tokenizer_config", "preprocessor_config"):
            if (content := getattr(self, name)) is not None:
                (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    def _vision(self) -> onnx.ModelProto:
        weights = np.zeros((3, self.dimension), np.float32)
        weights[:, :3] = np.eye(3) * self.scale
        nodes = [
            helper.make_node("ReduceMean", ["pixel_values", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], [self.picture_output]),
        ]
        values = {"axes": np.array([2, 3]), "weights": weights.astype(self._dtype)}
        shape: list[int | str] = [self.picture_batch, 3, "height", "width"]
        inputs = [helper.make_tensor_value_info("pixel_values", self.element, shape)]
        return self._make(nodes, inputs, self.picture_output, values)

    def _text(self) -> onnx.ModelProto:
        table = np.zeros((len(WORDS), self.dimension), np.float32)
        table[:, :3] = WORD_VECTORS * self.scale
        nodes = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
        last = "words"
        if "attention_mask" in self.text_inputs:
            nodes += [
                helper.make_node("Cast", ["attention_mask"], ["numbers"], to=self.element),
                helper.make_node("Unsqueeze", ["numbers", "last"], ["mask"]),
                helper.make_node("Mul", ["words", "mask"], ["masked"]),
            ]
            last = "masked"
        nodes.append(helper.make_node("ReduceSum", [last, "axes"], [self.text_output], keepdims=0))
        values = {"axes": np.array([1]), "last": np.array([2]), "table": table.astype(self._dtype)}
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, list(self.text_shape))
            for name in self.text_inputs
        ]
        return self._make(nodes, inputs, self.text_output, values)

    @property
    def _dtype(self) -> Any:
        return helper.tensor_dtype_to_np_dtype(self.element)

    def _make(
        self,
        nodes: list[onnx.NodeProto],
        inputs: list[onnx.ValueInfoProto],
        output: str,
        values: Mapping[str, np.ndarray[Any, Any]],
    ) -> onnx.ModelProto:
        shape: list[int | str] = ["batch", self.dimension]
        outputs = [helper.make_tensor_value_info(output, self.element, shape)]
        tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
        graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _tokenizer() -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }
