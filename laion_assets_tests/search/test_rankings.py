"""Rankings by meaning and looks are those of comparing all vectors, with every filter."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from laion_assets.embeddings import vector_index
from laion_assets.embeddings.encoder import Encoder, open_encoder
from laion_assets.releases.catalog import newest_release
from laion_assets.search import vectors as vector_search
from laion_assets.search.filter import EVERYTHING, Bounds, SearchFilter
from laion_assets.search.order import Order
from laion_assets.search.search import UNKNOWN, CaptionSearch, SearchAnswer, open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import DIMENSION, bring_vectors, cluster
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

COUNT = 3000
WORDS = ("red", "green", "blue", "boat", "fox")
Place = tuple[str, int]


class Truth:
    """The rows of the table, compared one by one."""

    def __init__(self, store: LanceStore) -> None:
        columns = ["shard", "row_index", "caption", "domain", "aesthetic", "punsafe", "width"]
        table = store.open("images").to_table([*columns, "img_emb"], with_row_id=True)
        self.rows = table.sort_by("_rowid").to_pylist()

    def rank(
        self,
        vector: NDArray[Any],
        fits: Callable[[dict[str, Any]], bool] = lambda _: True,
        weight: float = 0,
    ) -> list[tuple[Place, float]]:
        """Returns all that fit with their scores, the nearest first."""
        query = vector.astype("f8") / np.linalg.norm(vector.astype("f8"))
        found = []
        for row in self.rows:
            if row["img_emb"] is None or not fits(row):
                continue
            own = np.array(row["img_emb"], "f8")
            bonus = weight * ((row["aesthetic"] or 5) - 5) / 10
            score = float(own @ query / np.linalg.norm(own)) + bonus
            found.append(((row["shard"], row["row_index"]), score))
        return sorted(found, key=lambda one: -one[1])

    def vector(self, place: Place) -> NDArray[Any]:
        (row,) = (r for r in self.rows if (r["shard"], r["row_index"]) == place)
        return np.array(row["img_emb"], "f4")


def places(answer: SearchAnswer) -> list[Place]:
    return [(hit["shard"], hit["row_index"]) for hit in answer.hits]


def scores(answer: SearchAnswer) -> list[float]:
    return [hit["_score"] for hit in answer.hits]


def paint(red: int, green: int, blue: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A release of two shards, of which every eleventh row has no vector, with an index."""
    settings = replace(Settings.default(tmp_path_factory.mktemp("rankings")), sheets={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "PARTITION_VECTORS", 256)
        for number, shard in enumerate(("a", "b")):
            chance = np.random.default_rng(number)
            vectors: list[Any] = list(cluster(COUNT, seed=number))
            if shard == "b":
                # Copies of one picture, more than a page has.
                vectors[100:160] = [vectors[100]] * 60
            vectors = [None if row % 11 == 7 else v for row, v in enumerate(vectors)]
            picked = chance.choice(WORDS, (COUNT, 3))
            bring_vectors(
                settings,
                shard,
                vectors,
                caption=[" ".join(words) for words in picked],
                url=[f"https://{shard}{row % 50}.test/{row}.jpg" for row in range(COUNT)],
                aesthetic=[None if row % 5 == 0 else float(row % 11) for row in range(COUNT)],
                punsafe=[None if row % 3 == 0 else row % 10 / 10 for row in range(COUNT)],
                width=[row % 1000 for row in range(COUNT)],
                height=[500] * COUNT,
            )
        refresh(settings, "first")
    return settings


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Gives a picture its mean colour, and a text those that it names."""
    folder = tmp_path_factory.mktemp("encoder")
    return open_encoder(str(EncoderFiles(dimension=DIMENSION).write(folder)))


@pytest.fixture(scope="module")
def search(settings: Settings, encoder: Encoder) -> CaptionSearch:
    return open_search(LanceStore(settings.lance_dir), encoder=encoder)


@pytest.fixture(scope="module")
def truth(settings: Settings) -> Truth:
    return Truth(LanceStore(settings.lance_dir))


def test_there_is_an_index(settings: Settings) -> None:
    manifest = newest_release(LanceStore(settings.lance_dir))
    assert manifest is not None
    assert manifest.vectors is not None
    assert manifest.vectors.partition_count > 10
    assert manifest.vectors.recall_at_10 >= 0.98


def check_ranking(answer: SearchAnswer, expected: list[tuple[Place, float]], count: int) -> None:
    """Nearly all are the right ones, and each score is that of its row."""
    found = places(answer)
    assert len(found) == min(count, len(expected))
    exact = dict(expected)
    assert scores(answer) == pytest.approx([exact[place] for place in found], abs=1e-3)
    assert scores(answer) == sorted(scores(answer), reverse=True)
    # The right one, or one that is as near.
    limits = [score - 1e-3 for _, score in expected[: len(found)]]
    right = sum(score >= limit for score, limit in zip(scores(answer), limits, strict=True))
    assert right >= 0.95 * len(found)


FILTERS: dict[str, tuple[SearchFilter, Callable[[dict[str, Any]], bool]]] = {
    "none": (EVERYTHING, lambda _: True),
    "a shard": (SearchFilter(shard="b"), lambda r: r["shard"] == "b"),
    "a domain": (SearchFilter(domain="a7.test"), lambda r: r["domain"] == "a7.test"),
    "a score": (
        SearchFilter(aesthetic=Bounds(6, 8)),
        lambda r: r["aesthetic"] is not None and 6 <= r["aesthetic"] < 8,
    ),
    "a width": (SearchFilter(min_width=990), lambda r: r["width"] >= 990),
    "hidden": (
        SearchFilter(hide_punsafe_above=0.5),
        lambda r: r["punsafe"] is None or r["punsafe"] <= 0.5,
    ),
    "several": (
        SearchFilter(shard="a", min_aesthetic=9, max_punsafe=0.3, min_width=300),
        lambda r: (
            r["shard"] == "a"
            and (r["aesthetic"] or 0) >= 9
            and r["punsafe"] is not None
            and r["punsafe"] <= np.float32(0.3)
            and r["width"] >= 300
        ),
    ),
    "nothing": (SearchFilter(domain="nowhere.test"), lambda _: False),
}


@pytest.mark.parametrize("most_compared", [0, COUNT], ids=["by the index", "one by one"])
@pytest.mark.parametrize(("only", "fits"), FILTERS.values(), ids=FILTERS.keys())
def test_a_vector_finds_the_nearest_that_pass_the_filter(
    settings: Settings,
    truth: Truth,
    monkeypatch: pytest.MonkeyPatch,
    only: SearchFilter,
    fits: Callable[[dict[str, Any]], bool],
    most_compared: int,
) -> None:
    monkeypatch.setattr(vector_search, "MAX_COMPARED", most_compared)
    search = open_search(LanceStore(settings.lance_dir))
    for seed in range(5):
        vector = cluster(1, seed=100 + seed)[0] * (3 + seed)
        expected = truth.rank(vector, fits)
        for limit in (10, 30):
            check_ranking(search.find(vector=vector, only=only, limit=limit), expected, limit)


def test_those_that_are_compared_one_by_one_come_in_one_order(
    search: CaptionSearch, truth: Truth
) -> None:
    only = SearchFilter(domain="b1.test")
    fits = [row for row in truth.rows if row["domain"] == "b1.test" and row["img_emb"]]
    of_one_kind = [row for row in fits if 100 <= row["row_index"] < 160]
    assert len(of_one_kind) == 2
    like = of_one_kind[0]["shard"], of_one_kind[0]["row_index"]
    vector = truth.vector(like)
    answer = search.find(vector=vector, only=only, limit=COUNT)
    assert len(answer.hits) == len(fits)
    assert answer.shown == len([r for r in truth.rows if r["domain"] == "b1.test"])
    assert places(answer)[:2] == [(row["shard"], row["row_index"]) for row in of_one_kind]
    assert scores(answer)[0] == scores(answer)[1] > 0.9999
    assert answer == replace(
        search.find(vector=vector, only=only, limit=COUNT), took_ms=answer.took_ms
    )
    others = search.find(like=like, only=only, limit=COUNT)
    assert places(others) == places(answer)[1:]
    assert all(hit["has_vector"] for hit in answer.hits)


@pytest.mark.parametrize("only", [only for only, _ in FILTERS.values()], ids=FILTERS.keys())
def test_totals_are_those_of_the_filter(search: CaptionSearch, only: SearchFilter) -> None:
    answer = search.find(vector=cluster(1)[0], only=only, limit=3)
    browsed = search.browse(only, limit=3)
    names = ("total", "hidden", "shown", "unscored")
    assert [getattr(answer, n) for n in names] == [getattr(browsed, n) for n in names]
    assert answer.ranked is not None
    assert answer.ranked == min(4, answer.shown)
    assert browsed.ranked is None
    assert answer.different is None


def test_pages_continue_each_other_as_far_as_the_ranking_goes(search: CaptionSearch) -> None:
    vector = cluster(1, seed=7)[0]
    whole = places(search.find(vector=vector, limit=1000))
    assert len(whole) == len(set(whole)) == 1000
    paged = []
    for offset in range(0, 100, 20):
        answer = search.find(vector=vector, limit=20, offset=offset)
        assert answer.ranked == offset + 21
        paged.extend(places(answer))
    assert len(set(paged) & set(whole[:100])) >= 98
    last = search.find(vector=vector, limit=20, offset=980)
    assert (last.ranked, len(last.hits)) == (1000, 20)
    beyond = search.find(vector=vector, limit=20, offset=1000)
    assert (beyond.ranked, beyond.hits) == (1000, ())


def test_an_image_finds_those_like_it_without_itself(search: CaptionSearch, truth: Truth) -> None:
    for place in (("a", 0), ("b", 555), ("a", 2998)):
        answer = search.find(like=place, limit=10)
        expected = [one for one in truth.rank(truth.vector(place)) if one[0] != place]
        assert place not in places(answer)
        check_ranking(answer, expected, 10)
        within = search.find(like=place, limit=10, only=SearchFilter(shard="b"))
        assert {shard for shard, _ in places(within)} == {"b"}
        assert place not in places(within)


def test_equal_ones_come_by_row_id_and_all_of_them(search: CaptionSearch) -> None:
    copies = [("b", row) for row in range(100, 160) if row % 11 != 7]
    first = copies[0]
    for limit in (1, 5, 20, len(copies) - 1):
        answer = search.find(like=first, limit=limit)
        assert places(answer) == copies[1 : limit + 1]
        assert min(scores(answer)) > 0.9999
    assert places(search.find(like=first, limit=10, offset=10)) == copies[11:21]


def test_a_text_finds_what_it_means(search: CaptionSearch, encoder: Encoder, truth: Truth) -> None:
    for text in ("red", "a blue picture", "green red"):
        expected = truth.rank(encoder.embed_texts([text])[0])
        check_ranking(search.find(text, by="meaning", limit=10), expected, 10)


def test_a_picture_finds_what_looks_so(
    search: CaptionSearch, encoder: Encoder, truth: Truth
) -> None:
    picture = paint(200, 30, 90)
    expected = truth.rank(encoder.embed_pictures([picture])[0])
    check_ranking(search.find(picture=picture, limit=10), expected, 10)
    with raises("encoder-picture-undecodable"):
        search.find(picture=b"<html>")


def test_what_leaves_out_does_so_in_a_ranking(
    search: CaptionSearch, encoder: Encoder, truth: Truth
) -> None:
    expected = truth.rank(
        encoder.embed_texts(["red"])[0],
        lambda r: "fox" not in r["caption"].split() and r["domain"] == "a3.test",
    )
    answer = search.find("red -fox site:a3.test", by="meaning", limit=10)
    check_ranking(answer, expected, 10)
    with raises("search-meaning-missing"):
        search.find("-fox", by="meaning")
    with raises("search-meaning-missing"):
        search.find("site:a3.test", by="both")
    assert search.find("", by="meaning").hits == ()


def fuse_by_hand(words: list[Place], near: list[Place]) -> dict[Place, float]:
    sums: dict[Place, float] = {}
    for ranking in (words[:200], near[:200]):
        for number, place in enumerate(ranking, 1):
            sums[place] = sums.get(place, 0) + 1 / (60 + number)
    return sums


@pytest.mark.parametrize(
    "query", ["red boat", '"red boat"', "green -fox", "red OR boat site:a3.test"]
)
def test_both_joins_the_words_and_the_meaning_by_their_ranks(
    search: CaptionSearch, query: str
) -> None:
    only = SearchFilter(hide_punsafe_above=0.5)
    words = places(search.find(query, only=only, limit=200))
    near = places(search.find(query, by="meaning", only=only, limit=200))
    expected = fuse_by_hand(words, near)
    answer = search.find(query, by="both", only=only, limit=400)
    assert answer.ranked == len(expected)
    assert len(answer.hits) == len(expected)
    # Of those at the end of 200 the index may miss one.
    common = [place for place in places(answer) if place in expected]
    assert len(common) >= 0.95 * len(expected)
    top = search.find(query, by="both", only=only, limit=15)
    assert places(top) == places(answer)[:15]
    assert scores(top) == sorted(scores(top), reverse=True)
    assert scores(top)[0] == pytest.approx(max(expected.values()), abs=1e-3)
    assert (top.total, top.hidden) == (
        (near_answer := search.find(query, by="meaning", only=only)).total,
        near_answer.hidden,
    )


def test_a_text_that_the_encoder_does_not_know_is_told_of(search: CaptionSearch) -> None:
    answer = search.find("boat", by="meaning")
    assert (answer.hits, answer.ranked) == ((), 0)
    assert answer.notes == (UNKNOWN,)
    answer = search.find("boat", by="both", limit=400)
    assert answer.notes == (UNKNOWN,)
    captions = [hit["caption"] for hit in answer.hits]
    assert sum("boat" in caption.split() for caption in captions) >= 200


def test_better_pictures_rise_by_the_weight(search: CaptionSearch, truth: Truth) -> None:
    vector = cluster(1, seed=42)[0]
    pool = {place for place, _ in truth.rank(vector)[:200]}
    weighed = [one for one in truth.rank(vector, weight=0.8) if one[0] in pool]
    answer = search.find(vector=vector, aesthetic_weight=0.8, limit=20)
    check_ranking(answer, weighed, 20)
    assert places(answer) != places(search.find(vector=vector, limit=20))
    for weight in (-0.1, 1.1, float("nan")):
        with raises("search-weight-invalid"):
            search.find(vector=vector, aesthetic_weight=weight)


def test_what_looks_alike_is_folded(search: CaptionSearch, truth: Truth) -> None:
    copies = [("b", row) for row in range(100, 160) if row % 11 != 7]
    vector = truth.vector(copies[0])
    answer = search.find(vector=vector, limit=10, is_folded=True)
    assert places(answer)[0] == copies[0]
    assert answer.hits[0]["more"] == len(copies) - 1
    assert not set(places(answer)[1:]) & set(copies)
    expected = [one for one in truth.rank(vector) if one[0] not in copies[1:]]
    assert places(answer)[1] == expected[1][0]
    # No two of a page look alike.
    shown = np.stack([truth.vector(place) for place in places(answer)])
    cosines = shown @ shown.T
    assert (cosines[~np.eye(len(shown), dtype=bool)] < 0.98).all()
    following = search.find(vector=vector, limit=10, offset=10, is_folded=True)
    assert not set(places(following)) & set(places(answer))


def test_equal_hashes_are_folded_too(tmp_path: Any) -> None:
    import lance
    import pyarrow as pa

    from laion_assets.search.looks import fold_looks
    from laion_assets.search.matches import Matches

    vectors = cluster(6)
    numbers = pa.array(vectors.astype("f2").reshape(-1))
    emb = pa.FixedSizeListArray.from_arrays(
        numbers, DIMENSION, mask=pa.array([False, False, True, False, True, False])
    )
    hashes = pa.array([1, 2, 1, None, None, 2], pa.int64())
    table = lance.write_dataset(pa.table({"img_emb": emb, "phash": hashes}), tmp_path / "t.lance")
    ranked = Matches(np.array([5, 2, 0, 1, 4, 3], np.uint64), np.arange(6, 0, -1.0))
    firsts, more = fold_looks(ranked, table)
    assert firsts.rows.tolist() == [5, 2, 4, 3]
    assert more.tolist() == [1, 1, 0, 0]


def test_another_encoder_is_refused(settings: Settings, encoder: Encoder, tmp_path: Any) -> None:
    store = LanceStore(settings.lance_dir)
    small = open_encoder(str(EncoderFiles(dimension=5).write(tmp_path / "small")))
    with raises("search-encoder-other"):
        open_search(store, encoder=small).find("red", by="meaning")
    with raises("search-encoder-missing"):
        open_search(store).find("red", by="both")
    with raises("search-encoder-missing"):
        open_search(store).find(picture=paint(1, 2, 3))
    # The record names the model of the vectors.
    manifest = newest_release(store)
    assert manifest is not None
    assert manifest.vectors is not None
    dataset = store.open("images", manifest.release)
    other = open_encoder(str(EncoderFiles(dimension=DIMENSION, scale=2).write(tmp_path / "o")))
    known = manifest.vectors.model_copy(update={"encoder_digest": encoder.digest})
    same = CaptionSearch(dataset, None, vectors=known, encoder=encoder)
    assert same.find("red", by="meaning").hits
    refused = CaptionSearch(dataset, None, vectors=known, encoder=other)
    with raises("search-encoder-other"):
        refused.find("red", by="meaning")
    assert not refused.vectors.has_encoder
    # What needs no encoder works.
    assert refused.find(like=("a", 0)).hits


BAD: dict[str, tuple[Any, str]] = {
    "too short": (np.ones(DIMENSION - 1, "f4"), "search-vector-shape"),
    "two rows": (np.ones((2, DIMENSION), "f4"), "search-vector-shape"),
    "texts": (np.array(["1"] * DIMENSION), "search-vector-shape"),
    "zero": (np.zeros(DIMENSION, "f4"), "search-vector-empty"),
    "not a number": (np.full(DIMENSION, np.nan), "search-vector-empty"),
    "infinite": (np.full(DIMENSION, np.inf), "search-vector-empty"),
}


@pytest.mark.parametrize(("vector", "code"), BAD.values(), ids=BAD.keys())
def test_what_is_no_vector_is_refused(search: CaptionSearch, vector: Any, code: str) -> None:
    with raises(code):
        search.find(vector=vector)


def test_vectors_of_any_type_and_length_are_taken(search: CaptionSearch) -> None:
    vector = cluster(1, seed=3)[0].astype("f8")
    expected = places(search.find(vector=vector))
    for other in (vector * 1e300, vector * 1e-300, vector[None], vector.astype("f2")):
        assert places(search.find(vector=other))[:3] == expected[:3]


def test_what_cannot_be_asked_is_refused(search: CaptionSearch) -> None:
    vector = cluster(1)[0]
    with raises("search-of-several"):
        search.find("red", vector=vector)
    with raises("search-of-several"):
        search.find()
    with raises("search-by-unknown"):
        search.find("red", by="looks")  # type: ignore[arg-type]
    with raises("search-ranking-sorted"):
        search.find("red", by="meaning", order=Order("width"))
    with raises("search-like-unknown"):
        search.find(like=("a", COUNT))
    with raises("search-like-unknown"):
        search.find(like=("nothing", 0))
    # Without a vector.
    with raises("search-like-unknown"):
        search.find(like=("a", 7))


@pytest.mark.exhaustive
def test_a_table_without_vectors_says_so(settings: Settings, tmp_path: Any) -> None:
    other = replace(settings, data_dir=tmp_path / "data")
    ingest(other, "a", "a fox")
    refresh(other)
    search = open_search(LanceStore(other.lance_dir))
    for asked in ({"like": ("a", 0)}, {"vector": np.ones(3)}, {"query": "fox", "by": "meaning"}):
        with raises("search-no-vectors"):
            search.find(**asked)


def test_what_came_after_the_release_is_ranked_by_the_newest(
    settings: Settings, encoder: Encoder
) -> None:
    store = LanceStore(settings.lance_dir)
    fresh = cluster(50, seed=77)
    bring_vectors(settings, "c", fresh)
    latest = open_search(store, is_newest=True, encoder=encoder)
    assert places(latest.find(vector=fresh[9], limit=1)) == [("c", 9)]
    released = open_search(store, encoder=encoder)
    assert "c" not in {shard for shard, _ in places(released.find(vector=fresh[9], limit=50))}
