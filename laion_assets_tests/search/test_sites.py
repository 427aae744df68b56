"""What people write for a site is read as a host, or as all hosts below it."""

import pytest

from laion_assets.search.filter import SearchFilter
from laion_assets.search.sites import Place, read_place
from laion_assets_tests.raises import raises


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pinimg.com", Place("pinimg.com")),
        (" HTTPS://i.PinImg.com:8080/a?b#c ", Place("i.pinimg.com")),
        ("user:word@i.pinimg.com./x", Place("i.pinimg.com")),
        ("*.pinimg.com.", Place("pinimg.com", is_wild=True)),
        ("http://[2001:db8::1]:80/", Place("2001:db8::1")),
        ("2001:db8::1", Place("2001:db8::1")),
        ("192.0.2.1:80", Place("192.0.2.1")),
        ("nul\0.test", Place("nul\0.test")),
        ("...", Place("...")),
        *((text, None) for text in ("", " ", "//", "https://", "http://[", "*.", ":80", "/a")),
    ],
)
def test_a_host_is_read_from_it(text: str, place: Place | None) -> None:
    assert read_place(text) == place


def test_a_site_without_a_host_is_refused() -> None:
    with raises("filter-site-invalid"):
        _ = SearchFilter(site="https://").equalities


def test_quotes_in_a_host_stay_in_it() -> None:
    assert SearchFilter(site="it's.test").equalities.count("it''s.test") > 0
