"""Which ways to write a URL or a host are the same, and what an entry of the list is."""

import pytest

from laion_assets.errors import SheetError
from laion_assets.removals.entries import read_entry
from laion_assets.removals.matching import Matcher
from laion_assets.removals.removal_list import parse_list
from laion_assets.stores.removal_file import Removals
from laion_assets_tests.raises import raises

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def match(*entries: str) -> Matcher:
    content = "\n".join(["what", *(f'"{entry}"' for entry in entries)]).encode()
    return Matcher.of(Removals(entries=parse_list("list.csv", content).entries))


@pytest.mark.parametrize(
    "written",
    [
        "https://Example.COM/a%20b/C.jpg?x=1",
        "http://example.com/a%20b/C.jpg?x=1",
        "HTTPS://example.com:443/a b/C.jpg?x=1",
        "http://example.com:80/a%20b/C.jpg?x=1#part",
        "https://example.com./a%20b/C.jpg?x=1",
        "https://user:secret@example.com/a%20b/%43.jpg?x=1",
        " https://example.com/a%20b/C.jpg?x=1\n",
        "https://exa\tmple.com/a%20b/C.jpg?x=1",
        "//example.com/a%20b/C.jpg?x=1",
        "example.com/a%20b/C.jpg?x=1",
    ],
)
def test_a_url_is_the_same_however_it_is_written(written: str) -> None:
    plain = "https://example.com/a%20b/C.jpg?x=1"
    assert match(written.strip()).match_url(plain)
    if "//" in written:
        assert match(plain).match_url(written)


@pytest.mark.parametrize(
    "other",
    [
        "https://example.com/a%20b/c.jpg?x=1",
        "https://example.com/a%20b/C.jpg?x=2",
        "https://example.com/a%20b/C.jpg",
        "https://example.com:8080/a%20b/C.jpg?x=1",
        "https://www.example.com/a%20b/C.jpg?x=1",
        "https://example.com/a%2520b/C.jpg?x=1",
    ],
)
def test_another_url_is_another(other: str) -> None:
    assert match("https://example.com/a%20b/C.jpg?x=1").match_url(other) is None


def test_letters_beyond_ascii_are_the_same_as_their_escapes() -> None:
    matcher = match("https://bücher.example/é.jpg")
    assert matcher.match_url("http://xn--bcher-kva.example/%C3%A9.jpg")
    assert matcher.match_url("http://BÜCHER.example/%c3%a9.jpg")
    assert matcher.match_hosts(["xn--bcher-kva.example"]).suspected == ["xn--bcher-kva.example"]


def test_no_path_is_the_first_page() -> None:
    assert match("https://example.com").hosts == frozenset()
    assert match("https://example.com").match_url("http://example.com/")
    assert match("https://example.com").match_url("http://example.com/a") is None


def test_a_host_is_itself_and_with_a_star_all_below_it() -> None:
    one, below = match("Example.com"), match("*.example.com")
    assert one.match_host("example.com.")
    assert one.match_url("https://EXAMPLE.com:8080/a")
    assert one.match_host("www.example.com") is None
    assert below.match_host("example.com")
    assert below.match_host("a.b.example.com")
    assert below.match_host("badexample.com") is None
    assert below.match_host("com") is None


def test_ids_and_digests_are_told_from_hosts() -> None:
    matcher = match("123", MD5.upper(), "e3" * 32)
    assert matcher.image_ids == {123: "123"}
    assert matcher.pictures == {MD5, "e3" * 32}
    assert matcher.match_host("123.example") is None


@pytest.mark.parametrize(
    "text",
    ["", "lemur", "*.", "*", "a b.example", "me@example.com", str(2**63), "https://", "http:///a"],
)
def test_what_is_no_entry_is_none(text: str) -> None:
    assert read_entry(1, text) is None


@pytest.mark.parametrize(
    "content",
    [
        "what\nhttps://a.test/1.jpg\nb.test\n",
        "what,why\nhttps://a.test/1.jpg,asked\nb.test,court\n",
        "when;What\n1;https://a.test/1.jpg\n2;b.test\n",
        "https://a.test/1.jpg\nb.test\n",
        "the list\n\nhttps://a.test/1.jpg\nb.test\n",
        "url,why\nhttps://a.test/1.jpg,asked\nb.test,court\n",
        '"https://a.test/1.jpg"\n"b.test"\n',
        "what\nhttps://a.test/1.jpg\nhttp://A.test/1.jpg#x\n#N/A\nb.test\nB.test.\n",
    ],
)
def test_a_list_is_read_in_any_form(content: str) -> None:
    read = parse_list("list.csv", content.encode())
    assert [entry.kind for entry in read.entries] == ["url", "host"]


def test_a_url_with_commas_is_one_entry() -> None:
    for header in ("", "what\n"):
        content = f"{header}https://a.test/1,2.jpg\nb.test\nhttps://a.test/1,2,3.jpg\nc.test\n"
        matcher = Matcher.of(Removals(entries=parse_list("x", content.encode()).entries))
        assert matcher.match_url("https://a.test/1,2.jpg")
        assert matcher.match_url("https://a.test/1,2,3.jpg")
        assert matcher.match_url("https://a.test/1") is None


def test_lines_that_are_no_entry_are_told_and_the_others_hold() -> None:
    read = parse_list("list.csv", b"what\na.test\nnot a host\n\nb.test\n#REF!\n")
    assert [entry.line for entry in read.entries] == [2, 5]
    assert read.unread_lines == (3, 6)


def test_lists_that_have_two_readings_or_no_entry_are_refused() -> None:
    with raises("removals-columns-unclear"):
        parse_list("x", b"https://a.test/1,2.jpg\nhttps://a.test/3,4.jpg\n")
    for content in (b"what\n", b"", b"a list\n"):
        with pytest.raises(SheetError):
            parse_list("x", content)


def test_what_is_kept_of_an_entry_does_not_say_what_it_was() -> None:
    kept = repr(parse_list("x", b"what\nhttps://secret.test/name.jpg\nhidden.test\n"))
    assert "secret" not in kept
    assert "hidden" not in kept
