import hashlib
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from laion_assets.embeddings import model_session
from laion_assets.embeddings.encoder import BATCH, open_encoder
from laion_assets_tests.embeddings.painted import encode_png
from laion_assets_tests.embeddings.tiny_encoder import PIXELS, EncoderFiles
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import FileServer
from laion_assets_tests.servers.model_hub import publish_model

RED, BLUE = (encode_png(Image.new("RGB", (6, 6), colour)) for colour in ("red", "blue"))
SIGLIP = EncoderFiles(
    picture_output="pooler_output",
    text_output="pooler_output",
    text_inputs=("input_ids",),
    config={"model_type": "siglip"},
)


def test_texts_and_pictures_that_belong_together_are_close(tmp_path: Path) -> None:
    encoder = open_encoder(str(EncoderFiles(dimension=5, scale=3).write(tmp_path)))

    texts = encoder.embed_texts(["a red picture", "Blue", "green green"])
    pictures = encoder.embed_pictures([RED, BLUE])

    assert encoder.name == str(tmp_path)
    assert encoder.dimension == 5
    assert texts.dtype == pictures.dtype == np.float32
    assert np.allclose(np.linalg.norm(texts, axis=1), 1)
    assert np.allclose(texts[0, :3], np.array([2, 1, 1]) / np.sqrt(6))
    assert np.allclose(pictures @ texts[1], [0, 1])
    assert np.allclose(texts[2], [0, 1, 0, 0, 0])


def test_nothing_makes_no_vectors(tmp_path: Path) -> None:
    encoder = open_encoder(str(EncoderFiles().write(tmp_path)))

    assert encoder.embed_texts([]).shape == (0, 3)
    assert encoder.embed_pictures([]).shape == (0, 3)
    assert encoder.embed_prepared([]).shape == (0, 3)


def test_more_than_a_batch_stays_in_order(tmp_path: Path) -> None:
    encoder = open_encoder(str(EncoderFiles().write(tmp_path)))
    count = 2 * BATCH + 3
    pictures = [RED if number % 3 else BLUE for number in range(count)]

    found = encoder.embed_pictures(pictures)

    assert found[:, 2].tolist() == [float(picture == BLUE) for picture in pictures]
    assert np.array_equal(found, encoder.embed_prepared(list(map(encoder.prepare, pictures))))


@pytest.mark.parametrize(
    "files",
    [
        EncoderFiles(picture_batch=2, text_shape=(2, 8)),
        EncoderFiles(picture_batch=1, text_shape=(1, "length")),
        EncoderFiles(element=onnx.TensorProto.FLOAT16),
        EncoderFiles(preprocessor_config={**PIXELS, "do_resize": False}),
        replace(SIGLIP, picture_output="image_embeds", text_output="text_embeds"),
    ],
    ids=["batches of two", "one at a time", "float16", "any size", "names of CLIP in SigLIP"],
)
def test_exports_of_all_shapes_make_the_same_vectors(tmp_path: Path, files: EncoderFiles) -> None:
    encoder = open_encoder(str(files.write(tmp_path)))

    texts = encoder.embed_texts(["red", "a blue picture", "blue"])
    pictures = encoder.embed_pictures([RED, BLUE, encode_png(Image.new("RGB", (3, 9), "lime"))])

    assert np.allclose(pictures, [[1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-3)
    if not files.config:
        assert np.allclose(texts[[0, 2]], [[1, 0, 0], [0, 0, 1]], atol=1e-3)


def test_siglip_gets_padding_up_to_its_length(tmp_path: Path) -> None:
    """It has no mask, and was trained with the padding: [PAD] is 7 in each direction here."""
    encoder = open_encoder(str(SIGLIP.write(tmp_path)))

    (red,) = encoder.embed_texts(["red"])

    expected = np.array([1 + 7 * 7, 7 * 7, 7 * 7])
    assert np.allclose(red, expected / np.linalg.norm(expected))


def test_siglip_has_64_tokens_and_clip_77(tmp_path: Path) -> None:
    unlimited = {"model_max_length": 1e30, "pad_token": {"content": "[PAD]"}}
    siglip = open_encoder(str(replace(SIGLIP, tokenizer_config=unlimited).write(tmp_path / "s")))
    clip = open_encoder(str(EncoderFiles(tokenizer_config=None).write(tmp_path / "c")))
    long = "red " * 70 + "blue " * 20

    (padded,) = siglip.embed_texts(["red"])
    (cut,) = siglip.embed_texts([long])
    (of_clip,) = clip.embed_texts([long])

    expected = np.array([1 + 63 * 7, 63 * 7, 63 * 7])
    assert np.allclose(padded, expected / np.linalg.norm(expected))
    assert np.allclose(cut, [1, 0, 0])
    assert np.allclose(of_clip, np.array([70, 0, 7]) / np.hypot(70, 7))


def test_the_models_may_be_in_the_folder_onnx(tmp_path: Path) -> None:
    flat = open_encoder(str(EncoderFiles().write(tmp_path / "flat")))
    nested = EncoderFiles().write(tmp_path / "nested", tmp_path / "nested" / "onnx")

    assert open_encoder(str(nested)).digest == flat.digest


def test_the_digest_covers_weights_and_configuration(tmp_path: Path) -> None:
    first = open_encoder(str(EncoderFiles().write(tmp_path / "1"))).digest
    others = {
        open_encoder(str(files.write(tmp_path / f"other {number}"))).digest
        for number, files in enumerate(
            (
                EncoderFiles(scale=2),
                EncoderFiles(preprocessor_config={**PIXELS, "resample": 2}),
                EncoderFiles(tokenizer_config={"model_max_length": 7, "pad_token": "[PAD]"}),
                EncoderFiles(config={"model_type": "clip"}),
            )
        )
    }

    assert len(others) == 4
    assert first not in others
    assert len(first) == len(hashlib.sha256().hexdigest())


def test_weights_beside_the_model_are_loaded_and_count(tmp_path: Path) -> None:
    folder = EncoderFiles(dimension=100).write(tmp_path)
    path = folder / "vision_model.onnx"
    model = onnx.load(path)
    onnx.save(
        model, path, save_as_external_data=True, location=f"{path.name}_data", size_threshold=500
    )
    before = open_encoder(str(folder))
    vectors = before.embed_pictures([RED])

    data = path.with_name(f"{path.name}_data")
    data.write_bytes(data.read_bytes() + b"\0")

    assert np.allclose(vectors[:, :4], [[1, 0, 0, 0]])
    assert open_encoder(str(folder)).digest != before.digest


def test_threads_share_an_encoder(tmp_path: Path) -> None:
    encoder = open_encoder(str(EncoderFiles().write(tmp_path)))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: encoder.embed_pictures([p])[0, 2], [RED, BLUE] * 20))
        texts = list(pool.map(lambda t: encoder.embed_texts([t])[0, 2], ["red", "blue"] * 20))

    assert found == texts == [0, 1] * 20


@pytest.mark.exhaustive
def test_an_encoder_comes_from_the_hub_once(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    local = EncoderFiles().write(tmp_path / "local", tmp_path / "local" / "onnx")
    files = {
        str(path.relative_to(local)): path.read_bytes()
        for path in local.rglob("*")
        if path.is_file()
    }
    others = {"onnx/vision_model_quantized.onnx": b"1", "model.safetensors": b"2"}
    publish_model(server, "org/tiny", {**files, **others}, "v1")
    source = "hf://org/tiny@v1"

    found = open_encoder(source, server.origin)
    asked = [request.path for request in server.requests]
    publish_model(server, "org/tiny", {}, "v1")
    again = open_encoder(f"{source}/onnx", server.origin)

    assert found.name == source
    assert found.digest == again.digest == open_encoder(str(local)).digest
    assert not any("safetensors" in path or "quantized" in path for path in asked)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("hf://org/gone", "encoder-not-fetched"),
        ("hf://org", "encoder-location-invalid"),
        ("/no such folder", "encoder-folder-missing"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    code: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with raises(code) as caught:
        open_encoder(source, server.origin)

    assert len(str(caught.value).splitlines()) == 1


def test_a_server_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with raises("encoder-not-fetched"):
        open_encoder("hf://org/tiny", "http://127.0.0.1:1")


def test_a_library_that_is_missing_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )

    with raises("encoder-library-missing") as caught:
        open_encoder(str(EncoderFiles().write(tmp_path)))

    assert "laion-assets[clip]" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda f: (f / "text_model.onnx").unlink(), "encoder-files-missing"),
        (lambda f: (f / "text_model.onnx").write_bytes(b"no model"), "encoder-model-unusable"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "encoder-tokenizer-unusable"),
        (lambda f: (f / "preprocessor_config.json").write_text("[]"), "encoder-config-unreadable"),
        (lambda f: (f / "config.json").write_bytes(b"\xff{"), "encoder-config-unreadable"),
    ],
    ids=["a file is gone", "no model", "no tokenizer", "no object", "no JSON"],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, spoil: Callable[[Path], None], code: str
) -> None:
    spoil(EncoderFiles().write(tmp_path))

    with raises(code) as caught:
        open_encoder(str(tmp_path))

    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (replace(SIGLIP, config={"model_type": "clip"}), "encoder-output-unknown"),
        (EncoderFiles(text_output="last_hidden_state"), "encoder-output-unknown"),
        (EncoderFiles(text_inputs=("input_ids", "pixels")), "encoder-input-unknown"),
    ],
    ids=["CLIP without projection", "no vector", "an unknown input"],
)
def test_an_export_that_makes_no_comparable_vectors_is_refused(
    tmp_path: Path, files: EncoderFiles, code: str
) -> None:
    with raises(code):
        open_encoder(str(files.write(tmp_path)))


def test_a_model_that_does_not_fit_its_configuration_is_named(tmp_path: Path) -> None:
    folder = EncoderFiles().write(tmp_path)
    EncoderFiles(dimension=4).write(tmp_path / "other")
    (tmp_path / "other" / "vision_model.onnx").replace(folder / "vision_model.onnx")
    encoder = open_encoder(str(folder))

    with raises("encoder-dimensions-differ"):
        encoder.embed_pictures([RED])


def test_a_gpu_is_used_if_onnxruntime_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine may have none, so what onnxruntime is asked for is looked at."""
    import onnxruntime

    asked: list[Any] = []
    start = onnxruntime.InferenceSession

    def note(path: str, options: Any, providers: list[str]) -> Any:
        asked.append(providers)
        return start(path, options, providers=[model_session.CPU])

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    there = ["TensorrtExecutionProvider", model_session.GPU, model_session.CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)

    encoder = open_encoder(str(EncoderFiles().write(tmp_path)))

    assert encoder.provider == model_session.CPU
    assert asked == [[model_session.GPU, model_session.CPU]] * 2
