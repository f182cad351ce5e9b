"""Errors as problem documents (RFC 9457)."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from rota.errors import InvalidRequestError, Problem, RotaError, TooLargeError

TYPE_BASE = "https://rota.dev/problems/"
MAX_FAULTS = 100
"""Places that one answer names; nobody looks for more, though a list of 10,000 jobs may have them."""

log = logging.getLogger("rota.gateway")


class Faults:
    """What is wrong with a request, collected so that all of it is told at once."""

    def __init__(self) -> None:
        self._invalid: list[Problem] = []
        self._too_large: list[Problem] = []

    def add(self, pointer: str, detail: str) -> None:
        """Note what is wrong at a place."""
        self._invalid.append(Problem(detail, pointer))

    def add_too_large(self, pointer: str, detail: str) -> None:
        """Note what is over a limit at a place."""
        self._too_large.append(Problem(detail, pointer))

    @property
    def enough(self) -> bool:
        """Whether no more need to be looked for."""
        return len(self._invalid) + len(self._too_large) >= MAX_FAULTS

    def refusal(self) -> RotaError:
        """Return InvalidRequestError, or TooLargeError if nothing else is wrong, with all places."""
        found = self._invalid + self._too_large
        count = "1 place" if len(found) == 1 else f"{len(found)} places"
        if self.enough:
            count = f"at least {MAX_FAULTS} places"
        error = InvalidRequestError if self._invalid else TooLargeError
        return error(f"The request is wrong in {count}; nothing was done", problems=found[:MAX_FAULTS])

    def check(self) -> None:
        """Raise the refusal if anything is wrong."""
        if self._invalid or self._too_large:
            raise self.refusal()


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what a handler raises with a problem document; only texts of Rota's own are shown."""
    try:
        return await handler(request)
    except RotaError as error:
        if error.status == RotaError.status:
            log.exception("%s %s failed", request.method, request.path)
        headers = {"Retry-After": "1"} if error.status == web.HTTPServiceUnavailable.status_code else {}
        return _response(document(error), headers)
    except web.HTTPException as error:
        slug = error.reason.lower().replace(" ", "-")
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        detail = f"{request.method} {request.path}: {error.reason.lower()}"
        if headers:
            detail += f"; it takes {headers['Allow'].replace(',', ', ')}"
        return _response(_problem(error.status, slug, error.reason, detail), headers)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        detail = "The gateway's log says more"
        return _response(_problem(RotaError.status, RotaError.slug, RotaError.title, detail), {})


def unknown(what: str, name: str, names: Sequence[str]) -> str:
    """Say that there is no such thing, and which names are near to it."""
    if near := get_close_matches(name, names):
        return f"There is no {what} {name}; did you mean {' or '.join(near)}?"
    return f"There is no {what} {name}"


def document(error: RotaError) -> dict[str, Any]:
    """Return an error as a problem document."""
    problem = _problem(error.status, error.slug, error.title, error.detail)
    if error.problems:
        problem["errors"] = [{"detail": one.detail, "pointer": one.pointer} for one in error.problems]
    return error.facts | problem


def _problem(status: int, slug: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": TYPE_BASE + slug, "title": title, "status": status, "detail": detail}


def _response(problem: dict[str, Any], headers: dict[str, str]) -> web.Response:
    body = msgspec.json.encode(problem, enc_hook=str)
    return web.Response(
        body=body, status=problem["status"], headers=headers, content_type="application/problem+json"
    )
