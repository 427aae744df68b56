"""A subset is served as a release is, whatever columns it has."""

from collections.abc import Iterator

import pytest

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.subset_shelf import SubsetShelf
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.raises import raises
from laion_assets_tests.subsets.shards import (
    COLUMNS,
    bring_all,
    declare,
    make,
    make_rows,
    release,
)
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow

# As in the contract, and all of them.
CHOSEN = ("image_id", "url", "caption", "image", "img_emb", "split")
FEW = DeclaredSubset("few", where="width > 300", columns=CHOSEN)
EVERY = DeclaredSubset("every", search="lemur")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two subsets of one release."""
    settings = make_settings(tmp_path_factory.mktemp("made"))
    curation = declare(settings, COLUMNS)
    for shard in ("a", "b"):
        bring_all(settings, shard, make_rows(shard, 40), curation)
    release(settings, curation)
    for subset in (FEW, EVERY):
        make(settings, subset, "ratio", "is_wide")
    return settings


@pytest.fixture(scope="module", params=[FEW, EVERY], ids=lambda subset: str(subset.name))
def subset(request: pytest.FixtureRequest) -> DeclaredSubset:
    """One of them."""
    found: DeclaredSubset = request.param
    return found


@pytest.fixture(scope="module")
def site(made: Settings, subset: DeclaredSubset) -> Iterator[Site]:
    """A page over it."""
    shelf = SubsetShelf(LanceStore(made.lance_dir), subset.name)
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


def test_every_page_is_there(site: Site, made: Settings, subset: DeclaredSubset) -> None:
    table = LanceStore(made.lance_dir).open(subset.name)
    tag = next(iter(table.tags.list()))
    paths = (
        *("/", "/search?q=lemur", "/search?q=lemur&sort=aesthetic&fold=true", "/domains", "/sites"),
        *("/releases", f"/releases/{tag}", "/about", "/search?q=lemur&where=image_id+>+3"),
        *("/names", "/search?q=lemur&shard=a&min_width=100", "/domains/a.test", "/sites/a.test"),
        *("/compare?q=lemur", "/lookup?url=https://a.test/1.jpg"),
    )
    for path in paths:
        answer = site.get(path)
        missing = path.startswith(("/domains/", "/sites/")) and subset is FEW
        assert answer.status_code == (404 if missing else 200), path
    assert f"Subset {subset.name} of release" in site.get("/").text


def test_captions_are_found_with_their_rows_and_pictures(
    site: Site, made: Settings, subset: DeclaredSubset
) -> None:
    table = LanceStore(made.lance_dir).open(subset.name).to_table().to_pylist()
    answer = site.get("/search.json?q=fox").json()
    expected = sorted(row["caption"] for row in table if "fox" in row["caption"])
    assert sorted(hit["caption"] for hit in answer["hits"]) == expected[: len(answer["hits"])]
    assert answer["shown"] == len(expected) > 3
    by_url = {row["url"]: row for row in table}
    for hit in answer["hits"]:
        row = by_url[hit["url"]]
        address = f"{hit['shard']}/{hit['row_index']}"
        page = site.get(f"/images/{address}.json").json()
        assert page["image"]["caption"] == row["caption"]
        picture = site.get(f"/pictures/{address}.jpg")
        assert picture.status_code == (200 if row["image"] is not None else 404)
    assert site.get(f"/search.json?like={address}").json()["ranked"] >= 1 or row["img_emb"] is None


def test_a_subset_that_is_made_again_is_shown_at_the_next_look(made: Settings) -> None:
    store = LanceStore(made.lance_dir)
    make(made, DeclaredSubset("mine", limit=3, columns=CHOSEN))
    shelf = SubsetShelf(store, "mine")
    assert (shelf.refresh(), shelf.refresh()) == (True, False)
    first = shelf.state
    assert shelf.current.image_count == 3
    make(made, DeclaredSubset("mine", limit=4, columns=CHOSEN))
    assert shelf.refresh()
    assert (shelf.current.image_count, shelf.state != first) == (4, True)


def test_what_cannot_be_served_is_one_clear_line(made: Settings) -> None:
    store = LanceStore(made.lance_dir)
    with raises("serve-subset-missing"):
        SubsetShelf(store, "nothing").refresh()
    make(made, DeclaredSubset("bare", columns=("url",)))
    with raises("serve-subset-column"):
        SubsetShelf(store, "bare").refresh()
