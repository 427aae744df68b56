"""The search page in a real browser: how it looks, and what hostile captions try."""

from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect
from starlette.responses import HTMLResponse

from laion_assets_tests.web.conftest import SCRIPT, Released
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.exhaustive

PHONE: ViewportSize = {"width": 360, "height": 740}
SCREENS: tuple[ViewportSize, ...] = (
    PHONE,
    {"width": 390, "height": 844},
    {"width": 768, "height": 1024},
    {"width": 1280, "height": 800},
    {"width": 1920, "height": 1080},
)
ADDRESSES = (
    "/",
    "/search?q=lemur&max_punsafe=1&min_width=1",
    "/search?q=fox&view=grid",
    "/images/alpha/0",
    "/domains",
    "/compare?q=fox&q=lemur",
    "/lookup",
    "/releases/{release}",
    "/nowhere",
    "/embed/search?q=fox",
)
# They have the parts of those above.
SIMILAR_ADDRESSES = (
    "/search",
    "/search?q=nothing",
    "/images/alpha/4",
    "/domains/zoo.test",
    "/sites",
    "/sites/zoo.test",
    "/lookup?url=https://i.pinimg.com/a/1.jpg",
    "/names/artists",
    "/names/artists/Ana%20Fox",
    "/releases",
    "/about",
    "/embed/about",
)
WIDE_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><path d="M0 0h30v20H0z"/></svg>'
)
# All rules in the light; in the dark only colours are others.
SCHEMES: dict[Literal["light", "dark"], dict[str, list[str]]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}
Visit = Callable[..., Page]


def test_domains_are_sorted_by_the_head_of_the_table(visit: Visit) -> None:
    page = visit("/domains?containing=.test")
    expect(page.get_by_role("row").nth(1)).to_contain_text("zoo.test")
    page.get_by_role("columnheader", name="Domain").get_by_role("link").click()

    expect(page.get_by_role("row").nth(1)).to_contain_text("host0.test")
    expect(page.locator("th[aria-sort]")).to_contain_text("Domain")


def test_hostile_captions_do_nothing(visit: Visit) -> None:
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
    # The only script is ours, in a file of its own.
    assert page.evaluate("[...document.scripts].map(s => s.src + s.text)") == [
        f"{site_of(page)}/static/page.js"
    ]
    assert page.locator("[style]").count() == 0
    # The characters that turn the direction stay within their caption.
    assert page.locator(".caption").first.get_attribute("dir") == "auto"
    assert [error for error in errors if "ERR_FAILED" not in error] == []


def test_no_other_host_is_asked_until_pictures_are_on(visit: Visit) -> None:
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/search?q=fox")
    assert [url for url in asked if "host" in url.split("/")[2]] == []

    show_pictures(page)
    expect(page.locator(".images img").first).to_have_attribute("loading", "lazy")
    expect(page.locator(".images img").first).to_have_js_property("complete", True)
    assert [url for url in asked if "host" in url.split("/")[2]]


def test_it_is_dark_where_the_visitor_likes_it_dark(visit: Visit) -> None:
    script = "getComputedStyle(document.body).backgroundColor"

    light, dark = (visit(color_scheme=scheme).evaluate(script) for scheme in ("light", "dark"))

    assert light == "rgb(255, 255, 255)"
    assert max(map(int, dark.removeprefix("rgb(").rstrip(")").split(","))) < 64


def site_of(page: Page) -> str:
    """Returns what comes before the path of a page."""
    parts = urlsplit(page.url)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.mark.parametrize("view", ["list", "grid"])
def test_the_first_image_is_in_the_upper_third_of_the_screen(visit: Visit, view: str) -> None:
    page = visit(f"/search?q=lemur&sort=area&view={view}", viewport=PHONE)
    for screen in SCREENS:
        page.set_viewport_size(screen)
        box = page.locator(".images li").first.bounding_box()
        caption = page.locator(".images .caption").first.bounding_box()

        assert box
        assert caption
        assert max(box["y"], caption["y"]) < screen["height"] / 3, screen
        assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]


def test_the_box_to_search_in_has_room_at_every_width(visit: Visit) -> None:
    page = visit("/search?q=lemur")
    for width in range(320, 1920, 40):
        page.set_viewport_size({"width": width, "height": 800})
        box = page.get_by_role("searchbox").bounding_box()

        assert box
        assert box["width"] > width / 5, width


def show_pictures(page: Page, picture: str = WIDE_PICTURE) -> None:
    """Lets every host but ours answer with a picture, and turns pictures on."""
    site = site_of(page)

    def answer(route: Route) -> None:
        if route.request.url.startswith(site):
            route.continue_()
        elif picture:
            route.fulfill(body=picture, content_type="image/svg+xml")
        else:
            route.abort()

    page.unroute("**/*")
    page.route("**/*", answer)
    page.get_by_role("button", name="Show pictures").click()
    expect(page.get_by_role("button", name="Hide pictures")).to_be_visible()


def read_rows(page: Page) -> list[int]:
    """Returns how many tiles stand in each row."""
    tops = page.locator(".grid li").evaluate_all(
        "tiles => tiles.map(tile => Math.round(tile.getBoundingClientRect().top))"
    )
    return [tops.count(top) for top in sorted(set(tops))]


@pytest.mark.parametrize("has_pictures", [True, False])
def test_a_phone_has_three_columns_of_tiles(visit: Visit, has_pictures: bool) -> None:
    page = visit("/search?q=fox&view=grid", viewport=PHONE)
    if has_pictures:
        show_pictures(page)

    assert read_rows(page) == [3, 3, 3, 3, 3, 3, 2]


def test_a_tile_has_the_proportions_of_its_picture_whether_it_is_shown_or_not(
    visit: Visit,
) -> None:
    page = visit("/search?q=fox&view=grid&sort=width_asc", viewport=SCREENS[3])
    for is_shown in (False, True):
        if is_shown:
            show_pictures(page)
        boxes = page.locator(".grid .frame svg").evaluate_all(
            "found => found.map(s => s.getBoundingClientRect().width / s.clientHeight)"
        )
        # These are 100 to 119 pixels wide and 200 high; captions need some width.
        assert min(boxes) > 0.49
        assert max(boxes) < 0.8
        assert len(read_rows(page)) < 4, "several stand side by side"


def test_a_picture_leads_to_the_page_of_its_image(visit: Visit) -> None:
    for view in ("list", "grid"):
        page = visit(f"/search?q=fox&sort=aesthetic&view={view}")
        show_pictures(page)
        # Until then its place may still move.
        expect(page.locator(".images img").first).to_have_js_property("complete", True)
        box = page.locator(".images img").first.bounding_box()
        assert box
        page.mouse.click(box["x"] + 10, box["y"] + 10)
        expect(page).to_have_url(f"{site_of(page)}/images/beta/89")


@pytest.mark.parametrize("view", ["list", "grid"])
def test_a_picture_that_is_gone_leaves_its_place_to_the_caption(visit: Visit, view: str) -> None:
    page = visit(f"/search?q=fox&view={view}", viewport={"width": 1280, "height": 20_000})
    before = page.locator(".images li").first.bounding_box()
    show_pictures(page, picture="")

    expect(page.locator(".images img")).to_have_count(0)
    expect(page.locator(".images li").first).to_contain_text("a fox number")
    assert page.locator(".images li").first.bounding_box() == before


def test_what_is_focused_is_seen_and_a_slash_leads_to_the_search(visit: Visit) -> None:
    page = visit("/search?q=fox&view=grid")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.get_by_role("searchbox")).to_have_value("a/b")
    script = """() => {
        const link = document.activeElement, after = getComputedStyle(link, "::after");
        return [getComputedStyle(link).outlineStyle, after.outlineStyle].includes("solid")
            || getComputedStyle(link).outlineStyle;
    }"""
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate(script) is True, page.evaluate("document.activeElement.outerHTML")


def test_a_press_elsewhere_closes_what_the_tools_opened(visit: Visit) -> None:
    page = visit("/search?q=fox")
    page.get_by_text("Filters", exact=True).click()
    expect(page.get_by_label("Width at least")).to_be_visible()
    page.get_by_text("Sort: relevance").click()
    expect(page.get_by_label("Width at least")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="least relevant first")).to_be_hidden()


def test_a_print_from_the_dark_is_readable(visit: Visit) -> None:
    page = visit("/search?q=fox", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    colours = page.evaluate(
        "['h1', '.caption a', '.facts a'].map("
        "s => getComputedStyle(document.querySelector(s)).color)"
    )
    for colour in colours:
        assert max(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) < 110
    expect(page.locator(".tools")).to_be_hidden()


@pytest.mark.parametrize(
    "address",
    [*ADDRESSES, *(pytest.param(a, marks=pytest.mark.exhaustive) for a in SIMILAR_ADDRESSES)],
)
def test_a_page_is_light_fits_a_phone_and_everybody_can_use_it(
    visit: Visit, released: Released, address: str
) -> None:
    page = visit("about:blank", viewport=PHONE)
    sizes: dict[str, int] = {}
    page.on("response", lambda r: sizes.update({r.url: len(r.body())}))
    page.goto(address.format(release=released.release))
    page.wait_for_load_state("networkidle")

    assert sizes
    assert sum(sizes.values()) < 40_000, sizes
    for scheme, rules in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=rules).response["violations"]

        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []


def test_another_site_may_frame_a_card_and_nothing_else(browser: Browser, site: Site) -> None:
    frames = "".join(
        f'<iframe src="{site.url}{path}"></iframe>'
        for path in ("/embed/search?q=fox", "/search?q=fox")
    )
    with run_site(HTMLResponse(frames)) as other, browser.new_page() as page:
        page.goto(other.url)
        card = page.frame_locator("iframe").first
        expect(card.get_by_role("heading")).to_contain_text("images whose caption has fox")
        with page.context.expect_page() as opened:
            card.get_by_role("link", name="See the images").click()
        expect(opened.value.get_by_role("heading", level=1)).to_contain_text("90 images")
        assert page.frames[2].url.startswith("chrome-error:")
