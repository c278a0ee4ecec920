"""Where the webhook may lead: everywhere but to link-local, metadata, unspecified and multicast addresses.

Such an address answers a machine in the name of its cloud or its network, keys included. Loopback and private ones are
allowed: a mail relay of one's own is there. Names are looked up elsewhere; here are addresses alone.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_REASONS = {
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "multicast": ("224.0.0.0/4", "ff00::/8", "255.255.255.255/32"),
    # AWS and its containers, Alibaba Cloud, Oracle Cloud, Azure's host, Google Cloud
    "a cloud's metadata": ("fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd20:ce::/64"),
}
REFUSED: list[tuple[Network, str]] = [
    (ip_network(text), reason) for reason, texts in _REASONS.items() for text in texts
]

_CARRIERS = tuple(
    IPv6Network(text)
    # mapped, compatible, translated (RFC 2765), NAT64 (RFC 6052 and 8215): the last four bytes are an IPv4 address
    for text in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)


def refusal(text: str) -> str | None:
    """Why nothing is sent to an address, such as ``link-local``; None when it may be.

    Args:
        text: an IPv4 or IPv6 address, a zone behind ``%`` included.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    return next((reason for inner in _meant(address) for network, reason in REFUSED if inner in network), None)


def _meant(address: Address) -> list[Address]:
    """The address, and any IPv4 address inside that a network may take it for."""
    if isinstance(address, IPv4Address):
        return [address]
    # without its zone, which no network contains
    plain = IPv6Address(int(address))
    carried: list[Address] = [plain]
    if any(plain in network for network in _CARRIERS) and int(plain) > 1:
        carried.append(IPv4Address(int(plain) & 0xFFFF_FFFF))
    if plain.sixtofour is not None:
        carried.append(plain.sixtofour)
    if plain.teredo is not None:
        carried.append(plain.teredo[1])
    return carried
