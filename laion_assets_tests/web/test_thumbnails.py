"""The pictures of a release on its pages, without asking any other host."""

import hashlib
import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import ColumnOrder, add_columns
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.web.conftest import make_settings
from laion_assets_tests.web.site import Site, run_site

SHARD = "a b"
COLUMNS = ColumnSet(
    "pictures",
    pa.schema(
        [("image", pa.large_binary()), ("picture_sha256", pa.string()), ("phash", pa.int64())]
    ),
)
# By row: the second and the third differ from the first in one bit and in six, the next in seven.
HASHES = (-1, -2, -1 ^ 0b111111, -1 ^ 0b1111111, 0, 0x5555555555555555, -1, None)


def encode(kind: str, size: tuple[int, int] = (60, 40)) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


# By row; the last but one is unsafe, the last has no picture.
PICTURES = (
    encode("JPEG"),
    encode("PNG"),
    encode("WEBP"),
    encode("GIF"),
    encode("PNG", (1200, 900)),
    b"\xff\xd8\xff" + b"<script>alert(1)</script>",
    encode("JPEG"),
    None,
)
UNSAFE = 6


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = make_settings(tmp_path_factory.mktemp("pictures") / "laion")
    path = settings.data_dir / "shards" / f"{SHARD}.parquet"
    path.parent.mkdir(parents=True)
    count = len(PICTURES)
    columns = {
        "url": [f"https://zoo.test/{row}.jpg" for row in range(count)],
        "caption": [f"a lemur {row}" for row in range(count)],
        "punsafe": [0.9 if row == UNSAFE else 0.0 for row in range(count)],
    }
    pq.write_table(pa.table(columns), path)
    load(settings, SHARD, path)
    copy(settings, SHARD)

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in keys:
            pictures = [PICTURES[row] for row in batch["row_index"].to_pylist()]
            hashes = [p and hashlib.sha256(p).hexdigest() for p in pictures]
            arrays = [
                pa.array(pictures, pa.large_binary()),
                pa.array(hashes, pa.string()),
                pa.array([HASHES[row] for row in batch["row_index"].to_pylist()], pa.int64()),
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=COLUMNS.schema)

    store = LanceStore(settings.lance_dir)
    order = ColumnOrder(SHARD, COLUMNS, ("row_index",), "test", "run")
    add_columns(Database(settings.database), store, order, compute)
    refresh(settings)
    shelf = Shelf(store)
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


@pytest.mark.exhaustive
@pytest.mark.parametrize(("row", "kind"), [(0, "jpeg"), (1, "png"), (2, "webp")])
def test_a_small_picture_is_sent_as_it_is(pictured: Site, row: int, kind: str) -> None:
    response = pictured.get(f"/pictures/a%20b/{row}.jpg")

    assert response.content == PICTURES[row]
    assert response.headers["content-type"] == f"image/{kind}"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("row", "size"), [(3, (60, 40)), (4, (683, 512))])
def test_another_kind_and_a_large_picture_are_made_a_small_jpeg(
    pictured: Site, row: int, size: tuple[int, int]
) -> None:
    response = pictured.get(f"/pictures/a%20b/{row}.jpg")

    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.size) == ("JPEG", size)
    assert response.headers["content-type"] == "image/jpeg"


def test_what_is_no_picture_is_never_a_page(pictured: Site) -> None:
    """The pipeline keeps no such bytes; if they are there, a browser cannot run them."""
    response = pictured.get("/pictures/a%20b/5.jpg")

    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_an_unsafe_picture_is_hidden_until_it_is_asked_for(pictured: Site) -> None:
    assert pictured.get(f"/pictures/a%20b/{UNSAFE}.jpg").status_code == 404
    shown = pictured.get(f"/pictures/a%20b/{UNSAFE}.jpg?max_punsafe=1")
    assert shown.content == PICTURES[UNSAFE]


@pytest.mark.parametrize(
    "path", ["a%20b/7", "a%20b/99", "none/0", "a%20b/x", "a%20b/-1", "a%20b/" + "9" * 30]
)
def test_there_is_no_picture_where_there_is_none(pictured: Site, path: str) -> None:
    assert pictured.get(f"/pictures/{path}.jpg").status_code == 404


def test_a_picture_is_asked_about_each_time(pictured: Site) -> None:
    tag = pictured.get("/index.json").json()["release"]
    pinned = pictured.get(f"/pictures/a%20b/0.jpg?release={tag}")
    newest = pictured.get("/pictures/a%20b/0.jpg")
    again = {"If-None-Match": newest.headers["etag"]}

    # It may have to be hidden within a minute.
    assert pinned.headers["cache-control"] == "public, no-cache"
    assert newest.headers["cache-control"] == "public, no-cache"
    assert pictured.get("/pictures/a%20b/0.jpg", **again).status_code == 304


@pytest.mark.parametrize(
    "page", ["/search?q=lemur", "/search?q=lemur&view=grid", "/sites/zoo.test"]
)
def test_pages_show_the_pictures_that_the_release_has(pictured: Site, page: str) -> None:
    text = pictured.get(page).text
    tag = pictured.get("/index.json").json()["release"]

    for row in range(UNSAFE):
        assert f'src="/pictures/a%20b/{row}.jpg?release={tag}"' in text
    assert f"/pictures/a%20b/{UNSAFE}.jpg" not in text
    assert "/pictures/a%20b/7.jpg" not in text
    assert 'src="https://' not in text


def test_programs_are_told_where_the_picture_is(pictured: Site) -> None:
    images = pictured.get("/search.json?q=lemur").json()["images"]

    found = {image["row_index"]: (image["has_picture"], image["picture"]) for image in images}
    assert found[0] == (True, "/pictures/a%20b/0.jpg")
    assert found[7] == (False, None)


def test_the_page_of_an_image_has_its_picture_and_no_bytes(pictured: Site) -> None:
    page = pictured.get("/images/a%20b/0")
    fields = pictured.get("/images/a%20b/0.json").json()["fields"]

    assert 'src="/pictures/a%20b/0.jpg' in page.text
    assert "image" not in fields
    assert fields["picture_sha256"] == hashlib.sha256(PICTURES[0] or b"").hexdigest()


def test_pictures_that_look_alike_are_shown_the_most_alike_first(pictured: Site) -> None:
    found = pictured.get("/images/a%20b/0.json").json()
    with_unsafe = pictured.get("/images/a%20b/0.json?max_punsafe=1").json()
    text = pictured.get("/images/a%20b/0").text

    assert [image["row_index"] for image in found["alike"]] == [1, 2]
    assert found["alike_count"] == 2
    assert [image["row_index"] for image in with_unsafe["alike"]] == [UNSAFE, 1, 2]
    assert "2 pictures look like this one" in text
    assert 'src="/pictures/a%20b/2.jpg' in text
    # JavaScript would round it.
    assert found["fields"]["phash"] == "-1"
    assert "has_picture" not in found["fields"]


@pytest.mark.parametrize("row", [4, 7])
def test_a_picture_that_is_like_no_other_says_nothing(pictured: Site, row: int) -> None:
    assert pictured.get(f"/images/a%20b/{row}.json").json()["alike"] == []
    assert "like this one" not in pictured.get(f"/images/a%20b/{row}").text
