"""Requests to the gateway, repeated while it cannot be reached, and its answers as values or errors."""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from rota.errors import BY_SLUG, InvalidRequestError, Problem, RotaError, UnavailableError
from rota.watched_socket import watched_socket

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LONG_POLL_SECONDS = 30
"""How long the gateway holds a question open until there is news; below what proxies usually cut off."""
PAGE_EVENTS = 1000
"""How many events of one thing the gateway answers at a time."""
FIRST_PAUSE_SECONDS = 0.1
NO_CONTENT = 204


class Page(Protocol):
    """A part of a list."""

    @property
    def next(self) -> str | int | None:
        """The cursor of the part behind it, if there is one."""


T = TypeVar("T")
P = TypeVar("P", bound=Page)
Event = dict[str, Any]
"""An event as JSON has it: `type`, `id`, `version`, `at`, `sequence`, and the fields of its type."""

log = logging.getLogger("rota.client")


class ProblemDocument(msgspec.Struct, frozen=True):
    """What the gateway says of an error (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    errors: list[Problem] = []


class EventList(msgspec.Struct, frozen=True):
    """Events of one job or batch, oldest first."""

    events: list[Event]


class Gateway:
    """Requests to one gateway. They may all be repeated, and are while it cannot be reached.

    A GET changes nothing, and a POST carries an Idempotency-Key of its own, so that what was done before its
    answer was lost is not done again.
    """

    def __init__(self, url: str, patience_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._shown = re.sub("//.*@", "//", self._url)
        """The address without a password, for messages."""
        self.patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Make ready for requests; nothing is sent yet."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=watched_socket))

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()
        self._session = None

    async def get(self, path: str, answer: type[T], **query: str | float | None) -> T:
        """Ask, and return the answer; what is None is left out of the query."""
        given = {name: value for name, value in query.items() if value is not None}
        return msgspec.json.decode(await self._patiently("GET", path, params=given), type=answer)

    async def pages(
        self, path: str, page: type[P], *, after: str | int | None = None, **query: str | float | None
    ) -> AsyncGenerator[P, None]:
        """Yield the pages of a list, each asked for when it is wanted; `after` is the cursor to begin at."""
        while True:
            found = await self.get(path, page, **query, after=after)
            yield found
            if not (after := found.next):
                return

    async def post(self, path: str, body: Any = None, *, answer_seconds: float = ANSWER_SECONDS) -> bytes:
        """Have something done, once; return the answer. Without a body where there is nothing to say."""
        return await self._tell("POST", path, body, answer_seconds)

    async def patch(self, path: str, body: Any) -> bytes:
        """Have something changed, once; return the answer."""
        return await self._tell("PATCH", path, body, ANSWER_SECONDS)

    async def delete(self, path: str) -> bytes:
        """Have something removed; return the answer."""
        return await self._patiently("DELETE", path)

    async def follow(self, path: str, ends: Iterable[str] | None = None) -> AsyncGenerator[Event, None]:
        """Yield all events there are; with `ends` go on as they happen, until one of these types has ended it.

        What is told after the end, as of results that are collected, comes too; a redrive or a retry takes the end
        back.
        """
        after = 0
        ended = False
        while True:
            wait = LONG_POLL_SECONDS if ends and not ended else None
            page = await self.get(f"{path}/events", EventList, after=after, wait=wait)
            for event in page.events:
                yield event
                after = event["sequence"]
                if ends and event["type"] in ends:
                    ended = True
                elif event["type"].endswith((".redriven", ".retried")):
                    ended = False
            if len(page.events) < PAGE_EVENTS and (ended or not (ends or page.events)):
                return

    @asynccontextmanager
    async def open(
        self, path: str, query: Sequence[tuple[str, str]], headers: dict[str, str], silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Ask for a stream; have the pieces of the answer as they come, or None if there is nothing to stream.

        Once; UnavailableError if it cannot be reached, or is silent for so long.
        """
        async with self.exchange(
            "GET", path, params=query, headers=headers, silence_seconds=silence_seconds
        ) as response:
            if response.status == NO_CONTENT:
                yield None
            elif response.content_type == "text/event-stream":
                yield response.content.iter_any()
            else:
                raise self._refusal(response, await response.read())

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, *, silence_seconds: float | None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request of any length; have the answer, of which the body is still to be read.

        Once; UnavailableError if the gateway cannot be reached, or is silent for so long. A gateway that lives may
        be silent for as long as it likes if that is None.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=silence_seconds)
        with self._translated():
            async with self._opened.request(method, self._url + path, timeout=timeout, **options) as response:
                if not response.ok:
                    answer = await response.read()
                    # What is left of the request's own body is not sent any more.
                    response.close()
                    raise self._refusal(response, answer)
                yield response

    async def _tell(self, method: str, path: str, body: Any, answer_seconds: float) -> bytes:
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
        told = b"" if body is None else msgspec.json.encode(body)
        return await self._patiently(method, path, body=told, headers=headers, answer_seconds=answer_seconds)

    async def _patiently(self, method: str, path: str, **options: Any) -> bytes:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._send(method, path, **options)
            except UnavailableError as error:
                if clock() + pause > deadline:
                    raise
                log.info("%s; trying again", error)
                await asyncio.sleep(pause)
                pause *= 2

    async def _send(
        self, method: str, path: str, *, body: bytes = b"", answer_seconds: float = ANSWER_SECONDS, **options: Any
    ) -> bytes:
        waits = options.get("params", {}).get("wait", 0)
        timeout = aiohttp.ClientTimeout(total=answer_seconds + waits, connect=CONNECT_SECONDS)
        # aiohttp warns of large bodies that are bytes.
        data = BytesIO(body) if body else None
        with self._translated():
            async with self._opened.request(
                method, self._url + path, data=data, timeout=timeout, **options
            ) as response:
                answer = await response.read()
        if response.ok and response.content_type == "application/json":
            return answer
        raise self._refusal(response, answer)

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("The client is not open: use `async with rota.Client() as client`")
        return self._session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise InvalidRequestError(
                f"{self._shown} is not the address of a gateway: it is like {DEFAULT_URL}"
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnavailableError(
                f"No gateway answers at {self._shown}. Start one with ./scripts/up, or set ROTA_URL to its address."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(
                f"The gateway at {self._shown} did not finish its answer ({type(error).__name__}); "
                "whether it did what was asked is not known"
            ) from error

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes) -> RotaError:
        """Return the error that an answer stands for."""
        if response.content_type == "application/problem+json":
            document = msgspec.json.decode(body, type=ProblemDocument)
            slug = re.split("[/:#]", document.type)[-1]
            return BY_SLUG.get(slug, RotaError)(document.detail or document.title, problems=document.errors)
        if response.status in {502, 503, 504}:  # from a proxy
            return UnavailableError(f"The gateway behind {self._shown} cannot be reached ({response.status})")
        return RotaError(
            f"{response.url} answered {response.status} {response.reason} ({response.content_type}), "
            "as no gateway of Rota does. Is the address right?"
        )
