"""A subset is served as a release is, whatever columns it has."""

from collections.abc import Iterator

import pytest

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.subset_shelf import SubsetShelf
from laion_assets_tests.conftest import copy_made, make_settings
from laion_assets_tests.pipeline import read_removals
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
from laion_assets_tests.web.test_removals import strip

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
        *(
            "/search.csv?q=lemur",
            "/search?q=lemur&shard=a&min_width=100",
            "/domains/a.test",
            "/sites/a.test",
        ),
        *("/compare?q=lemur", "/lookup?url=https://a.test/1.jpg"),
    )
    for path in paths:
        answer = site.get(path)
        assert answer.status_code == 200, path
    assert f"Subset {subset.name} of release" in site.get("/").text


@pytest.mark.exhaustive
def test_captions_are_found_with_their_rows_and_pictures(
    site: Site, made: Settings, subset: DeclaredSubset
) -> None:
    table = LanceStore(made.lance_dir).open(subset.name).to_table().to_pylist()
    answer = site.get("/search.json?q=fox").json()
    expected = sorted(row["caption"] for row in table if "fox" in row["caption"])
    assert answer["shown"] == len(expected) > 3
    captions = {image["caption"] for image in answer["images"]}
    assert captions <= set(expected)
    by_url = {row["url"]: row for row in table}
    for image in answer["images"]:
        row = by_url[image["url"]]
        assert image["domain"] in ("a.test", "b.test")
        assert image["page"].startswith("/images/few/" if subset is FEW else "/images/")
        assert site.get(f"{image['page']}.json").json()["image"]["caption"] == row["caption"]
        assert (image["picture"] is not None) == (row["image"] is not None)
        if image["picture"]:
            assert site.get(image["picture"]).content == row["image"]
        like = f"/search.json?like={image['shard']}/{image['row_index']}"
        assert site.get(like).status_code == (400 if row["img_emb"] is None else 200)


def test_a_host_is_that_of_the_address(site: Site, made: Settings, subset: DeclaredSubset) -> None:
    table = LanceStore(made.lance_dir).open(subset.name).to_table(["url"]).to_pylist()
    count = sum("//a.test/" in row["url"] for row in table)
    assert 0 < count < len(table)
    assert site.get("/domains/a.test.json").json()["image_count"] == count
    assert site.get("/search.json?domain=a.test").json()["shown"] == count
    assert site.get("/search.json?site=b.test").json()["shown"] == len(table) - count
    facets = site.get("/search.json?site=a.test").json()["facets"]["facets"]
    assert {"name": "domain", "values": count} in [
        {"name": each["name"], "values": each["values"][0]["image_count"]} for each in facets
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("subset", [FEW, EVERY], ids=lambda subset: str(subset.name))
def test_what_comes_onto_the_list_of_removals_is_hidden_at_once(
    made: Settings, settings: Settings, subset: DeclaredSubset
) -> None:
    settings = copy_made(made, settings)
    shelf = SubsetShelf(LanceStore(settings.lance_dir), subset.name)
    shelf.refresh()
    row = shelf.current.search.find("lemur -fox").hits[0]
    paths = (
        *("/search.json?q=lemur", "/domains.json", "/sites.json", "/search.json?domain=b.test"),
        "/search.json?q=-fox+lemur&sort=width_asc&fold=on",
    )

    with run_site(build_app(shelf)) as site:
        etag = site.get("/search.json?q=lemur").headers["etag"]
        page = f"/images/{row['shard']}/{row['row_index']}.json"
        assert site.get(page).ok
        read_removals(settings, str(row["url"]), "b.test")
        assert (shelf.refresh(), shelf.refresh()) == (True, False)
        hiding = [strip(site.get(path).json()) for path in paths]
        assert site.get(page).status_code == 404
        assert site.get("/search.json?q=lemur", **{"If-None-Match": etag}).status_code == 200
        assert row["url"] not in (csv := site.get("/search.csv?q=lemur").text)
        assert "b.test" not in csv

    # All answers are those of the subset that has none of these rows.
    rows = LanceStore(settings.lance_dir).open(subset.name).count_rows()
    LanceStore(settings.lance_dir).open(subset.name).tags.delete(shelf.current.manifest.release)
    assert make(settings, subset).record.row_count < rows
    without = SubsetShelf(LanceStore(settings.lance_dir), subset.name)
    without.refresh()
    assert without.current.image_count == shelf.current.image_count
    assert (shelf.current.hidden_count > 5, without.current.hidden_count) == (True, 0)
    with run_site(build_app(without)) as site:
        if subset is EVERY:
            assert hiding == [strip(site.get(path).json()) for path in paths]
        else:
            # Without shard and place, an address is the row's own in its table.
            totals = [site.get(path).json().get("total") for path in paths]
            assert [answer.get("total") for answer in hiding] == totals


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
