"""Random weights, exported to ONNX, beside the same model in torch. Skipped without torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laion_assets.embeddings.encoder import open_encoder
from laion_assets_tests.embeddings.painted import encode_png, paint
from laion_assets_tests.embeddings.test_preprocessing import CONFIGURATIONS
from laion_assets_tests.embeddings.tiny_encoder import WORDS, EncoderFiles

REASON = "needs torch and transformers, to compare with"
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TEXT = {**SIZES, "num_attention_heads": 2, "vocab_size": 99, "max_position_embeddings": 8}
VISION = {**SIZES, "num_attention_heads": 2, "image_size": 224, "patch_size": 32}


def make_model(kind: str) -> Any:
    transformers = pytest.importorskip("transformers", reason=REASON)
    torch = pytest.importorskip("torch", reason=REASON)
    torch.manual_seed(5)
    if kind == "clip":
        text = {**TEXT, "eos_token_id": WORDS.index("picture")}
        config = transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
        return transformers.CLIPModel(config).eval()
    config = transformers.SiglipConfig(text_config=TEXT, vision_config=VISION)
    return transformers.SiglipModel(config).eval()


def export(model: Any, kind: str, folder: Path) -> None:
    import torch

    class Part(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, work: Any) -> None:
            super().__init__()
            self.model = model
            self.work = work

        def forward(self, *inputs: Any) -> Any:
            found = self.work(*inputs)
            return found if isinstance(found, torch.Tensor) else found.pooler_output

    names = ("image_embeds", "text_embeds") if kind == "clip" else ("pooler_output",) * 2
    batch = torch.export.Dim("batch")
    works = (
        (lambda x: model.get_image_features(pixel_values=x), "pixel_values", "vision_model.onnx"),
        (lambda x: model.get_text_features(input_ids=x), "input_ids", "text_model.onnx"),
    )
    examples = (torch.rand(2, 3, 224, 224), torch.ones(2, 8, dtype=torch.int64))
    for (work, name, path), output, example in zip(works, names, examples, strict=True):
        torch.onnx.export(
            Part(work),
            (example,),
            folder / path,
            input_names=[name],
            output_names=[output],
            dynamic_shapes={"inputs": ({0: batch},)},
            external_data=False,
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "configuration"),
    [("clip", "clip-vit-base-patch32"), ("siglip", "siglip-base-patch16-224")],
)
def test_vectors_equal_those_of_torch(tmp_path: Path, kind: str, configuration: str) -> None:
    model = make_model(kind)
    import torch
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    files = EncoderFiles(
        config={"model_type": kind}, preprocessor_config=CONFIGURATIONS[configuration]
    )
    files.write(tmp_path)
    export(model, kind, tmp_path)
    encoder = open_encoder(str(tmp_path))
    pictures = [paint(300, 210), paint(99, 240)]
    processor = CLIPImageProcessorPil if kind == "clip" else SiglipImageProcessorPil
    pixels = processor(**CONFIGURATIONS[configuration])(pictures, return_tensors="pt")
    pad, red, end = WORDS.index("[PAD]"), WORDS.index("red"), WORDS.index("picture")
    ids = torch.tensor([[red, end] + [pad] * 6])

    with torch.no_grad():
        of_pictures = model.get_image_features(**pixels)
        of_texts = model.get_text_features(input_ids=ids)

    for found, expected in (
        (encoder.embed_pictures(list(map(encode_png, pictures))), of_pictures),
        (encoder.embed_texts(["red picture"]), of_texts),
    ):
        tensor = getattr(expected, "pooler_output", expected).numpy()
        units = tensor / np.linalg.norm(tensor, axis=1, keepdims=True)
        assert np.abs(found - units).max() < 1e-3
