"""Which addresses of the network a URL from outside may lead to: public ones, and no others."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohappyeyeballs import AddrInfoType

WITH_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
"""IPv6 addresses that end with an IPv4 address: NAT64, and what came before `::ffff:0:0/96`."""

SPECIAL = IPv4Network("192.0.0.0/24")
"""Addresses of protocols, all but a few of them private: clouds have their metadata there, too."""


class PrivateAddressError(OSError):
    """A connection would lead to an address that is not public."""

    def __init__(self) -> None:
        # Always the same text: where a name has several addresses, errors that differ are made into another one.
        super().__init__("not a public address")


def is_public(host: str) -> bool:
    """Say whether an IP address belongs to the public network; and so do those that it has in it.

    Private, loopback, link-local (where clouds have their metadata), multicast, reserved and unspecified ones
    do not.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, _all_in(address)))


def public_socket(address: AddrInfoType) -> socket.socket:
    """Return a socket for an address that a name was resolved to, right before it is connected."""
    family, type_, protocol, _, where = address
    if not is_public(str(where[0])):
        raise PrivateAddressError
    return socket.socket(family=family, type=type_, proto=protocol)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    return (
        address.is_global
        and address not in SPECIAL
        and not (address.is_private or address.is_multicast or address.is_reserved)
        and not (address.is_link_local or address.is_unspecified)
    )


def _all_in(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
        return
    for network in WITH_IPV4:
        if address in network:
            yield IPv4Address(int(address) & 0xFFFF_FFFF)
            return
    yield address
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
