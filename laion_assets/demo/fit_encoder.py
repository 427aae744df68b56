"""Fits the demo's encoder on the generator's own scenes and captions.

    python -m laion_assets.demo.fit_encoder

Pictures and captions both become a vector with a number for each thing, colour, count, place, time
and style of the world of `scenes`, and for nothing else. The vision model looks for small patterns
at each place of a picture: filters are means of whitened patches (Coates and Ng, 2012), and a ridge
regression reads the scene from how strong each is where. The text model adds up vectors of words,
from a ridge regression of the scene on the words of its caption. Nothing is drawn at random but by
`draws`, so the same machine writes the same files again; another one may round otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from laion_assets.demo.draws import draw_below, start_seeds
from laion_assets.demo.scenes import (
    COLOURS,
    PLACES,
    STYLES,
    THINGS,
    TIMES,
    Scene,
    caption_scene,
    draw_scene,
    invent_scene,
)
from laion_assets.embeddings.preprocessing import read_preprocessor
from laion_assets.settings import DEMO_ENCODER

Array = NDArray[np.float32]

SCENE_COUNT = 12_000
# Of a multiple of 8, as vector indices like it; the last numbers are 0.
DIMENSION = 48
FILTER_COUNT, FILTER_SIDE, STRIDE = 64, 6, 2
# Each of 6 x 6 places has the mean strength of each filter.
POOL_SIDE = 6
PATCH_COUNT = 20_000
ROUNDS = 8
# So large a share of the patches does not have a pattern.
QUIET_SHARE = 0.85
LEAST_CONTRAST = 0.15
WHITENING, VISION_RIDGE, TEXT_RIDGE = 0.1, 0.002, 1.0
# A text of unknown words alone has no direction; so it gets one, which counts for nothing else.
TINY = 1e-4
BATCH = 128
OPSET, IR_VERSION = 18, 9
# A whole picture of our sizes, with black borders.
PREPROCESSOR = {
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 48},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 72, "width": 72},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}
UNKNOWN, PADDING = "[UNK]", "[PAD]"
TOKENIZER_CONFIG = {"model_max_length": 77, "pad_token": PADDING}
# As the tokenizer's `Whitespace` cuts.
_WORD = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class _World:
    """Everything that a scene can have, each with a number."""

    parts: tuple[tuple[object, ...], ...] = (
        tuple(THINGS),
        tuple(COLOURS),
        (1, 2, 3),
        tuple(PLACES),
        tuple(TIMES),
        STYLES,
    )

    def describe(self, scenes: Sequence[Scene]) -> Array:
        """Returns a row for each scene, 1 where it has something."""
        rows = np.zeros((len(scenes), DIMENSION), np.float32)
        for row, scene in zip(rows, scenes, strict=True):
            start = 0
            had = (scene.thing, scene.colour, scene.count, scene.place, scene.time, scene.style)
            for part, one in zip(self.parts, had, strict=True):
                row[start + part.index(one)] = 1
                start += len(part)
        return rows


def fit_encoder(folder: Path, scene_count: int = SCENE_COUNT) -> None:
    """Writes the encoder's files.

    Args:
        folder: where to; made if need be.
        scene_count: scenes to learn from, those with the numbers from 0.
    """
    scenes = [invent_scene(number) for number in range(scene_count)]
    preprocessor = read_preprocessor(PREPROCESSOR, "fit_encoder.py")
    pixels = np.stack([preprocessor.prepare(draw_scene(scene)) for scene in scenes])
    rows = _World().describe(scenes)
    mean = rows.mean(axis=0)
    captions = [caption_scene(scene) for scene in scenes]
    words = sorted({word for caption in captions for word in _cut(caption)})
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "vision_model.onnx", _fit_vision(pixels, rows - mean))
    _save(folder / "text_model.onnx", _fit_text(captions, words, rows - mean))
    _write_json(folder / "tokenizer.json", _describe_tokenizer(words))
    _write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    _write_json(folder / "preprocessor_config.json", PREPROCESSOR)


def _fit_vision(pixels: Array, rows: Array) -> onnx.ModelProto:
    filters, bias = _find_filters(pixels)
    nodes = [
        helper.make_node(
            "Conv", ["pixel_values", "filters", "bias"], ["found"], strides=[STRIDE] * 2
        ),
        helper.make_node("Relu", ["found"], ["strong"]),
        helper.make_node(
            "AveragePool",
            ["strong"],
            ["pooled"],
            kernel_shape=[POOL_SIDE] * 2,
            strides=[POOL_SIDE] * 2,
            ceil_mode=1,
        ),
        helper.make_node("Sqrt", ["pooled"], ["even"]),
        helper.make_node("Flatten", ["even"], ["features"]),
    ]
    values = {"filters": filters, "bias": bias}
    side = PREPROCESSOR["crop_size"]["height"]  # type: ignore[index]
    pixel_values = ("pixel_values", TensorProto.FLOAT, ["batch", 3, side, side])
    features = _run(_make_model(nodes, [pixel_values], ("features", None), values), pixels)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    weights = _solve_ridge((features - mean) / spread, rows, VISION_RIDGE * len(rows))
    weights = (weights / spread[:, None]).astype(np.float16)
    nodes += [
        helper.make_node("Cast", ["half"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["features", "weights", "offset"], ["image_embeds"]),
    ]
    values |= {"half": weights, "offset": -mean @ weights.astype(np.float32)}
    return _make_model(nodes, [pixel_values], ("image_embeds", DIMENSION), values)


def _find_filters(pixels: Array) -> tuple[Array, Array]:
    """Returns patterns that patches of the pictures have, and how strong each has to be."""
    seeds = start_seeds(PATCH_COUNT, "patches")
    last = pixels.shape[2] - FILTER_SIDE
    places = [draw_below(seeds, field, last) for field in ("top", "left")]
    which = draw_below(seeds, "picture", len(pixels))
    side = FILTER_SIDE
    patches = np.stack(
        [
            pixels[one, :, top : top + side, left : left + side].reshape(-1)
            for one, top, left in zip(which, *places, strict=True)
        ]
    )
    patches = patches[patches.std(axis=1) > LEAST_CONTRAST]
    mean = patches.mean(axis=0)
    patches -= mean
    directions, strengths, _ = np.linalg.svd(patches.T @ patches / len(patches))
    whitening = directions / np.sqrt(strengths + WHITENING) @ directions.T
    white = patches @ whitening
    centres = white[:: max(1, len(white) // FILTER_COUNT)][:FILTER_COUNT].copy()
    for _ in range(ROUNDS):
        nearest = (white @ centres.T - (centres**2).sum(axis=1) / 2).argmax(axis=1)
        for number in set(nearest.tolist()):
            centres[number] = white[nearest == number].mean(axis=0)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    filters = centres @ whitening
    bias = -filters @ mean - np.quantile(white @ centres.T, QUIET_SHARE, axis=0)
    return filters.reshape(-1, 3, side, side).astype(np.float32), bias.astype(np.float32)


def _fit_text(captions: Sequence[str], words: Sequence[str], rows: Array) -> onnx.ModelProto:
    numbers = {word: number for number, word in enumerate(words)}
    counts = np.zeros((len(captions), len(words)), np.float32)
    for row, caption in zip(counts, captions, strict=True):
        for word in _cut(caption):
            row[numbers[word]] += 1
    known = _solve_ridge(counts, rows, TEXT_RIDGE)
    # The unknown word and the padding say nothing.
    table = np.concatenate([np.zeros((2, DIMENSION), np.float32), known])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["mask"]),
        helper.make_node("Mul", ["words", "mask"], ["said"]),
        helper.make_node("ReduceSum", ["said", "along"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "tiny"], ["text_embeds"]),
    ]
    values = {
        "table": table,
        "last": np.array([2]),
        "along": np.array([1]),
        "tiny": np.full(DIMENSION, TINY, np.float32),
    }
    shape = ["batch", "length"]
    inputs = [(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    return _make_model(nodes, inputs, ("text_embeds", DIMENSION), values)


def _solve_ridge(given: Array, wanted: Array, ridge: float) -> Array:
    size = given.shape[1]
    gram = given.T @ given + np.float32(ridge) * np.eye(size, dtype=np.float32)
    solved: Array = np.linalg.solve(gram, given.T @ wanted)
    return solved


def _run(model: onnx.ModelProto, pixels: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    parts = [
        session.run(None, {"pixel_values": pixels[start : start + BATCH]})[0]
        for start in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(parts)


def _make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str]]],
    output: tuple[str, int | None],
    values: dict[str, Any],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "demo",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["batch", output[1]])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _save(path: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _cut(caption: str) -> list[str]:
    return _WORD.findall(caption.lower())


def _describe_tokenizer(words: Sequence[str]) -> dict[str, Any]:
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
            "vocab": {word: n for n, word in enumerate((UNKNOWN, PADDING, *words))},
            "unk_token": UNKNOWN,
        },
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    fit_encoder(DEMO_ENCODER)
