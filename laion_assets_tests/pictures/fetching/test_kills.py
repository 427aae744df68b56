"""A fetch that is killed loses a few seconds of work, and nothing else."""

import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures
from laion_assets.stores.picture_cache import PictureCache
from laion_assets_tests.pictures.fetching.test_fetch_pictures import RULES, draw
from laion_assets_tests.servers.picture_server import Names, picture, serve_pictures, status

URLS = 400
PICTURE = draw()


def fetch(folder: Path, urls: list[str]) -> None:
    """What the killed process does: it fetches what the cache does not know."""
    cache = PictureCache(folder, RULES.sizes.name)
    fetch_pictures(cache.find_missing(urls), RULES, cache.put, Names())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=pytest.mark.exhaustive)], ids=["two kills", "twenty kills"]
)
def test_a_killed_fetch_goes_on_where_it_was(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)  # noqa: S311
    context = multiprocessing.get_context("forkserver")
    with serve_pictures() as server:
        gone = {f"/{n}.jpg": status(404) for n in range(0, URLS, 10)}
        server.answers |= {f"/{n}.jpg": picture(PICTURE) for n in range(URLS)} | gone
        urls = [server.url(f"/{n}.jpg", f"{n % 20}.test") for n in range(URLS)]
        for _ in range(kills):
            process = context.Process(target=fetch, args=(tmp_path, urls))
            process.start()
            wanted = len(server.asked) + chance.randrange(URLS // kills)
            while process.is_alive() and len(server.asked) < wanted:
                time.sleep(0.005)
            process.kill()
            process.join()
            known = PictureCache(tmp_path, RULES.sizes.name).read(urls)
            assert all(result.picture or result.reason for result in known.values())
        fetch(tmp_path, urls)
        asked = Counter(place for place in server.asked if "robots" not in place)

    found = PictureCache(tmp_path, RULES.sizes.name).read(urls)
    assert Counter(found[url].reason for url in urls) == {None: 360, "http": 40}
    assert len({found[url].picture for url in urls}) == 2
    assert len(asked) == URLS
    # What was told to the cache is not asked for again, whenever the kill came.
    assert max(asked.values()) <= kills + 1
