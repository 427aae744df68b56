"""Starts whatever browser is installed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoBrowserError(Exception):
    """There is no browser; the message says how to get one."""


@contextmanager
def launch_browser() -> Iterator[Browser]:
    """Starts the browser of this machine, or the one that Playwright installed.

    Raises:
        NoBrowserError: there is none.
    """
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        path = found or playwright.chromium.executable_path
        if not Path(path).exists():
            raise NoBrowserError("install Debian's chromium, or `playwright install chromium`")
        # A browser of root, as in a container, refuses to start with its sandbox.
        arguments = [] if os.getuid() else ["--no-sandbox"]
        with playwright.chromium.launch(executable_path=path, args=arguments) as browser:
            yield browser
