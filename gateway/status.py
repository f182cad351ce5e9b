"""Streams of events over HTTP (server-sent events): what fits, from a position on, as it happens."""

import asyncio
import logging
from contextlib import suppress

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from events.base import Kind
from events.jetstream.feed import Gap, Reader
from events.subjects import event_on
from gateway.edge import Edge, edge_of
from gateway.ends import ENDS, find_end, stands
from gateway.frames import Shown, greeting, heartbeat, notice
from gateway.lookup import find_last, find_status
from gateway.selection import Selection, read_selection
from rota.errors import UnavailableError

WRITE_BYTES = 64 * 1024
"""As much is written at a time, or one event if it is larger."""

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

BEGINNINGS: dict[Kind, str] = {"batch": "opened", "workflow": "scheduled"}
"""The names of the first events of what has many others beside its own."""

TOO_SLOW = "too slow: resume with Last-Event-ID"
SHUTDOWN = "server shutdown"
AWAY = "NATS cannot be reached: resume with Last-Event-ID"
FAULT = "a fault of the gateway's own; its log says more"

routes = web.RouteTableDef()

log = logging.getLogger("rota.gateway")


class End(Struct, frozen=True):
    """How the job, batch or workflow ended that a stream was about."""

    id: str
    status: str


class NotTakenError(Exception):
    """The reader has not taken what was written, until there was no more time for it."""


@routes.get("/events")
async def stream_events(request: web.Request) -> web.StreamResponse:
    """Stream the events that fit, until the reader leaves, or what they are about has ended."""
    edge = edge_of(request)
    selection, after = read_selection(request)
    if edge.streams >= edge.config.max_streams:
        raise UnavailableError(
            f"{edge.streams} streams of events are open, which is the limit; try again later, or raise "
            "ROTA_MAX_STREAMS. One stream can follow several jobs, batches and queues"
        )
    edge.streams += 1
    try:
        return await _serve(request, edge, selection, after)
    finally:
        edge.streams -= 1


async def _serve(request: web.Request, edge: Edge, selection: Selection, after: int | None) -> web.StreamResponse:
    after, end = await _begin(edge, selection, after)
    if end and request.headers.get("Last-Event-ID"):
        # This tells a browser not to connect again.
        return web.Response(status=web.HTTPNoContent.status_code)
    subjects, few = selection.subjects()
    async with edge.feed.read(subjects, after=after, apart=few) as reader:
        response = web.StreamResponse(headers=HEADERS)
        with suppress(ConnectionError):
            await response.prepare(request)
            if request.method != "HEAD":
                await _Stream(request, response, edge, selection).run(reader, end)
        return response


async def _begin(edge: Edge, selection: Selection, after: int | None) -> tuple[int | None, End | None]:
    """Return after which sequence to read, and how that has ended of which nothing follows any more.

    NotFoundError if the stream is about one job, batch or workflow, and there was never such an id.
    """
    if not selection.only:
        return after, None
    kind, id_ = selection.only
    # What ends from here on is seen by the stream; what ended before has its last event before.
    start = (await edge.feed.bounds()).last if after is None else after
    if name := BEGINNINGS.get(kind):
        # Nothing of it stands before: a long log need not be read up to there.
        start = max(start, await edge.log.sequence_on(event_on(kind, id_, name)) - 1)
    last = await find_last(edge, kind, id_)
    if last is None:
        status = await find_status(edge, kind, id_)
        return start, End(id_, status) if f"{kind}.{status}" in ENDS else None
    end = await find_end(edge, last)
    if end is None or end.sequence > start:
        return start, None
    if after is None:
        return end.sequence - 1, None
    return start, End(id_, end.status)


class _Stream:
    """What is written to one reader; nothing waits for it here but what is being written."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse, edge: Edge, selection: Selection
    ) -> None:
        self._request = request
        self._response = response
        self._edge = edge
        self._pace = edge.pace
        self._selection = selection
        self._clock = asyncio.get_running_loop().time

    async def run(self, reader: Reader[Shown], end: End | None) -> None:
        """Write until the end, or until the stream has to be closed; ConnectionError if the reader has left."""
        try:
            await self._write(greeting(reader.position))
            while not end:
                if self._edge.stopping:
                    return await self._close(SHUTDOWN)
                end = await self._go_on(reader)
            await self._write(notice("end", end))
        except NotTakenError:
            log.info("a stream of events was closed: its reader is too slow")
            await self._close(SHUTDOWN if self._edge.stopping else TOO_SLOW)
        except UnavailableError as error:
            log.info("a stream of events was closed: %s", error)
            await self._close(AWAY)
        except ConnectionError:
            raise
        except Exception:
            log.exception("a stream of events was closed")
            await self._close(FAULT)

    async def _go_on(self, reader: Reader[Shown]) -> End | None:
        """Write what comes next, or a heartbeat; return the end if it has come."""
        news: list[Shown | Gap] = []
        silent = self._pace.heartbeat_seconds - (self._clock() - self._written)
        async with self._edge.patience(max(0.0, silent)):
            news = await reader.take()
        if self._request.transport is None:
            raise ConnectionResetError
        frames = bytearray()
        end = None
        for one in news:
            if isinstance(one, Gap):
                frames += notice("gap", one, reader.position)
                continue
            if await self._fits(one):
                frames += one.frame
            if one.type in ENDS and self._selection.only == one.of and await stands(self._edge, one.recorded):
                end = End(one.of[1], one.type.partition(".")[2])
                # Results may have been collected since, which are no part of how it went.
                break
            if len(frames) >= WRITE_BYTES:
                await self._write(bytes(frames))
                frames.clear()
        if not frames and not end and self._clock() - self._written >= self._pace.heartbeat_seconds:
            frames += heartbeat(reader.position)
        if frames:
            await self._write(bytes(frames))
        return end

    async def _fits(self, shown: Shown) -> bool:
        if not self._selection.fits(shown):
            return False
        if not self._selection.belongs:
            return True
        if shown.belonging is None:
            views = None
            with suppress(UnavailableError):
                views = self._edge.views()
            shown.belonging = await self._edge.belongings.find(shown.recorded.event, views)
        batch = shown.belonging.batch
        if self._selection.workflow and batch and shown.belonging.workflow is None:
            workflow = await self._edge.belongings.find_workflow(batch)
            shown.belonging = replace(shown.belonging, workflow=workflow)
        return self._selection.fits_belonging(shown.belonging)

    async def _write(self, data: bytes) -> None:
        taken = False
        async with self._edge.patience(self._pace.write_seconds):
            # It waits as long as the transport holds back, that is, as the reader does not read.
            await self._response.write(data)
            taken = True
        if not taken:
            raise NotTakenError
        self._written = self._clock()

    async def _close(self, reason: str) -> None:
        """Tell why the stream is closed, to a reader that still takes it in time."""
        self._response.force_close()
        if transport := self._request.transport:
            asyncio.get_running_loop().call_later(self._pace.linger_seconds, transport.abort)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.linger_seconds):
                await self._response.write(notice("closed", {"reason": reason}))
