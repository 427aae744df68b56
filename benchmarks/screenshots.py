"""Takes the pictures of the README: the graph, the page of `images`, and the search page.

Run `make screenshots` after `make demo`, whose history is what they show. It needs Chromium.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import FloatRect, Page, expect

from benchmarks.serve import run_laion
from laion_assets.settings import REPOSITORY, Settings
from laion_assets_tests.browser import launch_browser
from laion_assets_tests.integration.web_ui import WebUi, run_web_ui

FOLDER = REPOSITORY / "docs" / "images"
SHARD = "train-00003-of-00007-36440e2d83f7fb02"
GROUPS = ("names", "shards", "counts", "release")
LIMIT_MS = 60_000


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dagster", "dev"]
    environment = {**os.environ, "PWD": str(REPOSITORY)}
    with (
        tempfile.TemporaryDirectory() as folder,
        run_web_ui(command, REPOSITORY, environment, Path(folder) / "log.txt") as web_ui,
        launch_browser() as browser,
        browser.new_page() as page,
    ):
        page.set_default_timeout(LIMIT_MS)
        expect.set_options(timeout=LIMIT_MS)
        take_graph(page, web_ui)
        take_asset(page, web_ui)
        take_search(page, Settings.default(REPOSITORY / "data"))


def take_graph(page: Page, web_ui: WebUi) -> None:
    """Takes the lineage of all assets, each with its state."""
    # Smaller, the assets are shown by their names alone.
    page.set_viewport_size({"width": 3000, "height": 2200})
    groups = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"{web_ui.url}/asset-groups?expanded={quote(groups)}")
    expect(page.get_by_text("lance_images", exact=True).first).to_be_visible()
    expect(page.get_by_text("Loading")).to_have_count(0)
    page.wait_for_load_state("networkidle")
    # Without the navigation on the left and the slider on the right.
    save(page, "graph.png", clip={"x": 600, "y": 190, "width": 2340, "height": 1720})


def take_asset(page: Page, web_ui: WebUi) -> None:
    """Takes the figures of one partition of `images`."""
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"{web_ui.url}/assets/images?view=partitions&partition={SHARD}")
    expect(page.get_by_text("dagster/partition_row_count").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    # Up to the row that names a folder of this machine.
    source = page.get_by_role("cell", name="source", exact=True).bounding_box()
    assert source
    save(page, "images.png", clip={"x": 0, "y": 0, "width": 1400, "height": source["y"] - 4})


def take_search(page: Page, settings: Settings) -> None:
    """Takes a search by meaning in the light, and the first page on a phone in the dark."""
    with run_laion(settings) as (url, _):
        page.set_viewport_size({"width": 1000, "height": 620})
        page.goto(f"{url}/search?q=red+boat+at+sunset&by=meaning&view=grid")
        page.wait_for_load_state("networkidle")
        save(page, "search.png")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 700})
        page.goto(f"{url}/")
        save(page, "search-phone.png")


def save(page: Page, name: str, clip: FloatRect | None = None) -> None:
    path = FOLDER / name
    page.screenshot(path=path, clip=clip)
    print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
