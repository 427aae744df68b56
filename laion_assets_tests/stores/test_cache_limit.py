"""The caches stay within a size, and nothing goes that somebody uses."""

from pathlib import Path

import pytest

from laion_assets.stores.cache_file import use_caches
from laion_assets.stores.cache_limit import limit_caches
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.vector_cache import VectorCache

PICTURE_BYTES = 20_000
COUNT = 200
URLS = [f"https://a.test/{n}.jpg" for n in range(COUNT)]
PICTURES = [f"{n:064x}" for n in range(COUNT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 4 MB of pictures, some failures, and 1 MB of vectors."""
    folder = tmp_path / "pictures"
    cache = PictureCache(folder, "small")
    for start in range(0, COUNT, 20):
        cache.put(
            [
                FetchedPicture(url, "success", picture=bytes([n % 256]) * PICTURE_BYTES)
                for n, url in enumerate(URLS[start : start + 20], start=start)
            ]
        )
    cache.put([FetchedPicture("https://gone.test/", "failed_to_download", "http")])
    VectorCache(folder, "one").put({picture: bytes(5000) for picture in PICTURES})
    return folder


def measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_nothing_goes_from_a_cache_within_its_limit(folder: Path) -> None:
    cleaning = limit_caches(folder, 10e6)

    assert cleaning.removed_count == 0
    assert 4e6 < cleaning.used_bytes < 10e6
    assert PictureCache(folder, "small").read(URLS).keys() == set(URLS)


def test_the_oldest_pictures_go_first_and_their_room_is_free(folder: Path) -> None:
    cleaning = limit_caches(folder, 3e6)

    left = PictureCache(folder, "small").read(URLS)
    assert set(left) == set(URLS[-len(left) :])
    assert 0 < len(left) < COUNT
    assert cleaning.removed_count == COUNT - len(left)
    assert cleaning.used_bytes <= 3e6
    assert measure(folder) < 3.2e6
    assert len(VectorCache(folder, "one").read(PICTURES)) == COUNT


def test_vectors_go_after_the_pictures_and_failures_stay_known(folder: Path) -> None:
    limit_caches(folder, 0.5e6)

    cache = PictureCache(folder, "small")
    assert cache.read([*URLS, "https://gone.test/"]).keys() == {"https://gone.test/"}
    left = VectorCache(folder, "one").read(PICTURES)
    assert set(left) == set(PICTURES[-len(left) :])
    assert 0 < len(left) < COUNT
    limit_caches(folder, 0)
    assert VectorCache(folder, "one").read(PICTURES) == {}
    assert list(cache.find_missing(["https://gone.test/"])) == []


def test_nothing_goes_while_a_run_uses_it(folder: Path) -> None:
    with use_caches(folder), use_caches(folder):
        cleaning = limit_caches(folder, 0)
        assert (cleaning.is_in_use, cleaning.removed_count) == (True, 0)
    assert limit_caches(folder, 0).removed_count == 2 * COUNT


def test_there_need_be_no_cache(tmp_path: Path) -> None:
    assert limit_caches(tmp_path / "none", 0).used_bytes == 0
    assert not (tmp_path / "none").exists()
