"""Shares of vectors have each picture once, and are all of one encoder."""

from pathlib import Path

import pytest

from laion_assets.embeddings.encoder import open_encoder
from laion_assets.embeddings.shared_vectors import embed_there, split_evenly
from laion_assets.stores.object_store import ObjectStore
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.raises import raises


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [10]), (2, [5, 5]), (3, [4, 4, 2]), (9, [3, 3, 3, 1])]
)
def test_each_picture_is_in_one_share(count: int, sizes: list[int]) -> None:
    pictures = [(f"{n}", n) for n in range(10)]

    shares = split_evenly(3, pictures, count)

    assert [len(share) for share in shares] == sizes
    assert [placed for share in shares for placed in share] == pictures


@pytest.mark.slow
def test_a_node_with_another_encoder_computes_nothing(tmp_path: Path) -> None:
    folder = EncoderFiles().write(tmp_path)
    chunks = ShardChunks(ObjectStore("s3://bucket/lance"), "a", "vectors", "another")

    with raises("encoder-differs-between-nodes"):
        embed_there(lambda: open_encoder(str(folder)), chunks, 1, 10, [("0", 0)])
