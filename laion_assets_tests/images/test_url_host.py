import random
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow.parquet as pq
import pytest

from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.images.load import define_macros

RANDOM_URLS = 20_000
# Pieces that mean something to a URL parser, and some that only look so. No brackets: what Python
# makes of them depends on its version.
PIECES = (
    *("http://", "https://", "HTTP://", "//", ":", "/", "?", "#", "@", "\\", "%", ".", "-", "_"),
    *("example.com", "WWW.Example.ORG", "a", "B", "0", "80", ":80", "user:pw@", "%2F", "%C4%B0"),
    *("\t", "\n", "\r", " ", "\0", "\x1f", "\x7f", "\x85", "\xa0", "\u200b", "\ufeff", "\u2028"),
    *("é", "e\u0301", "İ", "ı", "ß", "ẞ", "ſ", "K", "Å", "Ⅻ", "ﬁ", "münchen", "葛飾", "🦊", "Ａ"),
    *("／", "：", "＠", "？", "＃", "℀", "⩴", "﹟", "。", "․"),
    *("data:", "javascript:", "ftp://", "x+y.z-1://", "1http://", "é://", "mailto:a@b"),
)
HOSTS = {
    "plain": ("https://example.com/a.jpg", "example.com"),
    "no path": ("https://example.com", "example.com"),
    "upper-case scheme": ("HTTPS://example.com/", "example.com"),
    "mixed-case host": ("http://WWW.Example.COM/A", "www.example.com"),
    "another scheme": ("ftp+x.y-z1://example.com/", "example.com"),
    "no scheme but slashes": ("//cdn.example.com/a.jpg", "cdn.example.com"),
    "no scheme at all": ("example.com/a.jpg", None),
    "no scheme, slashes later": ("example.com//other.com/a", None),
    "scheme that begins with a digit": ("1http://example.com/", None),
    "scheme that is not ASCII": ("é://example.com/", None),
    "colon alone": ("://example.com/", None),
    "one slash": ("http:/example.com/", None),
    "no slash": ("http:example.com", None),
    "three slashes": ("http:///example.com/", None),
    "user": ("http://user@example.com/", "example.com"),
    "user and password": ("http://user:pw@example.com:80/", "example.com"),
    "several @": ("http://a@b@c@example.com/", "example.com"),
    "@ in the path": ("http://example.com/a@b.com", "example.com"),
    "@ behind ?": ("http://example.com?x@evil.com", "example.com"),
    "@ and no host": ("http://user@/a", None),
    "port": ("http://example.com:8080/", "example.com"),
    "port that is no number": ("http://example.com:x/", "example.com"),
    "empty port": ("http://example.com:/", "example.com"),
    "port alone": ("http://:80/", None),
    "two colons": ("http://example.com:80:90/", "example.com"),
    "empty host": ("http:///", None),
    "scheme alone": ("http://", None),
    "slashes alone": ("//", None),
    "? after the host": ("http://example.com?x=/y", "example.com"),
    "# after the host": ("http://example.com#x/y", "example.com"),
    "leading blanks": ("  \u0000\u001fhttps://example.com/", "example.com"),
    "leading line break": ("\n\thttps://example.com/", "example.com"),
    "leading no-break space": ("\u00a0https://example.com/", None),
    "leading byte order mark": ("\ufeffhttps://example.com/", None),
    "tabs and line breaks inside": ("ht\ttp:/\n/exa\rmple.com\n/a", "example.com"),
    "blank inside": ("http://exa mple.com/", "exa mple.com"),
    "blank behind": ("http://example.com ", "example.com "),
    "control character inside": ("http://exa\u0001mple.com/", "exa\u0001mple.com"),
    "NUL inside": ("http://exa\u0000mple.com/", "exa\u0000mple.com"),
    "not ASCII": ("https://MÜNCHEN.example/", "münchen.example"),
    "Japanese": ("https://葛飾.example/", "葛飾.example"),
    "punycode": ("https://XN--MNCHEN-3YA.example/", "xn--mnchen-3ya.example"),
    "Turkish İ": ("http://İ.example/", "i\u0307.example"),
    "Turkish ı": ("http://I.ı.example/", "i.ı.example"),
    "Kelvin sign": ("http://\u212a.example/", "k.example"),
    "capital ẞ": ("http://STRAẞE.example/", "straße.example"),
    "percent sign": ("http://EX%2FAMPLE.com/", "ex%2FAMPLE.com"),
    "percent signs": ("http://A%B%C.com/", "a%B%C.com"),
    "percent first": ("http://%41.com/", "%41.com"),
    "backslash": ("http:\\\\example.com\\a", None),
    "backslash behind the host": ("http://example.com\\a/", "example.com\\a"),
    "data": ("data:image/png;base64,iVBORw0KGgo=", None),
    "data with slashes": ("data:text/html,//example.com/", None),
    "javascript": ("javascript:alert(1)", None),
    "javascript with slashes": ("javascript://example.com/%0aalert(1)", "example.com"),
    "mail": ("mailto:someone@example.com", None),
    "file": ("file:///etc/passwd", None),
    "Windows path": ("C:\\images\\a.jpg", None),
    "dot": ("http://./", "."),
    "dot at the end": ("http://example.com./", "example.com."),
    "underscore": ("http://my_host.example/", "my_host.example"),
    "IPv4": ("http://127.0.0.1:80/", "127.0.0.1"),
    "empty": ("", None),
    "words": ("not a url", None),
}
BRACKETS = {
    "IPv6": ("http://[2001:DB8::1]/", "2001:db8::1"),
    "IPv6 with port": ("http://[::1]:8080/", "::1"),
    "IPv6 with user": ("http://user:pw@[::1]/", "::1"),
    "IPv6 with IPv4": ("http://[::FFFF:1.2.3.4]/", "::ffff:1.2.3.4"),
    "IPv6 with zone": ("http://[FE80::1%25Eth0]/", "fe80::1%25Eth0"),
    "IPvFuture": ("http://[v1.Fe]/", "v1.fe"),
    "IPv4 in brackets": ("http://[1.2.3.4]/", None),
    "name in brackets": ("http://[example.com]/", None),
    "nothing in brackets": ("http://[]/", None),
    "no closing bracket": ("http://[::1/", None),
    "no opening bracket": ("http://::1]/", None),
    "reversed brackets": ("http://]::1[/", None),
    "doubled brackets": ("http://[[::1]]/", None),
    "text before": ("http://a[::1]/", None),
    "text behind": ("http://[::1]a/", None),
    "user in brackets": ("http://[user@::1]/", None),
    "brackets in the path": ("http://example.com/[a]", "example.com"),
    "bracket in the query": ("http://example.com?[", "example.com"),
}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        define_macros(connection)
        yield connection


def find_hosts(connection: duckdb.DuckDBPyConnection, urls: Sequence[str]) -> list[str | None]:
    """Returns the macro's hosts, by way of a column: constants could be folded elsewhere.

    A load finds them by the rough authority, which must give the same.
    """
    rows = connection.execute(
        "SELECT url_host(url), url_host('http://' || rough_authority(url) || '/') "
        "FROM (SELECT unnest($urls::VARCHAR[]) AS url, "
        "generate_subscripts($urls::VARCHAR[], 1) AS position) ORDER BY position",
        {"urls": list(urls)},
    ).fetchall()
    assert [row for row in rows if row[0] != row[1]] == []
    return [host for host, _ in rows]


def split_host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def assert_as_urlsplit(connection: duckdb.DuckDBPyConnection, urls: Sequence[str]) -> None:
    found = find_hosts(connection, urls)
    expected = [split_host(url) for url in urls]

    different = [d for d in zip(urls, found, expected, strict=True) if d[1] != d[2]]
    assert different == []


@pytest.mark.parametrize(("url", "host"), HOSTS.values(), ids=list(HOSTS))
def test_the_host_is_what_stands_between_user_and_port(
    connection: duckdb.DuckDBPyConnection, url: str, host: str | None
) -> None:
    assert find_hosts(connection, [url]) == [host]
    assert split_host(url) == host


@pytest.mark.parametrize(("url", "host"), BRACKETS.values(), ids=list(BRACKETS))
def test_brackets_hold_an_ipv6_address_or_the_url_is_refused(
    connection: duckdb.DuckDBPyConnection, url: str, host: str | None
) -> None:
    assert find_hosts(connection, [url]) == [host]


def test_no_url_has_no_host(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute("SELECT url_host(NULL)").fetchall() == [(None,)]


def test_characters_that_could_hide_another_host_are_refused(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Those that NFKC turns into a sign with a meaning in URLs."""
    confusables = [
        chr(code)
        for code in range(0x80, 0x20000)
        if set("/?#@:") & set(unicodedata.normalize("NFKC", chr(code)))
    ]

    assert len(confusables) > 10
    assert set(find_hosts(connection, [f"http://a{c}b.com/" for c in confusables])) == {None}


@pytest.mark.exhaustive
def test_generated_urls_have_the_host_that_python_finds(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    generator = random.Random(20)  # noqa: S311
    starts = ("http://", "https://", "//", "")
    urls = [
        generator.choice(starts) + "".join(generator.choices(PIECES, k=generator.randint(1, 8)))
        for _ in range(RANDOM_URLS)
    ]

    assert_as_urlsplit(connection, urls)
    assert 0.3 < sum(split_host(url) is not None for url in urls) / RANDOM_URLS < 0.9


def test_usual_urls_have_the_host_that_python_finds(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (shard,) = write_sample_shards(tmp_path, ["Claude Monet"], SampleSpec(1, 5_000))
    urls = pq.read_table(shard, columns=["URL"])["URL"].drop_null().to_pylist()

    assert len(urls) > 4_000
    assert_as_urlsplit(connection, urls)
