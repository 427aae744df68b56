"""What captions are like, in figures: the same for real ones and for those of the generator."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

# As the index of captions finds words: signs are between them, and case is none.
WORD = re.compile(r"[^\W_]+")
SIGNS = {
    "a comma": ",",
    "a full stop": ".",
    "a hyphen": "-",
    "a colon": ":",
    "an apostrophe": "'",
    "a bracket": "(",
    "a slash": "/",
    "an ampersand": "&",
}


def describe_captions(captions: Sequence[str]) -> dict[str, float]:
    """Returns lengths, the growth of the vocabulary, Zipf's exponent and shares of captions.

    Args:
        captions: at least a thousand, in the order of their rows.
    """
    words = [WORD.findall(caption.lower()) for caption in captions]
    counts = Counter(word for some in words for word in some)
    lengths = sorted(map(len, captions))
    word_counts = sorted(map(len, words))
    token_count = sum(word_counts)
    half = len(captions) // 2
    halves = [len(set().union(*map(set, some))) for some in (words[:half], words[half : 2 * half])]
    figures = {
        "characters": sum(lengths) / len(lengths),
        "words": token_count / len(words),
        "letters of a word": sum(len(word) * n for word, n in counts.items()) / token_count,
        "bytes of a character": sum(len(text.encode()) for text in captions) / sum(lengths),
        "distinct words": len(counts),
        "Heaps exponent": math.log2(2 * len(counts) / sum(halves)),
        "Zipf exponent": find_zipf_exponent(sorted(counts.values(), reverse=True)),
        "words met once": sum(n == 1 for n in counts.values()) / len(counts),
        "the 1,000 commonest words": sum(n for _, n in counts.most_common(1_000)) / token_count,
        "words with a digit": sum(n for word, n in counts.items() if has_digit(word)) / token_count,
    }
    for percent in (5, 25, 50, 75, 90, 95):
        figures[f"characters, {percent} % have fewer"] = lengths[len(lengths) * percent // 100]
        figures[f"words, {percent} % have fewer"] = word_counts[len(words) * percent // 100]
    shares: dict[str, Callable[[str], object]] = {
        "not ASCII": lambda text: not text.isascii(),
        "other scripts": lambda text: any(char.isalpha() and char > "\u024f" for char in text),
        "a digit": has_digit,
        "a sign": lambda text: any(not (char.isalnum() or char.isspace()) for char in text),
        "a capital in front": lambda text: text[:1].isupper(),
        "no capital": lambda text: text == text.lower(),
        "capitals alone": lambda text: text == text.upper() != text.lower(),
    }
    for name, has in shares.items():
        figures[f"captions with {name}"] = sum(map(bool, map(has, captions))) / len(captions)
    for name, sign in SIGNS.items():
        figures[f"captions with {name}"] = sum(sign in text for text in captions) / len(captions)
    figures["repeated captions"] = 1 - len(set(captions)) / len(captions)
    return figures


def find_zipf_exponent(counts: Sequence[int]) -> float:
    """Returns how the logarithm of a word's count falls with that of its rank, from 10 to 1,000."""
    points = [
        (math.log(rank), math.log(counts[rank - 1]))
        for step in range(41)
        if (rank := round(10 ** (1 + step / 20)))
    ]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    together = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return -together / sum((x - mean_x) * (x - mean_x) for x in xs)


def has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)
