import random
from collections.abc import Sequence

import polars as pl
import pyarrow as pa
import pytest

from laion_assets.counts.captions import Folding, count_phrases
from laion_assets.counts.sieve import CHUNK_BYTES, TABLE_BITS, Sieve
from laion_assets_tests.counts.test_captions import count_with_fts5

WORDS = (
    *(
        "a",
        "b",
        "I",
        "of",
        "The",
        "fox",
        "FOX",
        "foxes",
        "van",
        "Gogh",
        "Vincent",
        "x2",
        "2",
        "007",
    ),
    *("landscape", "landscapes", "LANDSCAPING", "photographer", "photography", "abcdefgh"),
)
OTHER_WORDS = ("é", "Émile", "caf\u00e9s", "葛飾", "🦊", "ß", "e\u0301tude", "ǅ", "naïveté", "ﬁ")
GLUE = (" ", " ", " ", "  ", "-", "_", "@", "[", "`", "{", "/", ":", "\0", "\n", "\t", "\x7f", ", ")
OTHER_GLUE = ("’", "—", "\u00a0", "・", " \u0327 ", "❤️")


def make_text(
    generator: random.Random, words: Sequence[str], glue: Sequence[str], longest: int
) -> str:
    chosen = generator.choices(words, k=generator.randint(0, longest))
    text = "".join(part for word in chosen for part in (word, generator.choice(glue)))
    # Without a separator at its end, a caption's last word touches the next caption's first.
    return text if generator.random() < 0.3 else text[:-1]


def make_captions(generator: random.Random, count: int) -> list[str]:
    mixed_words, mixed_glue = (*WORDS, *OTHER_WORDS), (*GLUE, *OTHER_GLUE)
    return [
        make_text(generator, WORDS, GLUE, 9)
        if generator.random() < 0.5
        else make_text(generator, mixed_words, mixed_glue, 9)
        for _ in range(count)
    ]


def make_names(generator: random.Random) -> list[str]:
    words = (*WORDS, *OTHER_WORDS)
    return list(
        dict.fromkeys(
            " ".join(generator.choices(words, k=length)) for length in (1, 2, 3) for _ in range(90)
        )
    )


def keep(
    captions: Sequence[str], phrases: Sequence[str], table_bits: int = TABLE_BITS
) -> list[str]:
    return Sieve(phrases, table_bits).keep(pl.Series(captions, dtype=pl.String)).to_list()


def count(column: pa.Array, phrases: Sequence[str]) -> dict[str, int]:
    return count_phrases([pa.record_batch({"caption": column})], phrases, Folding())


@pytest.mark.parametrize("seed", range(4), ids=lambda n: f"seed {n}")
def test_what_a_sieve_lets_through_counts_as_fts5_counts_it(seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311
    captions = make_captions(generator, 1_500)
    names = make_names(generator)
    folding = Folding()
    phrases = {name: folding.phrase(name) for name in names}

    counts = count(pa.array(captions), sorted(set(phrases.values())))

    expected = count_with_fts5(captions, names)
    assert {name: counts[phrase] for name, phrase in phrases.items()} == expected
    assert sum(number > 0 for number in expected.values()) > len(names) / 3


@pytest.mark.parametrize("table_bits", [3, 6, 10, TABLE_BITS], ids=lambda n: f"{n} bits")
@pytest.mark.parametrize("length", [1, 2, 3], ids=["one word", "two words", "three words"])
def test_no_caption_with_a_name_is_dropped_however_many_numbers_collide(
    length: int, table_bits: int
) -> None:
    generator = random.Random(length)  # noqa: S311
    folding = Folding()
    captions = [" ".join(generator.choices(WORDS, k=5)) + "." * (n % 2) for n in range(2_000)]
    words = [f" {folding.phrase(caption)} " for caption in captions]
    for _ in range(20):
        phrases = [folding.phrase(" ".join(generator.choices(WORDS, k=length))) for _ in range(3)]

        kept = set(keep(captions, phrases, table_bits))

        holders = {
            c for c, w in zip(captions, words, strict=True) if any(f" {p} " in w for p in phrases)
        }
        assert holders <= kept


def test_captions_stay_in_their_order_and_as_they_are() -> None:
    captions = ["", "A  Fox", "hen", "", "the fox!", "hen fox", "foxes", "fox", ""]

    assert keep(captions, ["fox"]) == ["A  Fox", "the fox!", "hen fox", "fox"]


def test_most_captions_without_a_name_are_dropped() -> None:
    generator = random.Random(3)  # noqa: S311
    captions = [" ".join(str(generator.randrange(10**6)) for _ in range(10)) for _ in range(5_000)]
    phrases = [f"{n} {n + 1}" for n in range(10**7, 10**7 + 3_000)]

    assert len(keep(captions, phrases)) < len(captions) / 20
    assert len(keep(captions, phrases, table_bits=6)) > len(captions) / 2


@pytest.mark.parametrize(
    ("captions", "phrase", "kept"),
    [
        (["van", "gogh", "vangogh"], "vangogh", ["vangogh"]),
        (["a va", "n b", "van"], "van", ["van"]),
        (["", "", "van"], "van", ["van"]),
        (["van", "", ""], "van", ["van"]),
        (["", ""], "van", []),
        ([], "van", []),
        (["van"], "", []),
        (["a", "b"], "a", ["a"]),
        (["q\0van\0q", "q\0q"], "van", ["q\0van\0q"]),
        (["VAN\x00GOGH"], "van gogh", ["VAN\x00GOGH"]),
    ],
    ids=[
        "words of two captions are not joined",
        "parts of words",
        "empty ones before",
        "empty ones after",
        "empty ones alone",
        "none",
        "no word",
        "one letter",
        "NUL",
        "NUL between",
    ],
)
def test_a_caption_ends_where_the_next_begins(
    captions: list[str], phrase: str, kept: list[str]
) -> None:
    assert keep(captions, [phrase]) == kept


@pytest.mark.parametrize("place", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 10**6])
def test_long_captions_are_read_to_their_end(place: int) -> None:
    captions = ["hen", "x" * place + " fox", " " * place + "fox", "hen " * (place // 4), "fox"]

    assert keep(captions, ["fox"]) == [captions[1], captions[2], "fox"]


def test_many_names_of_one_common_word_are_all_counted() -> None:
    words = [f"w{n}" for n in range(3_000)]
    captions = [f"common {word} common" for word in words]

    counts = count(pa.array(captions), ["common", *words])

    assert counts == {"common": 3_000, **dict.fromkeys(words, 1)}


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view()], ids=["string", "large", "view"]
)
@pytest.mark.parametrize(("start", "length"), [(0, 8), (3, 5), (2, 3), (7, 1), (4, 0)], ids=str)
def test_every_type_and_slice_of_text_counts_alike(
    type_: pa.DataType, start: int, length: int
) -> None:
    captions = [
        "fox",
        "Émile fox",
        None,
        "the Fox, that is long enough for a view",
        "",
        "hen",
        "é",
        "FOX",
    ]
    column = pa.array(captions, type_).slice(start, length)

    own = captions[start : start + length]
    assert count(column, ["fox"]) == {"fox": sum("fox" in (c or "").lower() for c in own)}
