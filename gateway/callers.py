"""Who asks, and under which idempotency key: what a request's headers say of it, over HTTP and over NATS."""

import re
from collections.abc import Mapping

from aiohttp import web
from msgspec import Struct

from rota.errors import InvalidRequestError
from rota.protocol import CALLER

KEY_HEADER = "Idempotency-Key"

NATS_CALLER = "nats"
"""A request over NATS does not say where it comes from."""

_CALLER = re.compile(r"[ -~]{1,128}")
_KEY = re.compile(r'"?([ !#-~]{1,256})"?')


class Asker(Struct, frozen=True):
    """Who asks: a name for the log, which nobody has checked, and the key under which a repeat is known."""

    caller: str
    key: str | None = None


def caller_of(request: web.Request) -> str:
    """Return who sent a request over HTTP: what it says itself, else its address."""
    return _named(request.headers) or f"http:{request.remote or 'unknown'}"


def http_asker(request: web.Request) -> Asker:
    """Return who asks over HTTP."""
    return Asker(caller_of(request), idempotency_key(request.headers))


def nats_asker(headers: Mapping[str, str]) -> Asker:
    """Return who asks over NATS."""
    return Asker(_named(headers) or NATS_CALLER, idempotency_key(headers))


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the `Idempotency-Key`, quoted or bare."""
    header = headers.get(KEY_HEADER)
    if header is None:
        return None
    found = _KEY.fullmatch(header)
    if not found:
        raise InvalidRequestError(f"The header {KEY_HEADER} takes 1 to 256 characters of ASCII without quotes")
    return found[1]


def _named(headers: Mapping[str, str]) -> str | None:
    """Return the caller that a request names; the prefix keeps it from passing for a part of Rota."""
    header = headers.get(CALLER)
    if header is None:
        return None
    if not _CALLER.fullmatch(header):
        raise InvalidRequestError(f"The header {CALLER} takes 1 to 128 printable characters of ASCII")
    return f"client:{header}"
