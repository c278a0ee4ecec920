"""Link-local, metadata, unspecified and multicast addresses are refused in whatever form; the others are not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.webhook.address import refusal

REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
ALLOWED = ["127.0.0.1", "::1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "fd12:3456::1", "93.184.216.34", "2606::1"]


@pytest.mark.parametrize("address", REFUSED)
def test_such_an_address_is_refused_with_a_reason(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address) is None


@given(st.integers(0, 2**16 - 1))
def test_every_link_local_address_is_refused_in_every_form(low: int) -> None:
    inner = int(IPv4Address("169.254.0.0")) + low
    assert refusal(str(IPv4Address(inner))) == "link-local"
    for prefix in ("::ffff:0:0", "64:ff9b::", "::"):
        assert refusal(str(IPv6Address(int(IPv6Address(prefix)) + inner))) == "link-local"


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(ValueError, match="hooks"):
        refusal("hooks.example.com")
