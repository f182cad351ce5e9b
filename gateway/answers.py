"""JSON answers."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.encodings import JSON
from gateway.messages import CommandResponse


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with a value as JSON: times as RFC 3339, bytes as base64.

    RotaError if it holds what JSON cannot, which only a job's result can be.
    """
    return web.Response(body=JSON.encode(value), status=status, headers=headers, content_type=JSON.media_type)


def answer_command(response: CommandResponse) -> web.Response:
    """Return a response with what became of a command: 202 as long as that is not known."""
    return answer(response, 200 if response.status == "done" else 202)
