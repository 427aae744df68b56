from pathlib import Path

from laion_assets.stores.vector_cache import VectorCache


def test_vectors_are_kept_by_picture_and_encoder(tmp_path: Path) -> None:
    cache, other = VectorCache(tmp_path / "c", "one"), VectorCache(tmp_path / "c", "two")
    pictures = [f"{number:064x}" for number in range(1300)]
    assert cache.read(pictures) == {}
    assert list(cache.find_missing(pictures)) == pictures

    cache.put({picture: picture.encode() for picture in pictures[::2]})
    cache.put({pictures[1]: None})
    other.put({pictures[3]: b"other"})

    assert cache.read(pictures) == {p: p.encode() for p in pictures[::2]} | {pictures[1]: None}
    assert list(cache.find_missing(pictures)) == pictures[3::2]
    assert other.read(pictures) == {pictures[3]: b"other"}


def test_a_newer_vector_replaces_the_older(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, "one")
    cache.put({"a": None})

    cache.put({"a": b"1"})

    assert cache.read(["a", "a"]) == {"a": b"1"}
