"""Finds a browser and opens a page in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Returns the path of the browser of this machine; Playwright may have one of its own."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_page(playwright: Playwright, path: str) -> Iterator[Page]:
    """Opens a page in the browser at this path."""
    # A browser of root, as in a container, refuses to start with its sandbox.
    arguments = [] if os.getuid() else ["--no-sandbox"]
    with playwright.chromium.launch(executable_path=path, args=arguments) as browser:
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
