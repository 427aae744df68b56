"""The search page in a real browser: what a person clicks, and what hostile captions try."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from laion_assets_tests.web.conftest import SCRIPT, Released

pytestmark = pytest.mark.slow

PHONE = {"width": 360, "height": 740}
ADDRESSES = (
    "/",
    "/search",
    "/search?q=lemur&max_punsafe=1&min_width=1",
    "/search?q=fox&view=grid",
    "/images/alpha/0",
    "/images/alpha/4",
    "/domains",
    "/domains/zoo.test",
    "/names/artists",
    "/names/artists/Ana%20Fox",
    "/releases",
    "/releases/{release}",
    "/about",
    "/nowhere",
)


@pytest.fixture
def visit(browser: Browser, released: Released) -> Iterator[Callable[..., Page]]:
    """Opens the site as a visitor with a browser of these properties; no other host is reached."""
    contexts = []

    def open_site(address: str = "/", **properties: Any) -> Page:
        context = browser.new_context(base_url=released.site.url, **properties)
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", lambda route: keep_here(route, released.site.url))
        page.goto(address.format(release=released.release))
        return page

    yield open_site
    for context in contexts:
        context.close()


def keep_here(route: Route, site: str) -> None:
    if route.request.url.startswith(site):
        route.continue_()
    else:
        route.abort()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without"])
def test_a_journalist_finds_the_foxes_by_clicking(
    visit: Callable[..., Page], has_scripts: bool
) -> None:
    page = visit(java_script_enabled=has_scripts)
    page.get_by_role("searchbox").fill("fox")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("90 images whose caption has fox")
    expect(page.locator("mark").first).to_have_text("fox")

    page.get_by_text("Filters").click()
    page.get_by_label("Aesthetic score at least").fill("8")
    page.get_by_label("Sort by").select_option("aesthetic score, highest first")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("10 images whose")
    expect(page.locator(".images li").first).to_contain_text("a fox number 89")

    page.get_by_label("Aesthetic score at least").fill("")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Next").click()
    expect(page.locator(".pager")).to_contain_text("Page 2 of 5")
    page.locator(".images li .caption a").first.click()
    expect(page.get_by_role("row").filter(has_text="source file")).to_contain_text("beta.parquet")


def test_the_questions_of_the_seed_are_answered_by_clicking(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("link", name="Images per domain").click()
    row = page.get_by_role("row").filter(has_text="zoo.test")
    expect(row).to_contain_text("6")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("zoo.test")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Artists").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("Ana Fox")
    page.get_by_role("link", name="Ana Fox").click()
    expect(page.locator(".lead")).to_contain_text("90 images with this name")
    expect(page.locator(".images li")).to_have_count(20)


def test_domains_are_sorted_by_the_head_of_the_table(visit: Callable[..., Page]) -> None:
    page = visit("/domains?containing=.test")
    expect(page.get_by_role("row").nth(1)).to_contain_text("zoo.test")
    page.get_by_role("columnheader", name="Domain").get_by_role("link").click()

    expect(page.get_by_role("row").nth(1)).to_contain_text("host0.test")
    expect(page.locator("th[aria-sort]")).to_contain_text("Domain")


def test_hostile_captions_do_nothing(visit: Callable[..., Page]) -> None:
    page = visit("/search?q=lemur&max_punsafe=1")
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.get_by_role("button", name="Show pictures").click()

    expect(page.get_by_text(SCRIPT)).to_be_visible()
    expect(page).to_have_title("lemur · LAION captions")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.locator("[onerror]").count() == 0
    assert page.evaluate("document.scripts.length") == 0
    # The characters that turn the direction stay within their caption.
    assert page.locator(".caption").first.get_attribute("dir") == "auto"
    assert [error for error in errors if "ERR_FAILED" not in error] == []


def test_no_other_host_is_asked_until_pictures_are_on(visit: Callable[..., Page]) -> None:
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/search?q=fox")
    assert [url for url in asked if "host" in url.split("/")[2]] == []

    page.get_by_role("button", name="Show pictures").click()
    expect(page.get_by_role("button", name="Hide pictures")).to_be_visible()
    expect(page.locator(".images img").first).to_have_attribute("loading", "lazy")
    page.wait_for_function("document.images[0].complete")
    assert [url for url in asked if "host" in url.split("/")[2]]


def test_it_is_dark_where_the_visitor_likes_it_dark(visit: Callable[..., Page]) -> None:
    script = "getComputedStyle(document.body).backgroundColor"

    light, dark = (visit(color_scheme=scheme).evaluate(script) for scheme in ("light", "dark"))

    assert light == "rgb(255, 255, 255)"
    assert max(map(int, dark.removeprefix("rgb(").rstrip(")").split(","))) < 64


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_fits_a_phone_and_everybody_can_use_it(
    visit: Callable[..., Page], address: str
) -> None:
    for scheme in ("light", "dark"):
        page = visit(address, viewport=PHONE, color_scheme=scheme)
        found = Axe().run(page).response["violations"]

        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert [
            (violation["id"], [node["html"] for node in violation["nodes"]])
            for violation in found
            if violation["impact"] in {"serious", "critical"}
        ] == []
