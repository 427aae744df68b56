"""Trains a small encoder on the pictures and captions of a release, as CLIP was trained.

    python -m laion_assets.demo.train_encoder [--data data] [--release TAG] [--seconds 60]

It needs torch. The model has the shape of the demo's own encoder: small patterns of a picture, how
strong each is in 6 x 6 places, and a sum of vectors of words. Both begin at random and learn that a
picture and its caption belong together. The state of model and stream is saved after each epoch,
and with `--state FILE` the next run goes on from it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from laion_assets.releases.catalog import find_release
from laion_assets.stores.lance_store import LanceStore
from laion_assets.training import SplitStream, make_loader, open_split
from laion_assets.training.row_batch import RowBatch

SIDE, DIMENSION, WORD_COUNT = 72, 48, 4096
BATCH = 64
HAS_PICTURE = "picture_sha256 IS NOT NULL"
_WORD = re.compile(r"\w+")


class TinyClip(nn.Module):  # type: ignore[misc]
    """Pictures and captions as vectors of one length that can be compared."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Sequential(
            nn.Conv2d(3, 64, 6, stride=2),
            nn.ReLU(),
            nn.AvgPool2d(6, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(64 * 6 * 6, DIMENSION),
        )
        self.text = nn.EmbeddingBag(WORD_COUNT, DIMENSION, mode="mean")
        self.scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, pixels: Any, words: Any, starts: Any) -> Any:
        """Returns how well each picture fits each caption."""
        pictures = nn.functional.normalize(self.vision(pixels), dim=1)
        captions = nn.functional.normalize(self.text(words, starts), dim=1)
        return self.scale.exp() * pictures @ captions.T


def prepare(rows: RowBatch) -> tuple[Any, Any, Any]:
    """Decodes pictures and cuts captions; it runs in the workers of the loader."""
    pixels = np.stack([_decode(row["image"]) for row in rows])
    captions = [_number_words(row["caption"]) for row in rows]
    words = torch.tensor([number for caption in captions for number in caption])
    starts = np.cumsum([0, *map(len, captions)])[:-1]
    return torch.from_numpy(pixels), words, torch.from_numpy(starts)


def train(
    stream: SplitStream, seconds: float, state_file: Path | None = None, num_workers: int = 2
) -> list[float]:
    """Trains for some time, and prints how it goes.

    Args:
        stream: with the columns `image` and `caption`.
        seconds: how long; the epoch that has begun is finished.
        state_file: where the state is saved, and read from if it is there.
        num_workers: processes that decode.

    Returns:
        The mean loss of each epoch.
    """
    torch.manual_seed(0)
    model = TinyClip()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = make_loader(
        stream,
        BATCH,
        num_workers=num_workers,
        drop_last=True,
        collate_fn=prepare,
        persistent_workers=num_workers > 0,
    )
    if state_file is not None and state_file.exists():
        state = torch.load(state_file)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])
    losses: list[float] = []
    deadline = time.monotonic() + seconds
    while not losses or time.monotonic() < deadline:
        epoch = stream.epoch
        began = time.monotonic()
        losses.append(_train_epoch(model, optimizer, loader))
        rate = BATCH * len(loader) / (time.monotonic() - began)
        print(f"epoch {epoch}: loss {losses[-1]:.3f}, {rate:,.0f} pictures/s", flush=True)
        if state_file is not None:
            states = {"model": model, "optimizer": optimizer, "loader": loader}
            torch.save({name: one.state_dict() for name, one in states.items()}, state_file)
    return losses


def _train_epoch(model: TinyClip, optimizer: Any, loader: Any) -> float:
    losses = []
    for pixels, words, starts in loader:
        fits = model(pixels, words, starts)
        own = torch.arange(len(fits))
        loss = (
            nn.functional.cross_entropy(fits, own) + nn.functional.cross_entropy(fits.T, own)
        ) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _decode(picture: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").resize((SIDE, SIDE))
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1


def _number_words(caption: str) -> list[int]:
    """Returns a number for each word; number 0 comes first, so that no caption is without."""
    words = _WORD.findall(caption.lower())
    digests = (hashlib.blake2b(word.encode(), digest_size=4).digest() for word in words)
    return [0, *(1 + int.from_bytes(one, "big") % (WORD_COUNT - 1) for one in digests)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data folder")
    parser.add_argument("--release", help="a tag; the newest release without it")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--state", type=Path, help="a file to save the state in, and to go on from")
    parser.add_argument("--num-workers", type=int, default=2)
    options = parser.parse_args(arguments)
    tag = find_release(LanceStore(options.data / "lance"), options.release).release
    columns = ["image", "caption"]
    stream = open_split(str(options.data), tag, "train", columns, seed=1, where=HAS_PICTURE)
    print(f"{len(stream):,} pictures of the split train of release {tag}", flush=True)
    train(stream, options.seconds, options.state, options.num_workers)


if __name__ == "__main__":
    main()
