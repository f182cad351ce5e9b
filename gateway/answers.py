"""JSON answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from rota.errors import RotaError

_encoder = msgspec.json.Encoder()


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with a value as JSON: times as RFC 3339, bytes as base64.

    RotaError if it holds what JSON cannot, which only a job's result can be.
    """
    try:
        body = _encoder.encode(value)
    except (TypeError, RecursionError) as error:
        raise RotaError(f"The answer cannot be written as JSON: {error}") from error
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
