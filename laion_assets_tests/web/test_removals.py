"""What is on the list of removals is on no page: all answers are those of a release without it."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from laion_assets.embeddings.encoder import open_encoder
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.releases.catalog import find_release
from laion_assets.releases.hidden_rows import holds_removed_rows
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import bring_vectors
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import read_removals, refresh
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow

# Host, caption, and whether it is removed: by its URL, its host, its id, or its picture.
ROWS = (
    ("kept.test", "a lemur by Ana Fox", False),
    ("kept.test", "a lemur by Ana Fox once more", True),
    ("i.gone.test", "a lemur from afar", True),
    ("gone.test", "two lemurs by Ana Fox", True),
    ("also.test", "a lemur with an id", True),
    ("also.test", "a red lemur", False),
    ("pictured.test", "a lemur with a picture by Bo Hare", True),
    ("kept.test", "a lemur by Ana Fox", False),
    ("last.test", "no such animal", False),
)
URLS = [f"https://{host}/{row}.jpg" for row, (host, _, _) in enumerate(ROWS)]
CAPTIONS = [caption for _, caption, _ in ROWS]
PICTURES = [paint(row) for row in range(len(ROWS))]
GONE = [row for row, (_, _, is_gone) in enumerate(ROWS) if is_gone]
KEPT = [row for row in range(len(ROWS)) if row not in GONE]
PICTURE = hashlib.sha256(PICTURES[6]).hexdigest()


def name_id(row: int) -> str:
    url, caption = URLS[row].encode(), CAPTIONS[row].encode()
    digest = hashlib.md5(b"%d:%s%s" % (len(url), url, caption), usedforsecurity=False).hexdigest()
    return str(int(digest[:16], 16) >> 1)


ENTRIES = ("HTTP://kept.test:80/1.jpg#x", "*.gone.test", name_id(4), PICTURE.upper())


def fill(settings: Settings) -> str:
    """Releases the rows, with pictures and vectors."""
    bring_vectors(
        settings,
        "s",
        [[row % 3, row % 5, 9.0 - row] for row in range(len(ROWS))],
        url=URLS,
        caption=CAPTIONS,
        image=pa.array(PICTURES, pa.binary()),
        aesthetic=pa.array([row / 2 for row in range(len(ROWS))], pa.float32()),
        punsafe=pa.array([0.9 if row in {2, 5} else 0.1 for row in range(len(ROWS))], pa.float32()),
        width=[100 + row for row in range(len(ROWS))],
        height=[100] * len(ROWS),
        license=["by" if row % 2 else "by-sa" for row in range(len(ROWS))],
    )
    stores = LanceStore(settings.lance_dir), RawStore(settings.raw_dir)
    add_pictures(Database(settings.database), *stores, "s", "run")
    return refresh(settings)


@dataclass(frozen=True)
class Sites:
    """Two sites.

    Attributes:
        hiding: of a release that has the rows, and that is not the newest.
        without: of one that never had them.
        hiding_tag: of the one.
        without_tag: of the other.
    """

    hiding: Site
    without: Site
    hiding_tag: str
    without_tag: str


@contextmanager
def serve(settings: Settings, encoder: Path) -> Iterator[Site]:
    shelf = Shelf(LanceStore(settings.lance_dir), encoder=open_encoder(str(encoder)))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder = tmp_path_factory.mktemp("removals")
    encoder = EncoderFiles().write(folder / "encoder")
    names = {"artists": ("Ana Fox", "Bo Hare"), "characters": ("Red",), "celebrities": ("animal",)}
    settings = []
    for name in ("hiding", "without"):
        (folder / name).mkdir()
        settings.append(make_settings(folder / name, **names))
    hiding, without = settings
    old = fill(hiding)
    read_removals(hiding, *ENTRIES)
    read_removals(without, *map(name_id, GONE))
    new = fill(without)
    with serve(hiding, encoder) as one, serve(without, encoder) as other:
        yield Sites(one, other, old, new)


# How well the words fit depends on all captions, and so do the numbers of a record.
VARYING = {
    *("took_ms", "score", "content_sha256", "released_at", "release", "cite", "run_id"),
    *("source", "source_sha256", "loaded_at", "made_at"),
}


def strip(value: Any) -> Any:
    """Returns an answer without what differs between two releases of the same rows."""
    if isinstance(value, dict):
        return {name: strip(item) for name, item in value.items() if name not in VARYING}
    return [strip(item) for item in value] if isinstance(value, list) else value


PAGES = [
    "/index.json",
    "/search.json?q=lemur&sort=aesthetic",
    "/search.json?q=lem*&sort=width_asc&max_punsafe=1",
    "/search.json?q=-red+lemur&sort=aesthetic",
    "/search.json?q=lemur&fold=on&sort=aesthetic",
    "/search.json?q=site:gone.test",
    "/search.json?q=afar",
    "/search.json?q=lemurz",
    "/search.json?domain=kept.test",
    "/search.json?domain=gone.test",
    "/search.json?where=width+%3E+100&sort=aesthetic",
    "/search.json?by=meaning&q=red",
    "/search.json?by=meaning&q=green&max_punsafe=1",
    "/search.json?by=both&q=lemur",
    "/search.json?by=meaning&like=s/0",
    "/domains.json",
    "/domains/kept.test.json",
    "/domains/i.gone.test.json",
    "/sites.json",
    "/sites/gone.test.json",
    "/sites/also.test.json",
    "/names/artists.json",
    "/names/artists/Ana%20Fox.json",
    "/names/artists/Bo%20Hare.json",
    "/compare.json?q=lemur&q=afar&q=Ana",
    "/lookup.json?url=https://kept.test/1.jpg",
    "/lookup.json?url=http://i.gone.test/2.jpg",
    "/lookup.json?url=https://kept.test/0.jpg",
    *(f"/images/s/{row}.json" for row in range(len(ROWS))),
    "/search.json?alike=s/1",
    "/search.json?alike=s/0",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_that_of_a_release_without_the_rows(sites: Sites, page: str) -> None:
    one, other = sites.hiding.get(page), sites.without.get(page)

    assert one.status_code == other.status_code
    if one.ok:
        assert strip(one.json()) == strip(other.json())


@pytest.mark.parametrize("path", ["/search{}?q=lemur&max_punsafe=1", "/domains{}", "/sites{}"])
def test_files_of_all_rows_are_without_them(sites: Sites, path: str) -> None:
    order = "&sort=aesthetic" if "?" in path else ""
    rows = []
    for site in (sites.hiding, sites.without):
        read = site.get(path.format(".ndjson") + order)
        rows.append(strip([json.loads(line) for line in read.text.splitlines()]))
    assert rows[0] == rows[1]
    csv = sites.hiding.get(path.format(".csv") + order).text
    table = pq.read_table(io.BytesIO(sites.hiding.get(path.format(".parquet") + order).content))
    assert table.num_rows == len(rows[0]) == csv.count("\n") - 1
    for text in (csv, str(table.to_pylist())):
        assert not any(word in text for word in ("afar", "gone.test", "once more"))


def test_pictures_are_hidden(sites: Sites) -> None:
    for row in range(len(ROWS)):
        path = f"/pictures/s/{row}.jpg?max_punsafe=1"
        assert sites.hiding.get(path).ok == (row in KEPT)


def test_programs_that_know_clip_retrieval_are_not_told_of_them(sites: Sites) -> None:
    near, described = [], []
    for site in (sites.hiding, sites.without):
        asked: dict[str, Any] = {"text": "red", "num_images": 40, "use_safety_model": False}
        found = requests.post(f"{site.url}/knn-service", json=asked, timeout=20).json()
        near.append([row["caption"] for row in found])
        for row in found:
            answer = requests.post(f"{site.url}/metadata", json={"ids": [row["id"]]}, timeout=20)
            described.append(answer.json()[0]["metadata"]["caption"])
    assert near[0] == near[1]
    assert described == near[0] + near[1]
    refused = [
        requests.post(f"{sites.hiding.url}/metadata", json={"ids": [row]}, timeout=20).status_code
        for row in range(len(ROWS))
    ]
    assert [row for row, status in enumerate(refused) if status != 200] == GONE


@pytest.mark.exhaustive
def test_a_list_that_comes_later_hides_at_once_and_in_old_releases(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, artists=["Ana Fox"])
    old = fill(settings)
    store = LanceStore(settings.lance_dir)
    shelf = Shelf(store)
    shelf.refresh()
    with run_site(build_app(shelf, refresh_interval_s=0.05)) as site:
        paths = ["/search.json?q=lemur", "/names/artists/Ana%20Fox.json", "/index.json"]
        before = [site.get(path) for path in paths]
        assert before[0].json()["total"] == 7
        assert not holds_removed_rows(store, find_release(store, old))
        assert site.get(f"/search.json?q=lemur&release={old}").json()["total"] == 7

        read_removals(settings, *ENTRIES)

        deadline = time.monotonic() + 60
        while site.get(paths[0]).json()["total"] != 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        after = [site.get(path) for path in paths]
        assert [page.json()["total"] for page in after[:2]] == [3, 2]
        assert after[2].json()["image_count"] == len(KEPT)
        assert site.get(f"/search.json?q=lemur&release={old}").json()["total"] == 3
        # What a browser or a proxy has kept is asked about, and is another.
        kept = {"If-None-Match": before[0].headers["etag"]}
        assert site.get(paths[0], **kept).status_code == 200
    assert holds_removed_rows(store, find_release(store, old))
    assert open_search(store, old).find("lemur").total == 3
    assert open_search(store, is_newest=True).find("lemur").total == 3
