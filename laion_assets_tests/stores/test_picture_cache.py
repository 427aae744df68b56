from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from laion_assets.stores.picture_cache import FetchedPicture, PictureCache

DONE = FetchedPicture("http://a.test/1", "success", picture=b"jpeg", width=3, height=4)
GONE = FetchedPicture("http://a.test/2", "failed_to_download", "http", "HTTP 404")
SILENT = FetchedPicture("http://a.test/3", "failed_to_download", "timeout", is_passing=True)
URLS = [result.url for result in (DONE, GONE, SILENT)]


@pytest.fixture
def cache(tmp_path: Path) -> PictureCache:
    return PictureCache(tmp_path / "pictures", "keep_ratio-256-90")


def test_what_was_kept_is_found(cache: PictureCache) -> None:
    cache.put([DONE, GONE])

    assert cache.read(URLS) == {DONE.url: DONE, GONE.url: GONE}
    assert list(cache.find_missing(URLS)) == [SILENT.url]


def test_nothing_is_known_before_the_first(cache: PictureCache) -> None:
    assert cache.read(URLS) == {}
    assert list(cache.find_missing(URLS)) == URLS
    assert not cache.folder.exists()


def test_only_what_may_pass_is_tried_again(cache: PictureCache) -> None:
    cache.put([DONE, GONE, SILENT])

    assert list(cache.find_missing(URLS)) == []
    assert list(cache.find_missing(URLS, is_retry=True)) == [SILENT.url]


def test_a_newer_result_replaces_the_older(cache: PictureCache) -> None:
    cache.put([SILENT])
    cache.put([replace(DONE, url=SILENT.url)])

    assert cache.read([SILENT.url])[SILENT.url].status == "success"


def test_another_size_is_another_picture(cache: PictureCache) -> None:
    cache.put([DONE])

    assert PictureCache(cache.folder, "keep_ratio-512-90").read([DONE.url]) == {}


def test_a_batch_is_kept_whole_or_not_at_all(cache: PictureCache) -> None:
    bad = replace(GONE, message=object())  # type: ignore[arg-type]

    with pytest.raises(Exception, match="type 'object' is not supported"):
        cache.put([DONE, bad])
    assert cache.read(URLS) == {}


@pytest.mark.slow
def test_many_write_and_read_at_once(cache: PictureCache) -> None:
    def work(n: int) -> int:
        results = [replace(DONE, url=f"http://a.test/{n}/{i}") for i in range(700)]
        cache.put(results)
        return len(cache.read([result.url for result in results]))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [700] * 8
