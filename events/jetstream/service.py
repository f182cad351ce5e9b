"""A NATS service (ADR-32 of NATS): endpoints that answer requests, can be discovered, and count what they do.

nats-py's own endpoint works on one request at a time, and a request that waits would hold up all behind it. Here
each is a task, within bounds.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER
from nats.micro.service import Endpoint as MicroEndpoint
from nats.micro.service import EndpointConfig, ServiceConfig
from nats.micro.service import Service as MicroService

from rota.jetstream import Connection

QUEUE_GROUP = "rota"
AT_ONCE = 200
"""Requests that one endpoint works on; the next ones wait in the subscription."""
WAITS_AT_ONCE = 2000
"""Requests that one endpoint lets wait; the next ones are refused, since they could wait for a minute."""
STOP_SECONDS = 5.0
ERROR_CHARACTERS = 300

log = logging.getLogger("rota.service")


class Reply(Struct, frozen=True):
    """An answer; with an `error` (code, text) it is one of those that the service counts as failed."""

    body: bytes
    headers: dict[str, str] = {}
    error: tuple[int, str] | None = None


Handler = Callable[[bytes, Mapping[str, str]], Awaitable[Reply]]
"""Answers a request, given its body and headers, and never raises."""


class Endpoint(Struct, frozen=True):
    """One kind of request. `busy` answers what there is no room for; without it, requests wait for room."""

    name: str
    subject: str
    handle: Handler
    busy: Callable[[Mapping[str, str]], Reply] | None = None


class Service:
    """Answers requests for as long as it is entered; several processes that serve the same name share them."""

    def __init__(
        self, connection: Connection, name: str, version: str, description: str, endpoints: Sequence[Endpoint]
    ) -> None:
        config = ServiceConfig(name=name, version=version, description=description, queue_group=QUEUE_GROUP)
        self._service = MicroService(connection.client, config)
        self._endpoints = [_TaskingEndpoint(self._service, endpoint) for endpoint in endpoints]

    async def __aenter__(self) -> Self:
        for endpoint in self._endpoints:
            await endpoint.start()
            # nats-py would make endpoints of its own kind.
            self._service._endpoints.append(endpoint)  # noqa: SLF001 - see above
        # It is found when its endpoints are there.
        await self._service.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more requests, and answer those that have come."""
        # A task, since nats-py may lose a cancellation (asyncio.wait_for on Python 3.11).
        stopping = asyncio.create_task(self._service.stop())
        await asyncio.wait([stopping], timeout=STOP_SECONDS)
        if not stopping.done():
            stopping.cancel()
        elif error := stopping.exception():
            log.info("the service is not taken off in an orderly way: %r", error)
        for endpoint in self._endpoints:
            await endpoint.cancel()


class _TaskingEndpoint(MicroEndpoint):
    """Hands each request to a task, and counts it when it is answered."""

    def __init__(self, service: MicroService, endpoint: Endpoint) -> None:
        config = EndpointConfig(
            name=endpoint.name, subject=endpoint.subject, handler=_none, queue_group=QUEUE_GROUP, metadata={}
        )
        super().__init__(service, config)
        self._endpoint = endpoint
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(WAITS_AT_ONCE if endpoint.busy else AT_ONCE)
        self._client: Client = service._client  # noqa: SLF001 - an endpoint is a part of its service

    async def start(self) -> None:
        """Take requests."""
        await self._start()

    async def cancel(self) -> None:
        """End what is still being worked on."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _handle_request(self, msg: Msg) -> None:
        self._num_requests += 1
        if self._endpoint.busy and self._places.locked():
            await self._answer(msg, self._endpoint.busy(msg.headers or {}))
            return
        await self._places.acquire()
        task = asyncio.create_task(self._work(msg), name=f"request {self._subject}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, msg: Msg) -> None:
        started = time.perf_counter_ns()
        try:
            await self._answer(msg, await self._endpoint.handle(msg.data, msg.headers or {}))
        except Exception:
            log.exception("a request on %s is not answered", msg.subject)
            self._num_errors += 1
        finally:
            self._places.release()
            self._processing_time += time.perf_counter_ns() - started
            self._average_processing_time = self._processing_time // self._num_requests

    async def _answer(self, msg: Msg, reply: Reply) -> None:
        headers = reply.headers
        if reply.error:
            code, text = reply.error
            # A header is one line.
            line = " ".join(text.split())[:ERROR_CHARACTERS]
            headers = headers | {ERROR_CODE_HEADER: str(code), ERROR_HEADER: line}
            self._num_errors += 1
            self._last_error: Any = f"{code}:{line}"
        if msg.reply:
            await self._client.publish(msg.reply, reply.body, headers=headers)

    async def _stop(self) -> None:
        if self._subscription:
            # What the server has sent by now is answered; nats-py's own way drops it.
            await self._subscription.drain()  # type: ignore[no-untyped-call] # nats-py has left out its types
            self._subscription = None
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _none(_: Any) -> None:
    """Stand for the handler that nats-py asks for."""
