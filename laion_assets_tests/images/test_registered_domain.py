"""The registered domain of hosts, good and bad."""

import pytest

from laion_assets.images.registered_domain import map_hosts, registered_domain


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("i.pinimg.com", "pinimg.com"),
        ("pinimg.com", "pinimg.com"),
        ("i.pinimg.com.", "pinimg.com"),
        ("pinimg.com..", "pinimg.com"),
        ("192.0.2.1.", "192.0.2.1"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("a.b.c.kawasaki.jp", "b.c.kawasaki.jp"),
        ("www.city.kawasaki.jp", "city.kawasaki.jp"),
        ("www.ck", "www.ck"),
        ("my.blog.blogspot.com", "blog.blogspot.com"),
        ("someone.github.io", "someone.github.io"),
        ("www.食狮.公司.cn", "食狮.公司.cn"),
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
    ],
)
def test_a_host_belongs_to_what_somebody_registered(host: str, expected: str) -> None:
    assert registered_domain(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        *("192.0.2.1", "::1", "2001:db8::1", "localhost", "com", "co.uk"),
        *("blogspot.com", "www.host.unknownsuffix", ".com", "..com", "a..pinimg.com", "."),
        *("..", "...", "nul\0.test", "it's\0", " ", f"{'long.' * 60}test"),
    ],
    ids=repr,
)
def test_a_host_without_one_stands_for_itself(host: str) -> None:
    assert registered_domain(host) == host
    assert map_hosts([host, None]) == [host, None]
