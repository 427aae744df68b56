"""A share of a fetch has all URLs of its hosts, and waits for nobody."""

from collections import Counter
from pathlib import Path

import pytest

from laion_assets.pictures.fetching.rules import FetchRules
from laion_assets.pictures.fetching.shared_fetch import fetch_there, name_host, split_by_host
from laion_assets.settings import Settings
from laion_assets.stores.object_store import ObjectStore
from laion_assets.stores.picture_cache import PictureCache
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets_tests.raises import raises

URLS = [
    *(f"https://{'large' if n % 2 else f'small{n % 9}'}.test/{n}.jpg" for n in range(1000)),
    *("http://[", "no url"),
]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_all_urls_of_a_host_are_in_one_share_in_their_order(count: int) -> None:
    shares = split_by_host(50, URLS, count)

    assert len(shares) == count
    assert Counter(url for share in shares for url in share) == Counter(URLS)
    places = {(name_host(url), number) for number, share in enumerate(shares) for url in share}
    assert len(places) == len({host for host, _ in places})
    assert [list(share) for share in shares] == [
        [url for url in URLS if url in set(share)] for share in shares
    ]
    # The large host alone is half of all.
    assert min(map(len, shares)) >= len(URLS) / 2 / count * 0.7


def test_a_share_has_as_many_urls_as_are_worth_it() -> None:
    assert len(split_by_host(400, URLS, 7)) == 2
    assert split_by_host(2000, URLS, 7) == [URLS]
    assert split_by_host(1, ["https://a.test/1", "https://a.test/2"], 7) == [
        ["https://a.test/1", "https://a.test/2"]
    ]


def test_a_node_that_fetches_for_another_run_takes_no_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_DATA_DIR", str(tmp_path / "data"))
    chunks = ShardChunks(ObjectStore("s3://bucket/lance"), "a", "pictures", "size")
    folder = Settings.from_environment().picture_cache_dir

    with PictureCache(folder, "size").lock_fetch(), raises("fetch-node-busy"):
        fetch_there(FetchRules("a@b.org"), chunks, URLS)
