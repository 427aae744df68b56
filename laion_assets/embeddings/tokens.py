"""Makes of texts what a text model takes, as `tokenizer.json` and its configuration say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laion_assets.embeddings.model_files import ModelFiles
from laion_assets.errors import LaionError, first_line

if TYPE_CHECKING:
    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

# Tokens of a text; the position embeddings of CLIP and of SigLIP are as many.
CLIP_LENGTH, SIGLIP_LENGTH = 77, 64
# `transformers` writes 10^30 where a tokenizer knows no limit.
MOST_LENGTH = 100_000


@dataclass(frozen=True)
class TextTokens:
    """Tokens of some texts, one text a row.

    Attributes:
        ids: the tokens.
        mask: 1 for a token of the text, 0 for padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


class Tokenizer:
    """Cuts texts into tokens, and brings all to one length.

    Args:
        files: of the encoder.
        fixed_length: what the text model takes; None: any length.

    Raises:
        LaionError: the tokenizer cannot be read.
    """

    def __init__(self, files: ModelFiles, fixed_length: int | None) -> None:
        self._tokenizer = _open(files)
        own = self._tokenizer.padding or {}
        own_fixed = own.get("length") if isinstance(own.get("length"), int) else None
        most = _find_length(files, self._tokenizer)
        # SigLIP was trained with padding, and takes it as a part of the text.
        if fixed_length is None and files.is_siglip:
            fixed_length = most
        self.length = min(most, fixed_length or most)
        self._tokenizer.enable_truncation(self.length)
        token = own.get("pad_token") or _find_pad_token(files) or ""
        number = self._tokenizer.token_to_id(token)
        self._tokenizer.enable_padding(
            direction=own.get("direction", "right"),
            pad_id=own.get("pad_id", 0) if number is None else number,
            pad_type_id=own.get("pad_type_id", 0),
            pad_token=token,
            length=fixed_length or own_fixed,
        )

    def cut(self, texts: Sequence[str]) -> TextTokens:
        """Returns the tokens of texts; what is too long loses its end."""
        import numpy as np

        found = self._tokenizer.encode_batch(list(texts))
        return TextTokens(
            ids=np.array([encoding.ids for encoding in found], np.int64),
            mask=np.array([encoding.attention_mask for encoding in found], np.int64),
        )


def _open(files: ModelFiles) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_file(str(files.tokenizer))
    except Exception as error:  # `tokenizers` raises this class itself
        raise LaionError(
            f"{files.tokenizer}: is no tokenizer ({first_line(error)}); take the "
            "`tokenizer.json` of the encoder",
            code="encoder-tokenizer-unusable",
        ) from error


def _find_length(files: ModelFiles, tokenizer: tokenizers.Tokenizer) -> int:
    """Returns how many tokens a text may have."""
    candidates = [
        (tokenizer.truncation or {}).get("max_length"),
        files.tokenizer_config.get("model_max_length"),
        files.text_config.get("max_position_embeddings"),
    ]
    known = [int(c) for c in candidates if isinstance(c, int | float) and 0 < c < MOST_LENGTH]
    return min(known, default=SIGLIP_LENGTH if files.is_siglip else CLIP_LENGTH)


def _find_pad_token(files: ModelFiles) -> str | None:
    token: Any = files.tokenizer_config.get("pad_token")
    return token.get("content") if isinstance(token, dict) else token
