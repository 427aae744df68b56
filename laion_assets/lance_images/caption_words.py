"""Finds the captions that Lance reads as other words than SQLite FTS5 does, and writes their words.

Lance's tokenizer takes `ß` for `ss` and an accent that is a character of its own for a separator;
FTS5, and so the name counts, does neither. Most captions have no such character, so the full-text
index of `caption` serves them. For the others the column `caption_words` holds the words of FTS5 in
characters that Lance leaves as they are, and has an index of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from laion_assets.counts.captions import SEPARATOR, Folding

if TYPE_CHECKING:
    import pyarrow as pa

# Stands around the number of a character that Lance would change; a letter that it does not change.
_ESCAPE = "\ua000"
# Where Lance has letters and digits that it takes for ASCII ones, and some that it does not.
_LATIN = (
    (0x80, 0x2FF),
    (0x1D00, 0x1DBF),
    (0x1E00, 0x1EFF),
    (0x2000, 0x2CFF),
    (0xA700, 0xA7FF),
    (0xFB00, 0xFB06),
    (0xFF00, 0xFFEF),
)
# Symbols that Lance takes for letters: letters in circles and squares.
_LETTER_SYMBOLS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189))
# Lance makes two characters of it.
_CAPITAL_I_WITH_DOT = "\u0130"


class CaptionWords:
    """Tells which captions Lance reads otherwise; for one thread."""

    def __init__(self) -> None:
        self._folding = Folding()
        # Characters that Lance and FTS5 read alike.
        self._alike = set(map(chr, range(128)))
        # The words of FTS5 as `escape_words` has them, by the code of each character.
        self._escaped = {ord(c): self._folding.phrase(c) or SEPARATOR for c in self._alike}

    def write(self, captions: pa.Array) -> pa.Array:
        """Returns the words of each caption as FTS5 reads them, NULL where Lance reads the same."""
        import pyarrow as pa
        import pyarrow.compute as pc

        is_other = pc.invert(pc.string_is_ascii(captions))
        texts = captions.filter(is_other).to_pylist()
        self._learn("".join(set().union(*texts)))
        words = list(map(self._write, texts))
        nulls = pa.nulls(len(captions), pa.string())
        return pc.replace_with_mask(nulls, is_other, pa.array(words, pa.string()))

    def _write(self, caption: str) -> str | None:
        if self._alike.issuperset(caption):
            return None
        return SEPARATOR.join(caption.translate(self._escaped).split())

    def _learn(self, text: str) -> None:
        for character, folded in self._folding.learn(text).items():
            self._escaped[ord(character)] = escape_words(folded)
            if _is_alike(character, folded):
                self._alike.add(character)


def escape_words(phrase: str) -> str:
    """Returns words of FTS5 in characters that Lance leaves as they are."""
    if phrase.isascii():
        return phrase
    return "".join(c if _is_left(c) else f"{_ESCAPE}{ord(c):x}{_ESCAPE}" for c in phrase)


def _is_left(character: str) -> bool:
    """Returns whether Lance takes a character for a letter or digit, and for no other one.

    Captions that are indexed have to be read so for ever, hence a Unicode of one version.
    """
    if character.isascii():
        return True
    unicode = unicodedata.ucd_3_2_0
    return (
        unicode.category(character)[0] in "LN"
        # Of another one in a certain font, a circle, a place in the word.
        and not unicode.decomposition(character).startswith("<")
        and character.lower() == character != _ESCAPE
        and not _is_in(character, _LATIN)
    )


def _is_alike(character: str, folded: str) -> bool:
    """Returns whether Lance makes of a character what FTS5 does; not sure of it, False."""
    category = unicodedata.category(character)
    if folded == SEPARATOR:
        return category[0] in "PSZC" and category != "Cn" and not _is_in(character, _LETTER_SYMBOLS)
    if category[0] not in "LN":
        return False
    lower = character.lower()
    if folded.isascii():
        base = unicodedata.normalize("NFD", lower)[0]
        return folded == base and character != _CAPITAL_I_WITH_DOT
    return folded == lower and _is_left(folded)


def _is_in(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)
