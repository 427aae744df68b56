"""Rare words have the same answers, whether they are kept or Lance is asked for them."""

from __future__ import annotations

import random

import lance
import numpy as np
import pyarrow as pa
import pytest

from laion_assets.releases.catalog import newest_release, open_released
from laion_assets.search.matches import Matches, MatchFinder
from laion_assets.search.query import learn_folding, read_query
from laion_assets.settings import Settings
from laion_assets.stores import rare_words
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import bring, refresh

ROWS = 300
# Lance reads the last five otherwise than FTS5; `ﬁsh` and `fish`, and both `e` of `cafe`, are near.
LETTERS = "abcdefgh"
WORDS = (
    *(f"{a}{b}x" for a in LETTERS for b in LETTERS),
    *("fish", "cafe", "café", "straße", "ﬁsh", "i̇stanbul", "²x", "ﬂat"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    """A release of three shards, of which one was loaded twice."""
    settings = Settings.default(tmp_path_factory.mktemp("rare"))
    chance = random.Random(5)  # noqa: S311
    for shard in ("alpha", "beta"):
        bring(settings, shard, make_rows(chance))
    refresh(settings)
    for shard in ("gamma", "alpha"):
        bring(settings, shard, make_rows(chance))
    refresh(settings)
    store = LanceStore(settings.lance_dir)
    manifest = newest_release(store)
    assert manifest
    return open_released(store, manifest, "images")


def make_rows(chance: random.Random) -> pa.Table:
    shares = [1 / (n % 40 + 1) for n in range(len(WORDS))]
    captions = [
        " ".join(chance.choices(WORDS, shares, k=chance.randint(1, 9))) for _ in range(ROWS)
    ]
    urls = [f"https://{chance.randrange(10**9)}.test/{n}" for n in range(ROWS)]
    return pa.table({"url": urls, "caption": captions})


def find_all(finder: MatchFinder) -> dict[str, tuple[list[int], list[float]]]:
    words = {learn_folding().phrase(word) for word in (*WORDS, "none", "fısh")}
    return {word: tell(finder.find(read_query(word), "")) for word in words}


def tell(found: Matches) -> tuple[list[int], list[float]]:
    return found.rows.tolist(), found.scores.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("is_hiding", [False, True])
def test_each_word_is_found_alike(dataset: lance.LanceDataset, *, is_hiding: bool) -> None:
    rows = dataset.scanner(columns=[], with_row_id=True).to_table()["_rowid"].to_numpy()
    hidden = np.sort(rows[::7]) if is_hiding else None
    kept = MatchFinder(dataset, hidden, keeps_words=True)

    found = find_all(kept)

    assert found == find_all(MatchFinder(dataset, hidden))
    assert kept.keeps_rare_words
    assert sum(bool(ids) for ids, _ in found.values()) > len(WORDS) / 2


@pytest.mark.exhaustive
def test_a_lance_of_another_mind_is_asked(
    dataset: lance.LanceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rare_words, "K1", 1.3)
    kept = MatchFinder(dataset, keeps_words=True)

    assert find_all(kept) == find_all(MatchFinder(dataset))
    assert not kept.keeps_rare_words
