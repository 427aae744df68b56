"""Pages of a release whose shards have labels in place of a probability, or nothing."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.web.conftest import make_settings
from laion_assets_tests.web.site import Site, run_site

LABELS = ("UNLIKELY", "NSFW", "UNSURE", None)
PAGES = ("/search", "/domains/zoo.test", "/sites/zoo.test", "/names/artists/Ana%20Fox")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of four images without a probability, of which two are labelled unsafe."""
    settings = make_settings(tmp_path_factory.mktemp("safety") / "laion")
    path = settings.data_dir / "shards" / "labels.parquet"
    path.parent.mkdir(parents=True)
    columns = {
        "url": [f"https://zoo.test/{row}.jpg" for row in range(4)],
        "caption": [f"a lemur {row} by Ana Fox" for row in range(4)],
        "nsfw": LABELS,
    }
    pq.write_table(pa.table(columns), path)
    load(settings, "labels", path)
    copy(settings, "labels")
    refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


@pytest.mark.parametrize("page", PAGES)
def test_what_is_labelled_unsafe_is_hidden_and_the_rest_has_no_score(
    labelled: Site, page: str
) -> None:
    mark = "&" if (q := "?q=lemur" if page == "/search" else "") else "?"
    found = labelled.get(f"{page}.json{q}").json()
    everything = labelled.get(f"{page}.json{q}{mark}max_punsafe=1").json()
    text = " ".join(labelled.get(page + q).text.split())
    files = labelled.get(f"{page}.csv{q}").text.splitlines()

    assert [found[name] for name in ("total", "hidden", "shown", "unscored")] == [4, 2, 2, 2]
    assert [everything[name] for name in ("total", "hidden", "unscored")] == [4, 0, None]
    assert {image["row_index"] for image in found["images"]} == {0, 3}
    assert len(files) == 3
    assert "that their source labels NSFW or UNSURE. <strong>2 of the others have no score" in text


def test_the_page_of_a_hidden_image_says_why(labelled: Site) -> None:
    hidden = labelled.get("/images/labels/1")
    told = labelled.get("/images/labels/1.json").json()

    assert "its source labels it <em>NSFW</em>" in hidden.text
    assert "lemur" not in hidden.text
    assert (told["is_hidden"], told["punsafe"], told["nsfw"]) == (True, None, "NSFW")
    assert "lemur" in labelled.get("/images/labels/1?max_punsafe=1").text
    assert "lemur" in labelled.get("/images/labels/3").text


def test_a_hidden_image_is_not_looked_up(labelled: Site) -> None:
    hidden = labelled.get("/lookup.json?url=https://zoo.test/2.jpg").json()
    shown = labelled.get("/lookup.json?url=https://zoo.test/0.jpg").json()

    assert (hidden["images"], hidden["hidden"], hidden["unscored"]) == ([], 1, 0)
    assert (len(shown["images"]), shown["hidden"], shown["unscored"]) == (1, 0, 1)
