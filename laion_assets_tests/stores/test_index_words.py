"""The words of a full-text index, as Lance wrote it."""

import random
from collections import Counter
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from laion_assets.lance_images.indices import CAPTION_INDEX
from laion_assets.stores.fst import KeyMap, UnknownFormatError
from laion_assets.stores.index_words import IndexWords

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789жщ葛飾北ꀀ한ᚠ"
# More than 63 bytes may come after one.
LETTERS += "".join(map(chr, range(0x4E00, 0x4E50)))
WORDS = 5_000


def make_words() -> list[str]:
    chance = random.Random(3)  # noqa: S311
    words = ["".join(chance.choices(LETTERS, k=chance.randint(1, 6))) for _ in range(WORDS)]
    # Nodes that are final and go on, and long ways without a branch.
    return [*words, *(word + "x" * n for n, word in enumerate(words[:40])), "a", "ab", "abc"]


def write(folder: Path, *parts: list[str]) -> lance.LanceDataset:
    """Writes a fragment for each part, with an index over all of them."""
    uri = str(folder / "words.lance")
    for words in parts:
        lance.write_dataset(
            pa.table({"caption": words}), uri, mode="append" if words is not parts[0] else "create"
        )
    dataset = lance.dataset(uri)
    dataset.create_scalar_index("caption", "INVERTED", **CAPTION_INDEX)
    return lance.dataset(uri)


@pytest.mark.exhaustive
def test_every_beginning_has_the_words_that_begin_so(tmp_path: Path) -> None:
    words = make_words()
    known = sorted(set(words), key=str.encode)
    index = IndexWords(write(tmp_path, words), "caption")

    assert index.unread == set()
    assert list(index.find("")) == known
    for beginning in {
        *(word[:n] for word in words[:500] for n in range(1, len(word) + 1)),
        "none",
        "한한한한",
    }:
        assert list(index.find(beginning)) == [w for w in known if w.startswith(beginning)]


@pytest.mark.slow
def test_words_that_differ_in_a_letter_are_found(tmp_path: Path) -> None:
    words = make_words()
    known, index = set(words), IndexWords(write(tmp_path, words), "caption")
    letters = LETTERS[:45]

    for word in [*words[:300], "abc", "none", "x"]:
        cuts = [(word[:n], word[n:]) for n in range(len(word) + 1)]
        expected = {
            similar
            for start, end in cuts
            for similar in (
                *([start + end[1:]] if end else []),
                *([start + end[1] + end[0] + end[2:]] if end[1:] else []),
                *(start + letter + end[1:] for letter in letters if end),
                *(start + letter + end for letter in letters),
            )
        }
        assert index.find_near(word, letters) == expected & known, word


def test_a_word_is_counted_in_all_rows(tmp_path: Path) -> None:
    words = make_words()
    rows = [*words, *words[::3], *words[::5], f"{words[0]} {words[0]}"]
    dataset = write(tmp_path, rows)
    lance.write_dataset(pa.table({"caption": words[:50]}), dataset.uri, mode="append")
    lance.dataset(dataset.uri).optimize.optimize_indices(num_indices_to_merge=0)
    index = IndexWords(lance.dataset(dataset.uri), "caption")

    expected = Counter(word for row in (*rows, *words[:50]) for word in set(row.split()))
    assert {word: index.count(word) for word in expected} == expected
    assert index.count("none") == index.count("") == index.count(f"{words[0]}x1") == 0


def test_an_index_of_several_parts_has_each_word_once(tmp_path: Path) -> None:
    dataset = write(tmp_path, ["fox foxglove"])
    lance.write_dataset(pa.table({"caption": ["a fox", "foxes"]}), dataset.uri, mode="append")
    lance.dataset(dataset.uri).optimize.optimize_indices(num_indices_to_merge=0)

    index = IndexWords(lance.dataset(dataset.uri), "caption")

    assert list(index.find("fox")) == ["fox", "foxes", "foxglove"]
    assert index.unread == set()


def test_rows_that_no_part_covers_are_told(tmp_path: Path) -> None:
    dataset = write(tmp_path, ["a fox"], ["a hare"])
    lance.write_dataset(pa.table({"caption": ["a lynx"]}), dataset.uri, mode="append")

    index = IndexWords(lance.dataset(dataset.uri), "caption")

    assert index.unread == {2}
    assert list(index.find("")) == ["a", "fox", "hare"]
    assert IndexWords(dataset, "url").unread == {0, 1}


@pytest.mark.parametrize(
    "content", [b"", b"\3", bytes(40), b"\4" + bytes(39), b"\3" + bytes(50)], ids=repr
)
def test_what_is_no_list_of_words_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownFormatError):
        KeyMap(content)


def test_no_words_are_a_list(tmp_path: Path) -> None:
    assert list(IndexWords(write(tmp_path, ["!"]), "caption").find("")) == []


def test_a_part_in_another_form_counts_as_unread(tmp_path: Path) -> None:
    dataset = write(tmp_path, ["a fox"])
    (tokens,) = Path(dataset.uri).glob("_indices/*/part_0_tokens.lance")
    tokens.write_bytes(b"LANC of another time" * 10)

    index = IndexWords(dataset, "caption")

    assert (index.unread, list(index.find(""))) == ({0}, [])
