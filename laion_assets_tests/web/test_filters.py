"""Searches without a word: all images that a filter leaves."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from laion_assets_tests.web.site import Site


@pytest.mark.parametrize(
    ("bound", "is_in"),
    [
        ("min_width=150", lambda image: image["width"] >= 150),
        ("min_height=200", lambda _: True),
        ("min_aesthetic=6.1", lambda image: (image["aesthetic"] or 0) > 6.05),
        (
            "min_width=120&min_aesthetic=5",
            lambda i: i["width"] >= 120 and (i["aesthetic"] or 0) >= 5,
        ),
        ("where=width+%3E%3D+120+AND+width+%3C+170", lambda image: 120 <= image["width"] < 170),
    ],
)
def test_a_filter_alone_is_a_search(
    site: Site, bound: str, is_in: Callable[[dict[str, Any]], bool]
) -> None:
    everything = site.get("/search.ndjson?min_height=0&max_punsafe=1").text.splitlines()
    expected = list(filter(is_in, map(json.loads, everything)))
    order = "&max_punsafe=1&sort=width"

    found = site.get(f"/search.json?{bound}{order}").json()
    rows = list(map(json.loads, site.get(f"/search.ndjson?{bound}{order}").text.splitlines()))

    assert found["total"] == len(expected) > 0
    assert [row["width"] for row in rows] == sorted((r["width"] for r in expected), reverse=True)
    assert [image["url"] for image in found["images"]] == [row["url"] for row in rows[:20]]
    assert {row["url"] for row in rows} == {row["url"] for row in expected}
    assert f"{len(expected):,} image" in site.get(f"/search?{bound}&max_punsafe=1").text


@pytest.mark.exhaustive
def test_a_condition_that_cannot_be_used_is_refused_with_the_reason(site: Site) -> None:
    for where in ("width", "random() > 0.5", "width > 1) OR (true", "none = 1"):
        answer = site.get(f"/search.json?{urlencode({'where': where})}")
        assert answer.status_code == 400
        assert "where: " in answer.text
    query = urlencode({"where": "caption = '<b>'", "max_punsafe": 1})
    page = site.get(f"/search?{query}")
    assert page.status_code == 200
    assert "<b>" not in page.text


def test_what_hides_nothing_alone_is_no_search(site: Site) -> None:
    for nothing in ("", "?max_punsafe=1", "?sort=width", "?view=grid"):
        assert site.get(f"/search.json{nothing}").json()["total"] == 0
        assert "<h1>Search the captions</h1>" in site.get(f"/search{nothing}").text


def test_a_person_chooses_a_size_from_a_list(site: Site) -> None:
    page = site.get("/search?size=small&max_punsafe=1").text

    assert '<option value="">any</option><option value="small" selected>small (below 256' in page
    assert '<option value="huge">huge (from 1024 pixels)</option>' in page
    assert page.count('name="size"') == 1
