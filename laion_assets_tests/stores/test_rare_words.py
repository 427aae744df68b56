"""Rare words and their scores, as Lance finds them."""

import random
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from lance.query import MatchQuery

from laion_assets.lance_images.indices import CAPTION_INDEX
from laion_assets.stores import rare_words
from laion_assets.stores.index_words import IndexWords
from laion_assets.stores.rare_words import BLOCK_ROWS, RareWords

ROWS = 1_000
WORDS = [f"word{n}" for n in range(500)]


def write(folder: Path, *seeds: int, indexed: int | None = None) -> lance.LanceDataset:
    """Writes a fragment for each seed, each with a part of the index of its own.

    Args:
        folder: where.
        seeds: of the captions; some words are in each second of them, some in one.
        indexed: how many of the fragments have a part; None: all.
    """
    uri = str(folder / "words.lance")
    for number, seed in enumerate(seeds):
        chance = random.Random(seed)  # noqa: S311
        captions = [
            " ".join(chance.choices(WORDS, [1 / (n + 1) for n in range(len(WORDS))], k=size))
            # Some captions have no word, and some have hundreds.
            for size in chance.choices((0, 1, 3, 8, 20, 400), (1, 5, 20, 40, 30, 1), k=ROWS)
        ]
        lance.write_dataset(
            pa.table({"caption": captions}), uri, mode="append" if number else "create"
        )
        if not number:
            lance.dataset(uri).create_scalar_index("caption", "INVERTED", **CAPTION_INDEX)
        elif indexed is None or number < indexed:
            lance.dataset(uri).optimize.optimize_indices(num_indices_to_merge=0)
    return lance.dataset(uri)


def ask_lance(dataset: lance.LanceDataset, word: str) -> tuple[list[int], list[float]]:
    found = dataset.scanner(
        columns=["_score"], full_text_query=MatchQuery(word, "caption"), with_row_id=True
    ).to_table()
    found = found.sort_by("_rowid")
    return found["_rowid"].to_pylist(), found["_score"].to_pylist()


def check(dataset: lance.LanceDataset) -> None:
    """Compares every word with what Lance finds, to the last bit of its score."""
    words = IndexWords(dataset, "caption")
    rare = RareWords.read(words)
    assert rare
    found = {word: rare.find(word) for word in [*words.find(""), "none", ""]}
    known = {
        word: (pair[0].tolist(), pair[1].tolist())
        for word, pair in found.items()
        if pair is not None
    }
    assert len(known) > len(WORDS) / 2
    assert known == {word: ask_lance(dataset, word) for word in known}
    many = [word for word in found if word not in known]
    assert many
    assert all(words.count(word) >= BLOCK_ROWS for word in many)


@pytest.mark.exhaustive
def test_one_part(tmp_path: Path) -> None:
    check(write(tmp_path, 1))


@pytest.mark.slow
def test_several_parts(tmp_path: Path) -> None:
    check(write(tmp_path, 1, 2, 3))


@pytest.mark.exhaustive
def test_rows_that_were_replaced_count_for_the_scores(tmp_path: Path) -> None:
    dataset = write(tmp_path, 1, 2)
    dataset.optimize.optimize_indices(num_indices_to_merge=2)
    dataset = lance.dataset(dataset.uri)
    (gone, *_) = dataset.get_fragments()
    lance.LanceDataset.commit(
        dataset.uri,
        lance.LanceOperation.Delete([], [gone.fragment_id], "true"),
        read_version=dataset.version,
    )
    dataset = lance.dataset(dataset.uri)

    assert len(dataset.get_fragments()) == 1
    assert IndexWords(dataset, "caption").unread == set()
    check(dataset)


def test_where_rows_are_not_covered_lance_has_to_be_asked(tmp_path: Path) -> None:
    dataset = write(tmp_path, 1, 2, indexed=1)

    assert RareWords.read(IndexWords(dataset, "caption")) is None


@pytest.mark.parametrize("name", list(rare_words.KNOWN_FORMAT))
def test_an_unknown_format_is_left_to_lance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    words = IndexWords(write(tmp_path, 1), "caption")
    assert RareWords.read(words)

    monkeypatch.setitem(rare_words.KNOWN_FORMAT, name, b"of a version to come")

    assert RareWords.read(words) is None


def test_a_lost_file_is_left_to_lance(tmp_path: Path) -> None:
    words = IndexWords(write(tmp_path, 1), "caption")
    (place,) = (tmp_path / "words.lance").glob("_indices/*/part_*_docs.lance")
    place.unlink()

    assert RareWords.read(words) is None


def test_a_sample_has_words_of_different_numbers_of_rows(tmp_path: Path) -> None:
    words = IndexWords(write(tmp_path, 1), "caption")
    rare = RareWords.read(words)
    assert rare

    counts = [words.count(word) for word in rare.sample()]

    assert len(counts) > 5
    assert len(set(counts)) == len(counts)
    assert 0 < min(counts) <= max(counts) < BLOCK_ROWS
