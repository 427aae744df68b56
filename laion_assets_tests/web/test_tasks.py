"""What a journalist comes for, by clicking alone."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.web.conftest import PINS, ingest, make_settings, open_page
from laion_assets_tests.web.site import run_site

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"]),
]
Visit = Callable[..., Page]


def read_heading(page: Page) -> str:
    return " ".join(page.get_by_role("heading", level=1).inner_text().split())


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").first.fill(words)
    page.get_by_role("button", name="Search").click()


def test_images_of_a_site_with_its_hosts(visit: Visit, has_scripts: bool) -> None:
    page = visit(java_script_enabled=has_scripts)
    page.get_by_role("link", name="Images per site").click()
    row = page.get_by_role("row").filter(has_text="pinimg.com")
    expect(row).to_contain_text("3")
    row.get_by_role("link").click()

    assert read_heading(page) == "pinimg.com"
    expect(page.locator(".lead")).to_contain_text("3 images from 2 hosts")
    expect(page.get_by_role("row").filter(has_text="i.pinimg.com")).to_contain_text("2")
    page.get_by_role("link", name="Show 1 hidden").click()
    expect(page.locator(".images li")).to_have_count(3)


def test_images_of_a_name(visit: Visit, has_scripts: bool) -> None:
    page = visit(java_script_enabled=has_scripts)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Artists").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("90")
    page.get_by_role("link", name="Ana Fox").click()

    expect(page.locator(".lead")).to_contain_text("90 images with this name")
    expect(page.locator(".images li")).to_have_count(20)
    expect(page.locator("mark").first).to_have_text("Ana")


def test_a_phrase_large_and_safe_by_aesthetic_score(visit: Visit, has_scripts: bool) -> None:
    page = visit(java_script_enabled=has_scripts)
    search(page, '"by ana fox"')
    assert read_heading(page) == '90 images whose caption has "by ana fox"'

    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Width at least").fill("150")
    page.get_by_label("Hide above this unsafe probability").fill("0.1")
    page.get_by_role("button", name="Apply").click()
    assert read_heading(page).startswith('40 images whose caption has "by ana fox", at least 150')

    page.get_by_text("Sort: relevance").click()
    page.get_by_role("link", name="aesthetic score, highest first").click()
    expect(page.locator(".images li").first).to_contain_text("a fox number 89")
    expect(page.get_by_text("Sort: aesthetic score")).to_be_visible()
    assert read_heading(page).startswith("40 images"), "the filters stay"

    page.get_by_role("link", name="Tiles").click()
    expect(page.locator(".images.grid li").first).to_contain_text("a fox number 89")
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".pager")).to_contain_text("Page 2 of 2")
    page.locator(".images li").first.click()
    expect(page.get_by_role("row").filter(has_text="source file")).to_contain_text("beta.parquet")


def test_new_words_keep_order_and_filters(visit: Visit, has_scripts: bool) -> None:
    page = visit("/search?q=fox&sort=width&min_width=150", java_script_enabled=has_scripts)
    search(page, "number")

    assert read_heading(page) == "40 images whose caption has number, at least 150 pixels wide"
    assert page.url.endswith("/search?q=number&min_width=150&sort=width")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("link", name="Without filters").click()
    assert read_heading(page) == "90 images whose caption has number"
    assert page.url.endswith("/search?q=number&sort=width")


def test_a_link_that_shows_the_same_number_after_the_next_release(
    browser: Browser, tmp_path: Path, has_scripts: bool
) -> None:
    settings = make_settings(tmp_path / "laion")
    ingest(settings, "alpha", [("a fox", "https://a.test/1.jpg", 0.0, 5.0)])
    first = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with (
        run_site(build_app(shelf, refresh_interval_s=60)) as site,
        open_page(browser, site.url, java_script_enabled=has_scripts) as page,
    ):
        page.goto("/")
        search(page, "fox")
        page.get_by_text("Cite this").click()
        page.get_by_role("link", name="This address").click()
        address = page.url
        ingest(settings, "beta", [("another fox", "https://b.test/1.jpg", 0.0, 5.0)])
        refresh(settings)
        shelf.refresh()
        page.goto(address)
        assert read_heading(page) == "1 image whose caption has fox"
        expect(page.get_by_role("note")).to_contain_text(f"This address shows release {first}")
        page.get_by_role("link", name="Show the newest").click()
        assert read_heading(page) == "2 images whose caption has fox"


def test_a_file_with_all_rows(visit: Visit, has_scripts: bool, tmp_path: Path) -> None:
    page = visit(java_script_enabled=has_scripts)
    search(page, "fox")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    path = tmp_path / "fox.csv"
    download.value.save_as(path)

    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 90
    assert {row["caption"] for row in rows} == {f"a fox number {n} by Ana Fox" for n in range(90)}
    assert download.value.suggested_filename.startswith("laion-fox-")


def test_a_pasted_address(visit: Visit, has_scripts: bool) -> None:
    page = visit(java_script_enabled=has_scripts)
    page.get_by_role("link", name="Look up an address").click()
    page.get_by_label("Address of an image").fill(PINS[0])
    page.get_by_role("button", name="Look up").click()

    expect(page.locator(".lead")).to_contain_text("1 image with this address")
    expect(page.locator(".images li")).to_contain_text("a pin 0")
    page.get_by_role("link", name="3 from the site pinimg.com").click()
    assert read_heading(page) == "pinimg.com"
