from ipaddress import ip_network

import pytest

from laion_assets.pictures.fetching.addresses import check_address, check_host
from laion_assets.pictures.fetching.rules import FetchError, FetchRules, Reason

RULES = FetchRules("a@b.org", denied_hosts=frozenset({"denied.test"}))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("2002:a9fe:a9fe::", "2001:db8::1", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(FetchError, match="which is not public") as refusal:
        check_address("h.test", address, RULES)

    assert refusal.value.reason is Reason.PRIVATE_ADDRESS
    assert not refusal.value.is_passing


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_a_public_address_is_used(address: str) -> None:
    check_address("h.test", address, RULES)


def test_a_network_of_ones_own_can_be_allowed() -> None:
    rules = FetchRules("a@b.org", allowed_networks=(ip_network("10.0.0.0/8"),))

    check_address("h.test", "10.1.2.3", rules)
    with pytest.raises(FetchError):
        check_address("h.test", "127.0.0.1", rules)


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "017700000001", "1.2.3.4.5"])
def test_a_number_that_only_the_system_reads_as_an_address_is_refused(host: str) -> None:
    with pytest.raises(FetchError, match="neither a name nor an address"):
        check_host(host, RULES)


@pytest.mark.parametrize("host", ["denied.test", "a.DENIED.test", "a.b.denied.test."])
def test_a_denied_host_is_never_asked(host: str) -> None:
    with pytest.raises(FetchError, match="is never to be asked"):
        check_host(host, RULES)


@pytest.mark.parametrize("host", ["notdenied.test", "test", "denied.test.org"])
def test_another_host_is_asked(host: str) -> None:
    check_host(host, RULES)
