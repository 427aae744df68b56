import re
from collections.abc import Sequence
from itertools import pairwise

import pytest

from laion_assets.demo.caption_pools import POOLS, PROPER
from laion_assets.demo.caption_templates import RULES, Slot, make_templates
from laion_assets.demo.sample_shards import SampleSpec, generate_shard
from laion_assets_tests.demo.caption_statistics import WORD, describe_captions

NAMES = ("Claude Monet", "Sherlock Holmes")
# Of the first 5,000 captions of a public sample of LAION-400M: 10,000 rows in the MIT-licensed test
# data of img2dataset (tests/test_files). `describe_captions` measured them in November 2026.
REAL = {
    "characters": 58.03,
    "words": 9.414,
    "letters of a word": 5.084,
    "bytes of a character": 1.0031,
    "distinct words": 14_241,
    "Heaps exponent": 0.675,
    "Zipf exponent": 0.727,
    "words met once": 0.638,
    "the 1,000 commonest words": 0.527,
    "words with a digit": 0.0723,
    "characters, 5 % have fewer": 19,
    "words, 5 % have fewer": 3,
    "characters, 25 % have fewer": 33,
    "words, 25 % have fewer": 5,
    "characters, 50 % have fewer": 48,
    "words, 50 % have fewer": 8,
    "characters, 75 % have fewer": 68,
    "words, 75 % have fewer": 11,
    "characters, 90 % have fewer": 96,
    "words, 90 % have fewer": 16,
    "characters, 95 % have fewer": 124,
    "words, 95 % have fewer": 20,
    "captions with not ASCII": 0.0578,
    "captions with other scripts": 0.0090,
    "captions with a digit": 0.3708,
    "captions with a sign": 0.6052,
    "captions with a capital in front": 0.8300,
    "captions with no capital": 0.0658,
    "captions with capitals alone": 0.0170,
    "captions with a comma": 0.1528,
    "captions with a full stop": 0.1354,
    "captions with a hyphen": 0.2702,
    "captions with a colon": 0.0902,
    "captions with an apostrophe": 0.0718,
    "captions with a bracket": 0.0810,
    "captions with a slash": 0.0558,
    "captions with an ampersand": 0.0392,
    "repeated captions": 0.0004,
}
ROWS = 5_000
# The halves of the real rows differ by up to 5 % in lengths and growth, by 30 % in rare signs, and
# those of another list would differ more. Three times the former is still little beside word
# salad: the generator before this one had 5,200 distinct words, and 1.3 for Zipf's exponent.
TOLERANCE = 0.15
SIGN_TOLERANCE = 0.35


def make_captions(rows: int, seed: int) -> list[str]:
    spec = SampleSpec(1, rows, seed)
    texts: Sequence[str | None] = [
        text for batch in generate_shard(spec, 0, NAMES) for text in batch["TEXT"].to_pylist()
    ]
    return [text for text in texts if text and text.strip()]


@pytest.mark.parametrize("seed", [2022, 7])
def test_captions_have_the_figures_of_real_ones(seed: int) -> None:
    found = describe_captions(make_captions(ROWS + 50, seed)[:ROWS])

    assert found.keys() == REAL.keys()
    far = {
        name: (found[name], real)
        for name, real in REAL.items()
        if abs(found[name] - real) > _tolerate(name, real)
    }
    assert far == {}


def _tolerate(name: str, real: float) -> float:
    if name == "repeated captions":
        # Two in 5,000 are too few to say more than that they are few.
        return 0.002
    if name.startswith("captions with"):
        return SIGN_TOLERANCE * real
    # Whole numbers of words have steps of one.
    return max(TOLERANCE * real, 1) if name.startswith("words,") else TOLERANCE * real


@pytest.mark.exhaustive
def test_the_vocabulary_grows_on_but_more_slowly() -> None:
    captions = make_captions(45_200, 2022)
    sizes = [
        len({w for text in captions[:rows] for w in WORD.findall(text.lower())})
        for rows in (5_000, 15_000, 45_000)
    ]
    growth = [more / few for few, more in pairwise(sizes)]

    # Three times the rows: the exponent of the real ones gives 2.1, a closed list less and less.
    assert 2.1 * (1 + TOLERANCE) > growth[0] > growth[1] > 1.4


def test_every_rule_and_every_pool_is_used() -> None:
    named = set(re.findall(r"\{(\w+)\}", " ".join(RULES.values())))

    assert named == (RULES.keys() | POOLS.keys()) - {"caption"}
    assert not RULES.keys() & POOLS.keys()
    assert POOLS.keys() >= PROPER
    drawn = {
        part.pool for template in make_templates() for part in template if isinstance(part, Slot)
    }
    assert drawn == POOLS.keys()


@pytest.mark.exhaustive
def test_no_word_stands_twice_in_a_pool_of_words() -> None:
    made = {"letters", "digits", "hash", "large"}
    twice = {
        name: sorted({word for word in words if words.count(word) > 1})
        for name, (words, _) in POOLS.items()
        if name not in made
    }

    assert {name: words for name, words in twice.items() if words} == {}
