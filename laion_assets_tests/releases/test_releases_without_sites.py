"""Releases from before there were sites are listed, searched, shown, compared and deleted."""

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.releases.catalog import find_release, list_releases
from laion_assets.releases.cleanup import delete_release
from laion_assets.releases.coverage import compare_counts, measure_coverage
from laion_assets.releases.diff import compare_releases
from laion_assets.releases.manifest import MANIFEST_KEY, Manifest, digest_content
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import SCHEMA_KEY
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.web.site import run_site

pytestmark = pytest.mark.slow

OLD = "old"


def ingest(settings: Settings, shard: str, *hosts: str) -> None:
    """Brings a shard with an image from each of these hosts to Lance."""
    path = settings.data_dir / "shards" / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://{host}/{row}.jpg" for row, host in enumerate(hosts)]
    captions = [f"fox {row}" for row in range(len(hosts))]
    pq.write_table(pa.table({"url": urls, "caption": captions}), path)
    load(settings, shard, path)
    copy(settings, shard)


@pytest.fixture
def store(settings: Settings) -> LanceStore:
    """The tables of a release as it was before `site_counts` and `registered_domain`."""
    ingest(settings, "a", "i.pinimg.com", "i.pinimg.com", "pinimg.com.")
    store = LanceStore(settings.lance_dir)
    new = find_release(store, refresh(settings))
    store.open("images").drop_columns(["registered_domain"])
    images = store.open("images")
    images.update_metadata({SCHEMA_KEY: "1"})
    images = store.open("images")
    versions = {
        **{table: v for table, v in new.lance_versions.items() if table != "site_counts"},
        "images": images.version + 1,
    }
    digests = {t: digest for t, digest in new.count_digests.items() if t != "site_counts"}
    changes = {
        "release": OLD,
        "lance_versions": versions,
        "row_counts": {t: n for t, n in new.row_counts.items() if t != "site_counts"},
        "count_digests": digests,
        "content_sha256": digest_content(new.shards, digests),
    }
    update = lance.LanceOperation.UpdateMap({"of": "before"})
    old: Manifest = new.model_copy(update=changes)
    operation = lance.LanceOperation.UpdateConfig(table_metadata_updates=update)
    properties = {MANIFEST_KEY: old.model_dump_json()}
    store.commit(
        "images",
        lance.Transaction(images.version, operation, transaction_properties=properties),
    )
    for table, version in versions.items():
        store.create_tag(table, OLD, version)
    delete_release(store, new.release)
    assert store.open("site_counts").tags.list() == {}
    return store


@pytest.mark.exhaustive
def test_it_is_listed_and_searched_by_site(store: LanceStore) -> None:
    assert [manifest.release for manifest in list_releases(store)] == [OLD]
    search = open_search(store)
    for site, total in (("pinimg.com", 3), ("*.pinimg.com", 3), ("i.pinimg.com", 2), ("com", 0)):
        assert search.browse(SearchFilter(site=site)).total == total, site
    assert search.find("fox", only=SearchFilter(site="pinimg.com")).total == 3
    assert search.find("fox site:*.pinimg.com -site:i.pinimg.com").total == 1


@pytest.mark.exhaustive
def test_its_sites_are_counted_when_it_is_shown(store: LanceStore) -> None:
    shelf = Shelf(store)
    shelf.refresh()
    sites = shelf.current.sites
    assert sites.select().to_pylist() == [
        {"registered_domain": "pinimg.com", "image_count": 3, "host_count": 2}
    ]
    assert sites.find("pinimg.com") == (3, 1)
    assert sites.select_hosts("pinimg.com").to_pylist() == [
        {"domain": "i.pinimg.com", "image_count": 2},
        {"domain": "pinimg.com.", "image_count": 1},
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/search?q=fox",
        "/search?q=fox&view=grid",
        "/images/a/0",
        "/sites",
        "/sites/pinimg.com",
        "/domains/i.pinimg.com",
        "/lookup?url=https://i.pinimg.com/0.jpg",
        "/compare?q=fox&q=hare",
        "/releases/old",
    ],
)
def test_its_pages_are_shown(store: LanceStore, path: str) -> None:
    shelf = Shelf(store)
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        found = site.get(path)
    assert found.status_code in {200, 302}, found.text


@pytest.mark.exhaustive
def test_its_checks_and_its_digest_leave_sites_out(store: LanceStore, settings: Settings) -> None:
    old = find_release(store)
    assert digest_content(old.shards, old.count_digests) == old.content_sha256
    differing = compare_counts(Database(settings.database), store, old)
    assert differing == {"domain_counts": 0, "entity_counts": 0}
    assert {c.table for c in measure_coverage(store, old)} <= {"images", *differing}


def test_the_next_release_has_sites_and_the_old_one_stays(
    store: LanceStore, settings: Settings
) -> None:
    ingest(settings, "a", "i.pinimg.com", "pinimg.com")
    new = refresh(settings)
    assert [manifest.release for manifest in list_releases(store)] == [new, OLD]
    assert find_release(store, new).row_counts["site_counts"] == 1
    assert compare_releases(store, OLD, new).image_count_after == 2
    assert open_search(store, new).browse(SearchFilter(site="pinimg.com")).total == 2
    delete_release(store, OLD)
    assert [manifest.release for manifest in list_releases(store)] == [new]


@pytest.mark.exhaustive
def test_rows_from_before_sites_are_found_beside_newer_ones(store: LanceStore) -> None:
    """The column was added, and only the shards that were loaded since have values."""
    images = store.open("images")
    images.add_columns({"registered_domain": "CAST(NULL AS STRING)"})
    search = CaptionSearch(store.open("images"), None)

    assert search.find("fox site:pinimg.com").total == 3
    assert search.find("fox -site:i.pinimg.com").total == 1
    assert search.browse(SearchFilter(site="*.pinimg.com")).total == 3
