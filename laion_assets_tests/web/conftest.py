"""A small release with what a page has to bear: hostile captions, missing values, many rows."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, Route

from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.web.site import Site, run_site

SCRIPT = "<script>document.title = 'owned'</script> lemur"
# What looks like another file name to people.
BACKWARDS = "lemur \u202egnp.exe\u202c"
LONG = "lemur " + "x" * 9_994
FORMULA = "=HYPERLINK(A1) lemur"
# Captions with a URL, its punsafe and its aesthetic score.
HOSTILE = {
    SCRIPT: ("https://zoo.test/1.jpg", 0.1, 5.0),
    BACKWARDS: ("https://zoo.test/2.jpg", 0.1, 6.0),
    LONG: ("https://zoo.test/3.jpg", None, 7.0),
    FORMULA: ('https://zoo.test/"onerror="alert(1)', 0.1, None),
    "an unsafe lemur": ("https://zoo.test/5.jpg", 0.9, 9.0),
    "a lemur by ftp": ("javascript://zoo.test/%0aalert(1)", 0.0, 4.0),
}
LONG_SHARD = "train-00000-of-00128-1cdb3aa0399f9fcc-filtered"
# Hosts that browsers cannot ask, but that rows have.
ODD_HOSTS = ("nul\0.test", "it's\0", ".", "..", "...")
# No image is from the host `pinimg.com` itself; the second is unsafe.
PINS = (
    "https://i.pinimg.com/a/1.jpg",
    "https://i.pinimg.com:443/a/2.jpg",
    "http://media.pinimg.com./3.jpg",
)
LONG_HOST = f"{'long.' * 60}test"
Rows: TypeAlias = Sequence[tuple[str, str, float | None, float | None]]
NAMES = {
    "artists": ("Ana Fox", "Nobody"),
    "characters": ("A/C", "<b>Bold</b>", "data.csv", "X\nY", ".", ".."),
}


def write_shard(folder: Path, shard: str, rows: Rows) -> Path:
    """Writes a shard with these captions, URLs, punsafe and aesthetic scores."""
    captions, urls, punsafe, aesthetic = zip(*rows, strict=True)
    path = folder / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "caption": captions,
        "url": urls,
        "punsafe": pa.array(punsafe, pa.float32()),
        "aesthetic": pa.array(aesthetic, pa.float32()),
        "width": pa.array([100 + row for row in range(len(rows))]),
        "height": pa.array([200] * len(rows)),
    }
    pq.write_table(pa.table(columns), path)
    return path


def make_settings(folder: Path) -> Settings:
    """Returns settings with two kinds of names."""
    folder.mkdir(exist_ok=True)
    sheets = {}
    for kind, names in NAMES.items():
        path = folder / f"{kind}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([name] for name in ("name", *names))
        sheets[kind] = str(path)
    return replace(Settings.default(folder / "data"), sheets=MappingProxyType(sheets))


def ingest(settings: Settings, shard: str, rows: Rows) -> None:
    """Brings a shard to Lance."""
    load(settings, shard, write_shard(settings.data_dir / "shards", shard, rows))
    copy(settings, shard)


@dataclass(frozen=True)
class Released:
    """A site, and the release that it shows."""

    site: Site
    settings: Settings
    release: str


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """The site of a release with four shards; nobody changes it."""
    settings = make_settings(tmp_path_factory.mktemp("web") / "laion")
    hostile = [(caption, *rest) for caption, rest in HOSTILE.items()]
    foxes = [
        (f"a fox number {n} by Ana Fox", f"https://host{n % 30}.test/{n}.jpg", 0.0, n / 10)
        for n in range(90)
    ]
    ingest(settings, "alpha", hostile)
    ingest(settings, "beta", foxes)
    ingest(settings, LONG_SHARD, [("a bird", f"https://{LONG_HOST}/1.jpg", 0.0, 5.0)])
    odd = [(f"an odd host {host!r}", f"https://{host}/1.jpg", 0.0, 5.0) for host in ODD_HOSTS]
    odd += [(f"a pin {n}", url, 0.9 * (n == 1), 5.0) for n, url in enumerate(PINS)]
    ingest(settings, "odd", odd)
    release = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield Released(site, settings, release)


@pytest.fixture
def site(released: Released) -> Site:
    """The site of that release."""
    return released.site


@pytest.fixture
def visit(browser: Browser, released: Released) -> Iterator[Callable[..., Page]]:
    """Opens the site as a visitor with a browser of these properties; no other host is reached."""
    with ExitStack() as contexts:

        def open_site(address: str = "/", **properties: Any) -> Page:
            page = contexts.enter_context(open_page(browser, released.site.url, **properties))
            page.goto(address.format(release=released.release))
            return page

        yield open_site


@contextmanager
def open_page(browser: Browser, site: str, **properties: Any) -> Iterator[Page]:
    """Opens a page of a browser with these properties, which reaches no other host."""
    with browser.new_context(base_url=site, **properties) as context:
        page = context.new_page()
        page.route("**/*", lambda route: keep_here(route, site))
        yield page


def keep_here(route: Route, site: str) -> None:
    if route.request.url.startswith(site):
        route.continue_()
    else:
        route.abort()
