"""A socket that notices when the machine at its other end is gone, however long that may be silent otherwise."""

import socket

from aiohttp import AddrInfoType

PROBE_SECONDS = 15
GONE_SECONDS = 60
"""The other end is taken for gone if it has not confirmed for so long what was sent to it."""


def watched_socket(address: AddrInfoType) -> socket.socket:
    """Return a socket for an address; it is not connected."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", PROBE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_USER_TIMEOUT", 1000 * GONE_SECONDS),
    ):
        if option := getattr(socket, name, None):  # not every system has it
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
