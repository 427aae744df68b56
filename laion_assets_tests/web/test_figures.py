"""What the search page tells of itself to programs that watch it."""

import json
import re

import pytest

from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.figures import write_visit
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site, run_site


def read_figures(site: Site) -> dict[str, float]:
    """Returns each figure with its labels, as Prometheus would read them."""
    answer = site.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def open_shelf(settings: Settings) -> Shelf:
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    return shelf


def count_answers(site: Site, page: str, status: int) -> float:
    return read_figures(site).get(f'laion_requests_total{{page="{page}",status="{status}"}}', 0)


@pytest.mark.parametrize(
    ("address", "page", "status"),
    [
        ("/search?q=lemur", "search", 200),
        ("/search.json?q=lemur", "search", 200),
        ("/search?q=lemur&page=0", "search", 400),
        ("/names/nobody", "names", 404),
        ("/nowhere", "none", 404),
        ("/healthz", "health", 200),
    ],
)
def test_each_answer_is_counted_by_page_and_status(
    site: Site, address: str, page: str, status: int
) -> None:
    before = count_answers(site, page, status)
    assert site.get(address).status_code == status
    assert count_answers(site, page, status) == before + 1


def test_the_times_of_answers_are_counted(site: Site) -> None:
    site.get("/about")
    figures = read_figures(site)
    assert figures['laion_request_seconds_count{page="about"}'] >= 1
    assert figures['laion_request_seconds_sum{page="about"}'] > 0


def test_a_page_that_was_kept_is_counted(site: Site) -> None:
    site.get("/search?q=lemur")
    before = read_figures(site)["laion_kept_pages_total"]
    site.get("/search?q=lemur")
    assert read_figures(site)["laion_kept_pages_total"] == before + 1


def test_the_release_that_is_shown_is_named(released: Released) -> None:
    about = released.site.get("/releases.json").json()["releases"][0]
    figures = read_figures(released.site)
    (named,) = (name for name in figures if name.startswith("laion_release{"))
    assert f'release="{about["release"]}"' in named
    assert re.search('content_sha256="[0-9a-f]{64}"', named)
    health = released.site.get("/healthz").json()
    assert health == {
        "status": "ok",
        "release": about["release"],
        "images": figures["laion_release_images"],
    }


@pytest.mark.exhaustive
def test_health_is_bad_until_there_is_a_release(settings: Settings) -> None:
    shelf = Shelf(LanceStore(settings.lance_dir))
    with run_site(build_app(shelf, refresh_interval_s=0.05)) as site:
        answer = site.get("/healthz")
        assert answer.status_code == 503
        assert "no release" in answer.text
        assert answer.headers["retry-after"]
        assert not any(name.startswith("laion_release") for name in read_figures(site))

        ingest(settings, "a", "a fox")
        refresh(settings)
        shelf.refresh()
        assert site.get("/healthz").json()["images"] == 1


@pytest.mark.exhaustive
def test_the_log_has_a_line_for_each_request(
    released: Released, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_site(build_app(open_shelf(released.settings), log_visit=write_visit)) as site:
        answer = site.get("/search?q=red%0Afox", **{"user-agent": 'a "browser"'})
        site.get("/nowhere")
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["bytes"] == int(answer.headers["content-length"])
    assert first["ms"] > 0
    asked = {key: first[key] for key in ("client", "method", "path", "query", "status", "agent")}
    assert asked == {
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/search",
        "query": "q=red%0Afox",
        "status": 200,
        "agent": 'a "browser"',
    }
    assert (second["path"], second["status"], second["page"]) == ("/nowhere", 404, "none")


@pytest.mark.slow
def test_nobody_is_logged_unless_it_is_asked_for(
    released: Released, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_site(build_app(open_shelf(released.settings))) as site:
        site.get("/search?q=lemur")
    assert capsys.readouterr().out == ""


def find_expressions(node: object) -> list[str]:
    """Returns all that a dashboard asks Prometheus for."""
    if isinstance(node, list):
        return [each for child in node for each in find_expressions(child)]
    if not isinstance(node, dict):
        return []
    inner = [each for child in node.values() for each in find_expressions(child)]
    return [node["expr"], *inner] if "expr" in node else inner


def test_the_dashboard_asks_for_figures_that_are_there(released: Released) -> None:
    dashboard = json.loads((REPOSITORY / "deploy" / "grafana.json").read_text("utf-8"))
    expressions = find_expressions(dashboard)
    asked = {name for each in expressions for name in re.findall(r"\b(?:laion|process)_\w+", each)}
    released.site.get("/search?q=lemur")
    there = {name.partition("{")[0] for name in read_figures(released.site)}

    assert len(asked) > 10
    assert asked - there == set()
    # Each panel asks for something, at a place of its own.
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert all(panel["targets"] for panel in dashboard["panels"])
    assert len(set(places)) == len(places)
    assert all(f"laion_{name}" in asked for name in ("requests_total", "release_images"))
