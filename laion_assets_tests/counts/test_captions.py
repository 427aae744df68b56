import random
import sqlite3
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.counts.captions import Folding, count_phrases
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards

CAPTIONS = 4_000
NAMES = 3_000
CHUNK = 16_384

# What words are made of: letters that FTS5 folds, leaves alone, swallows or separates at.
PIECES = (
    *("a", "b", "q", "van", "Gogh", "X", "7", "art", "AND", "or"),
    *("é", "É", "e\u0301", "Å", "\u212b", "A\u030a", "İ", "ı", "I", "ß", "ẞ", "ss", "ſ", "ﬁ", "fi"),
    *("Ⅻ", "ⅻ", "Ａｒｔ", "ｖ", "７", "²", "½", "ª", "ø", "Æ", "ł", "Đ", "ñ", "ç", "š", "Ž"),
    *("Σ", "σ", "ς", "ΟΔΟΣ", "ά", "Ά", "α\u0301", "ΐ", "\u0345", "α\u0345", "ᾳ"),
    *("й", "Й", "и\u0306", "ё", "е\u0308", "Ж", "ї", "Ѐ"),
    *("ế", "Ế", "e\u0302\u0301", "ê\u0301", "ộ", "o\u0323\u0302", "ư"),
    *("\u0301", "\u0308", "\u0327", "\u0331", "\u0338", "\u20d7", "\ufe0f", "\u0316"),
    *("葛飾", "北斎", "𠮷", "が", "か\u3099", "ガ", "カ\u3099", "ｶﾞ", "ー", "々"),
    *("한글", "ᄒ", "\u1112\u1161\u11ab", "ㅎ", "ﾡ"),
    *("مُحَمَّد", "محمد", "لا", "ﻻ", "हिन्दी", "क्ष", "नि", "ไทย", "กำ", "ที่", "\u0e4d\u0e32"),
    *("אָ", "\ufb2f", "Ա", "և", "ა", "Ა", "Ꭰ", "ꭰ", "𐐀", "𐐨", "ǆ", "ǅ", "Ǆ"),
)
SEPARATORS = (
    *(" ", " ", " ", " ", "  ", "-", "_", "'", "’", "‘", '"', "“", ".", ", ", "/", "&", "\t", "\n"),
    *("\u00ad", "\u200d", "\u200b", "\u00a0", "\u3000", "·", "・", "—", "، ", "\u2028", "\ufeff"),
    *(
        "🦊",
        "☺",
        "❤️",
        "🎨",
        "👩‍🎨",
        "🧑‍🚀",
        "🫠",
        "🥲",
        "🏳️‍🌈",
        "🇫🇷",
        "\U0001faf6",
        "\ue000",
        "\U000e0041",
    ),
    *(
        "\0",
        "\x7f",
        "\x85",
        "\ufffd",
        "\ufffe",
        "€",
        "™",
        "©",
        "№",
        "%",
        "+",
        "*",
        "^",
        ":",
        "(",
        ")",
    ),
)
SYNTAX = (
    *("AND", "OR", "NOT", "a AND b", "a*", "^a", "NEAR(a b)", "NEAR(", "t:a", "a:b", "-a", "{t}:a"),
    *(
        '"',
        '""',
        'a"b',
        '"a"',
        "'",
        "''",
        "a' OR 1=1 --",
        "a;b",
        "%",
        "_",
        "a + b",
        "(a)",
        "a)",
        "\\",
    ),
)
WITHOUT_TOKENS = ("", " ", "-", "…", '"', "''", "🎨", "\u00ad", "\u0301", "❤️", "\u200d\u200b", "・")
NFX: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


@pytest.fixture
def generator() -> random.Random:
    return random.Random(13)  # noqa: S311


class Oracle:
    """The reference: the captions in an FTS5 table with the default tokenizer."""

    def __init__(self, captions: Sequence[str]) -> None:
        self._connection = sqlite3.connect(":memory:")
        self._connection.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
        self._connection.executemany("INSERT INTO t (text) VALUES (?)", ((c,) for c in captions))

    def count(self, name: str) -> int:
        query = """SELECT count(*) FROM t WHERE t MATCH '"' || replace(?, '"', '""') || '"'"""
        ((count,),) = self._connection.execute(query, (name,)).fetchall()
        return int(count)

    def phrases(self) -> dict[int, str]:
        """Returns the tokens of each caption by its number, from 1, with one blank between."""
        self._connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
        tokens = defaultdict(list)
        for row, term in self._connection.execute("SELECT doc, term FROM v ORDER BY doc, offset"):
            tokens[row].append(term)
        return {row: " ".join(terms) for row, terms in tokens.items()}

    def close(self) -> None:
        self._connection.close()


def batches(captions: Sequence[str], batch_rows: int = 1_000) -> Iterator[pa.RecordBatch]:
    table = pa.table({"caption": pa.array(captions, pa.string())})
    yield from table.to_batches(max_chunksize=batch_rows)


def count_names(
    captions: Sequence[str], names: Sequence[str], batch_rows: int = 1_000
) -> dict[str, int]:
    folding = Folding()
    phrases = {name: folding.phrase(name) for name in names}
    unique = sorted(set(phrases.values()))
    counts = count_phrases(batches(captions, batch_rows), unique, folding)
    assert list(counts) == unique
    return {name: counts[phrase] for name, phrase in phrases.items()}


def count_with_fts5(captions: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    oracle = Oracle(captions)
    try:
        return {name: oracle.count(name) for name in names}
    finally:
        oracle.close()


def make_word(generator: random.Random) -> str:
    return "".join(generator.choices(PIECES, k=generator.choice((1, 1, 1, 2, 3))))


def make_text(generator: random.Random, words: Sequence[str], longest: int) -> str:
    chosen = generator.choices(words, k=generator.randint(1, longest))
    text = "".join(part for w in chosen for part in (w, generator.choice(SEPARATORS)))
    return text if generator.random() < 0.2 else text[:-1]


def vary(generator: random.Random, text: str) -> str:
    changes = (str.upper, str.lower, str.title, str.casefold, str)
    changed = generator.choice(changes)(text)
    return (
        unicodedata.normalize(generator.choice(NFX), changed)
        if generator.random() < 0.5
        else changed
    )


def make_texts(generator: random.Random) -> tuple[list[str], list[str]]:
    """Returns captions, and names of which many stand in them in some other spelling."""
    words = [make_word(generator) for _ in range(300)] + list(PIECES)
    names = [make_text(generator, words, 3).replace("\0", "") for _ in range(NAMES)]
    captions = [make_text(generator, words, 8) for _ in range(CAPTIONS * 2 // 3)]
    while len(captions) < CAPTIONS:
        around = make_text(generator, words, 3), make_text(generator, words, 3)
        name = vary(generator, generator.choice(names))
        captions.append(generator.choice(SEPARATORS).join((around[0], name, around[1])))
    return captions, [*names, *PIECES, *SYNTAX, *WITHOUT_TOKENS]


@pytest.mark.exhaustive
def test_names_count_as_fts5_counts_them(generator: random.Random) -> None:
    captions, names = make_texts(generator)

    expected = count_with_fts5(captions, names)

    assert count_names(captions, names) == expected
    assert sum(count > 0 for count in expected.values()) > NAMES / 3
    assert max(expected.values()) > 50


@pytest.mark.exhaustive
def test_names_in_usual_captions_count_as_fts5_counts_them(
    generator: random.Random, tmp_path: Path
) -> None:
    names = ["Claude Monet", "D'Artagnan", "葛飾北斎"]
    (shard,) = write_sample_shards(tmp_path, names, SampleSpec(1, 5_000))
    captions = pq.read_table(shard, columns=["TEXT"])["TEXT"].drop_null().to_pylist()
    split = [caption.split() for caption in captions]
    starts = [(words, i) for words in split for i in range(len(words) - 1)]
    pairs = [" ".join(words[i : i + 2]) for words, i in generator.sample(starts, 200)]
    unusual = sorted({w for words in split for w in words if not w.isascii()})
    names = [name.replace("\0", "") for name in (*pairs, *unusual, "the", "art print", "nobody")]

    expected = count_with_fts5(captions, names)

    assert count_names(captions, names) == expected
    assert sum(count > 0 for count in expected.values()) > 200


def assert_folded_as_fts5(folding: Folding, texts: Sequence[str]) -> None:
    oracle = Oracle(texts)
    expected = oracle.phrases()
    oracle.close()
    # All at once: to ask SQLite about each by itself takes a hundred times as long.
    folding.learn("".join(texts))
    found = {row: folding.phrase(text) for row, text in enumerate(texts, start=1)}
    assert {row: phrase for row, phrase in found.items() if phrase != expected[row]} == {}


@pytest.mark.exhaustive
def test_every_character_folds_as_fts5_folds_it() -> None:
    """All of the BMP, assigned or not, and a sample of the rest, inside a word."""
    codes = [*range(0x10000), *range(0x10000, 0x20000, 7), *range(0x20000, 0x110000, 4_001)]
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    folding = Folding()

    for start in range(0, len(characters), CHUNK):
        chunk = characters[start : start + CHUNK]
        assert_folded_as_fts5(folding, [f"q{c}q" for c in chunk])


def test_a_character_folds_alike_wherever_it_stands() -> None:
    characters = [chr(code) for code in [*range(0x80, 0x3200), *range(0xF900, 0x10000, 5)]]

    assert_folded_as_fts5(Folding(), [f"{c} {c}q Q{c}{c} {c}\u0301 7{c}" for c in characters[::3]])


def test_every_character_in_a_caption_counts_as_fts5_tokenizes_it() -> None:
    characters = [chr(code) for code in range(0, 0x20000, 11) if not 0xD800 <= code < 0xE000]
    captions = [f"q{c}q" for c in characters]
    oracle = Oracle(captions)
    expected = Counter(oracle.phrases().values())
    oracle.close()

    counts = count_phrases(batches(captions, 5_000), list(expected), Folding())

    assert counts == expected
    assert 100 < expected["q q"] < len(captions) / 2


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Vincent van Gogh", "vincent van gogh"),
        ("  D'Artagnan ", "d artagnan"),
        ("Émile Zola", "emile zola"),
        ("E\u0301mile", "emile"),
        ("ΟΔΟΣ", "οδοσ"),
        ("Ⅻ", "ⅻ"),
        ("ß ẞ ﬁ", "ß ß ﬁ"),
        ("İı", "iı"),
        ("葛飾・北斎", "葛飾 北斎"),
        ("snake_case", "snake case"),
        ("a\0b", "a b"),
        ("🎨", ""),
        ("🦊", "🦊"),
        ("", ""),
    ],
    ids=[
        "case",
        "apostrophe",
        "accent",
        "combining accent",
        "final sigma",
        "Roman numeral",
        "sharp s",
        "Turkish i",
        "Japanese",
        "underscore",
        "NUL",
        "old emoji",
        "emoji newer than Unicode 6.1",
        "empty",
    ],
)
def test_a_phrase_is_the_words_as_fts5_writes_them(name: str, phrase: str) -> None:
    assert Folding().phrase(name) == phrase


def test_what_has_been_learnt_stays_and_more_is_added() -> None:
    folding = Folding()

    assert folding.learn("é ß!") == {"é": "e", "ß": "ß"}
    assert folding.learn("éÅ—") == {"é": "e", "Å": "a", "—": " "}
    assert folding.learn("ascii only") == {}


@pytest.mark.parametrize(
    ("lines", "folded"),
    [
        ("Émile\nZOLA", "emile\nzola"),
        ("- é -\n-", " e \n "),
        ("a \u0327 b\u0327", "a b"),
        ("\0a\t\r\x7f—b", " a b"),
        ("\n\n", "\n\n"),
        ("", ""),
    ],
    ids=["lines", "separators", "swallowed between separators", "control", "empty lines", "empty"],
)
def test_lines_fold_by_themselves(lines: str, folded: str) -> None:
    assert Folding().fold(lines) == folded


def test_captions_with_line_ends_stay_apart() -> None:
    captions = ["é\nfox", "\né\n", "é", "fox\n", "fox é\n\nfox", "é fo", "x é"]

    assert count_names(captions, ["fox", "é fox", "fox é"]) == {"fox": 3, "é fox": 2, "fox é": 1}


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100], ids=lambda n: f"{n} rows")
def test_the_size_of_the_batches_does_not_change_the_counts(batch_rows: int) -> None:
    captions = ["A fox", "Émile's fox", "", "fox fox", "🦊", "foxes", "The FOX, Emile", "a-fox"]
    names = ["fox", "emile", "a fox", "foxes", "wolf", "-"]

    assert count_names(captions, names, batch_rows) == {
        "fox": 5,
        "emile": 2,
        "a fox": 2,
        "foxes": 1,
        "wolf": 0,
        "-": 0,
    }


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("van gogh van gogh", "van gogh"),
        ("gogh gogh gogh", "gogh gogh"),
        ("van gogh, VAN GOGH. Ván Gógh", "van gogh"),
        ("a a a a a", "a"),
    ],
    ids=["adjacent", "overlapping", "other spellings", "one letter"],
)
def test_a_repetition_counts_the_caption_once(caption: str, name: str) -> None:
    captions = [caption, "nothing here", f"é {caption}"]

    assert count_names(captions, [name]) == {name: 2}


def test_names_that_share_words_are_both_found() -> None:
    names = ["vincent van gogh", "van gogh museum", "van gogh", "van", "gogh museum amsterdam"]

    counts = count_names(["The Vincent van Gogh Museum Amsterdam", "Ván Gógh"], names)

    assert counts == {
        "vincent van gogh": 1,
        "van gogh museum": 1,
        "van gogh": 2,
        "van": 2,
        "gogh museum amsterdam": 1,
    }


@pytest.mark.parametrize(
    "caption",
    ["Vincent vanGogh", "evincent van gogh", "vincent van goghs", "vincent, the van gogh", "van"],
    ids=["joined", "longer first word", "longer last word", "word between", "part"],
)
def test_only_whole_consecutive_words_match(caption: str) -> None:
    assert count_names([caption, f"é {caption}"], ["Vincent van Gogh"]) == {"Vincent van Gogh": 0}


@pytest.mark.parametrize("name", SYNTAX)
def test_a_name_is_never_syntax(name: str) -> None:
    captions = ["a b", "a", "b", "ab and b", "or not", "t a", "near a b", "a or 1 1", "abc"]

    assert count_names(captions, [name]) == count_with_fts5(captions, [name])


@pytest.mark.parametrize("name", WITHOUT_TOKENS)
def test_a_name_without_any_word_counts_0(name: str) -> None:
    captions = ["", " ", "a - b", '"', "🎨 ❤️", "\u0301", "é \u00ad", name]

    assert count_names(captions, [name]) == {name: 0}


def test_no_caption_counts_0() -> None:
    assert count_names([], ["fox"]) == {"fox": 0}


def test_no_name_counts_nothing() -> None:
    assert count_phrases(batches(["a fox", "é"]), [], Folding()) == {}
