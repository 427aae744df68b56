"""Dagster's web UI in a real browser: what a person clicks, and what is there to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from laion_assets.settings import REPOSITORY
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.integration.web_ui import WebUi, run_web_ui

SHARDS = {"alpha": 3, "beta": 4, "gamma": 5}
# The daemon looks for backfills every 30 seconds: to start one, and to see that it is done.
PATIENCE_MS = 120_000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a desktop's size."""
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield page
        expect.set_options(timeout=None)


@pytest.fixture
def web_ui(shell: Shell, tmp_path: Path) -> Iterator[WebUi]:
    """What `make dev` starts, over three shards, of which `alpha` has been fetched."""
    source = Path(shell.variables["LAION_SHARDS"]).parent
    source.mkdir()
    for shard, rows in SHARDS.items():
        (source / f"{shard}.parquet").write_bytes(make_shard(shard, rows))
    fetch = "dagster asset materialize -m laion_assets.definitions --select raw_shards --partition"
    for command in ("laion discover", f"{fetch} alpha"):
        result = shell.run(*command.split())
        assert result.returncode == 0, result.stderr
    log = tmp_path / "log.txt"
    with run_web_ui(["dagster", "dev"], REPOSITORY, shell.forked_environment, log) as web_ui:
        yield web_ui


def choose_shards(page: Page, *shards: str) -> None:
    """Fills in the dialog that asks for partitions."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition").click()
    for shard in shards:
        dialog.get_by_text(shard, exact=True).first.click()
    page.keyboard.press("Escape")


def find_figure(page: Page, label: str) -> Locator:
    """Returns the row of the table of metadata with this label."""
    return page.get_by_role("row").filter(has=page.get_by_text(label, exact=True)).first


# What Dagster does at these clicks is shown by `test_daemon.py`.
@pytest.mark.exhaustive
def test_a_person_materializes_a_shard_and_backfills_two(
    page: Page, web_ui: WebUi, shell: Shell
) -> None:
    page.goto(f"{web_ui.url}/assets/images")
    page.get_by_role("button", name="Materialize").first.click()
    choose_shards(page, "alpha")
    page.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()

    page.goto(f"{web_ui.url}/assets/images?view=partitions&partition=alpha")
    expect(page.get_by_text("Materialized (1)")).to_be_visible()
    expect(find_figure(page, "dagster/partition_row_count")).to_contain_text("3")
    expect(find_figure(page, "rejected")).to_contain_text("0")

    page.goto(f"{web_ui.url}/locations/{web_ui.location}/jobs/ingest_shards")
    page.get_by_role("button", name="Materialize all").click()
    choose_shards(page, "beta", "gamma")
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_text("100% completed")).to_be_visible()
    assert count_rows(shell.settings)[0] == SHARDS
