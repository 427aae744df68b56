import pytest

from laion_assets.pictures.fetching.consent import Robots, find_refusal


@pytest.mark.parametrize(
    "value",
    [
        *("noai", "noimageai", "noindex", "noimageindex", "noml", "none", "NoAI", " noai "),
        *("all, noai", "laion-assets: noai", "LAION-assets:noimageai", "*: noindex"),
        *("otherbot: noindex, laion-assets: noai", "unavailable_after: 2030-01-01, noai"),
        *("max-image-preview: large, noimageai", "laion-assets: nofollow, noai"),
    ],
)
def test_a_picture_that_is_refused_to_us_is_not_kept(value: str) -> None:
    assert find_refusal([value], []) == f"X-Robots-Tag: {value.strip()}"


@pytest.mark.parametrize(
    "value",
    [
        *("", "all", "nofollow", "noarchive", "index, follow", "otherbot: noai", "noaix"),
        *("otherbot: noindex, noai", "max-snippet: 5", "unavailable_after: 25 Jun 2030 15:00:00"),
    ],
)
def test_a_picture_that_is_not_refused_to_us_is_kept(value: str) -> None:
    assert find_refusal([value], []) is None


def test_each_header_counts() -> None:
    assert find_refusal(["all", "noai"], []) == "X-Robots-Tag: noai"


@pytest.mark.parametrize(("value", "is_refused"), [("1", True), (" 1 ", True), ("0", False)])
def test_reserved_rights_are_respected(value: str, is_refused: bool) -> None:
    assert bool(find_refusal([], [value])) == is_refused


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        (None, True),
        ("", True),
        ("User-agent: *\nDisallow: /", False),
        ("User-agent: *\nDisallow: /\nAllow: /pictures/", True),
        ("User-agent: *\nAllow: /\n\nUser-agent: laion-assets\nDisallow: /pictures/", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: laion-assets\nDisallow:", True),
        ("User-agent: *\nDisallow: /*.jpg$", False),
        ("User-agent: *\nDisallow: /*.png$", True),
        ("User-agent: Googlebot\nDisallow: /", True),
        ("<html>not found</html>", True),
    ],
)
def test_robots_txt_is_obeyed(text: str | None, is_allowed: bool) -> None:
    assert Robots(text).allows("http://a.test/pictures/1.jpg") == is_allowed
