"""How often a client may ask, and how much at once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.clients import SLOTS, ClientTable
from laion_assets.web.current_release import Shelf
from laion_assets.web.limits import (
    Limits,
    OverloadError,
    RequestRate,
    TooManyRequestsError,
    Workers,
)
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import run_site


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_client_may_save_up_ten_seconds_and_then_ask_so_often() -> None:
    clock = Clock()
    rate = RequestRate(2, clock)

    assert [rate.admit("a") for _ in range(22)] == [True] * 20 + [False] * 2
    assert rate.admit("b")
    clock.now += 1
    assert [rate.admit("a") for _ in range(3)] == [True, True, False]
    clock.now += 1000
    assert sum(rate.admit("a") for _ in range(100)) == 20


def test_the_addresses_of_an_ipv6_network_are_one_client() -> None:
    rate = RequestRate(0.01, Clock())

    assert rate.admit("2001:db8::1")
    assert not rate.admit("2001:db8:0:0:ffff::1")
    assert rate.admit("2001:db8:0:1::1")


@pytest.mark.exhaustive
def test_clients_of_long_ago_make_room_for_others() -> None:
    clock = Clock()
    rate = RequestRate(1, clock)
    for number in range(3 * SLOTS):
        assert rate.admit(str(number))
        clock.now += 0.01
    assert [rate.admit("a") for _ in range(11)] == [True] * 10 + [False]


def test_processes_count_the_same_clients_and_one_that_died_leaves_nothing_behind() -> None:
    block = ClientTable.share(2)
    one, other = ClientTable(block, 2, 0), ClientTable(block, 2, 1)
    one.begin(11)
    other.begin(12)
    clock = Clock()
    rates = [RequestRate(1, clock, table) for table in (one, other)]
    assert [rates[n % 2].admit("a") for n in range(11)] == [True] * 10 + [False]

    for table, count in ((one, 2), (other, 3)):
        client = table.look_up("b")
        assert client
        table.add(client, count)
    found = one.look_up("b")
    assert found
    assert (found.waiting, one.total, other.total) == (5, 5, 5)
    assert one.process_ids == [11, 12]

    ClientTable(block, 2, 1).begin(0)
    found = one.look_up("b")
    assert found
    assert (found.waiting, one.total, one.process_ids) == (2, 2, [11, 0])
    # What it was allowed is the client's still.
    assert not rates[0].admit("a")


@pytest.mark.exhaustive
def test_who_asks_too_often_is_refused_with_a_page_and_operators_are_not(
    released: Released,
) -> None:
    shelf = Shelf(LanceStore(released.settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf, Limits(per_second=0.001))) as site:
        first = site.get("/search?q=fox")
        page, data = site.get("/search?q=fox"), site.get("/search.json?q=fox")
        free = [site.get(path) for path in ("/healthz", "/metrics", "/static/style.css")]

    assert first.status_code == 200
    assert (page.status_code, data.status_code) == (429, 429)
    assert "ask more slowly" in page.text
    assert data.json()["status"] == 429
    assert page.headers["retry-after"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert [answer.status_code for answer in free] == [200] * 3


def test_who_got_no_answer_in_time_may_wait_on_each_connection_again() -> None:
    """Work that nobody waits for any more is still done, as nothing can stop it."""
    is_free = threading.Event()

    def work() -> str:
        is_free.wait()
        return "page"

    async def ask() -> list[str]:
        workers = Workers(Limits(running=2, per_client=4, timeout_s=0.01))
        late = await asyncio.gather(
            *(workers.run("a", work) for _ in range(4)), return_exceptions=True
        )
        assert [type(error) for error in late] == [OverloadError] * 4
        workers.limits = replace(workers.limits, timeout_s=60)
        again = [asyncio.create_task(workers.run("a", work)) for _ in range(4)]
        await asyncio.sleep(0)
        assert workers.waiting_count == 4
        with pytest.raises(TooManyRequestsError):
            await workers.run("a", work)
        is_free.set()
        return await asyncio.gather(*again)

    try:
        assert asyncio.run(ask()) == ["page"] * 4
    finally:
        is_free.set()


@pytest.mark.exhaustive
def test_as_many_connections_as_a_client_may_have_are_all_answered(released: Released) -> None:
    shelf = Shelf(LanceStore(released.settings.lance_dir))
    shelf.refresh()
    limits = Limits(running=1, per_client=4, timeout_s=60)
    with run_site(build_app(shelf, limits)) as site, ThreadPoolExecutor(4) as visitors:
        # Another page each time, as pages are kept.
        paths = [f"/search.json?q=fox&min_width={n}" for n in range(40)]
        answers = list(visitors.map(site.get, paths))

    assert [answer.status_code for answer in answers] == [200] * 40
