"""Bytes at the end of a batch's stream: each counted once, whatever becomes of connections and gateways."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from msgspec import UNSET, UnsetType

from rota.batch_protocol import BatchView, DataView
from rota.errors import ConflictError, InvalidRequestError, NotFoundError, RotaError, UnavailableError
from rota.http import FIRST_PAUSE_SECONDS, EventList, Gateway
from rota.protocol import ENDED_BATCH, BatchStatus

PIECE_BYTES = 256 * 1024
MAX_PAUSE_SECONDS = 1.0
ALL_READ: frozenset[BatchStatus] = frozenset({"sealed", "completed", "completed_with_failures"})
"""Of a batch whose data was read as far as it is to be."""

log = logging.getLogger("rota.client")


class Appender:
    """The end of a stream, and how to move it on. For one writer: `append` is not called twice at a time."""

    def __init__(self, gateway: Gateway, batch: str) -> None:
        self.batch = batch
        self.offset = 0
        """How many bytes of the stream are durable."""
        self.sealed = False
        self.full = False
        """Whether the batch has all the rows that its `limit` lets it take: what follows is not sent any more."""
        self._limit: int | UnsetType | None = UNSET
        self._gateway = gateway
        self._path = f"/batches/{quote(batch, safe='')}"

    async def find_end(self) -> None:
        """Ask how much of the stream is durable."""
        view = await self._gateway.get(f"{self._path}/data", DataView)
        self.offset, self.sealed = view.offset, view.complete

    async def append(self, data: bytes, sent: Callable[[int], None] = lambda _: None) -> None:
        """Have bytes stored; when it returns, they are durable. The gateway takes them no faster than it may.

        `sent` is told how far in the stream the bytes are on their way. A connection that is lost is made again,
        and what is not durable is sent again, as long as some of it becomes so within the gateway's patience. Then
        it raises UnavailableError; ConflictError if the stream is sealed, its batch has ended, or somebody else
        writes it. `offset` tells in any case how much is durable. It returns as well when the batch is `full`.
        """
        start, clock = self.offset, asyncio.get_running_loop().time
        end = start + len(data)
        stuck: float | None = None
        pause = FIRST_PAUSE_SECONDS
        while self.offset < end and not self.full:
            before, began = self.offset, clock()
            fault = await self._try(memoryview(data)[before - start :], sent)
            if fault is None:
                return
            await self._take_stock(end, fault)
            if self.full:
                return
            if self.offset > before or clock() - began > self._gateway.patience_seconds:
                # It goes on, or the gateway held it back for long before the connection was lost.
                stuck, pause = None, FIRST_PAUSE_SECONDS
                continue
            stuck = stuck or clock()
            if clock() + pause > stuck + self._gateway.patience_seconds:
                raise fault
            log.info("%s; sending again from byte %d on", fault, self.offset)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def seal(self) -> None:
        """End the stream: no bytes follow. Nothing happens if it is sealed, or full. Errors as of `append`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._gateway.patience_seconds
        pause = FIRST_PAUSE_SECONDS
        while not (self.sealed or self.full):
            try:
                await self._gateway.post(f"{self._path}/seal")
                self.sealed = True
            except ConflictError as fault:
                # The gateway may not yet know that a connection was lost, and takes its request for another writer.
                await self.find_end()
                if self.sealed:
                    return
                await self._check_batch(fault)
                if self.full:
                    return
                if clock() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    def too_short(self, size: int) -> InvalidRequestError:
        """Return the error of data from its beginning that ends before what is durable."""
        return InvalidRequestError(
            f"{size} bytes are all there is, but the stream {self.batch} has {self.offset} already. "
            "To go on, give the data from its beginning"
        )

    async def _try(self, rest: memoryview, sent: Callable[[int], None]) -> RotaError | None:
        """Send the rest once. Return what went wrong, if another try may help."""
        first = self.offset

        async def pieces() -> AsyncIterator[memoryview]:
            for place in range(0, len(rest), PIECE_BYTES):
                piece = rest[place : place + PIECE_BYTES]
                yield piece
                sent(first + place + len(piece))

        headers = {"Upload-Offset": str(first), "Content-Type": "application/octet-stream"}
        try:
            async with self._gateway.exchange(
                "PATCH", f"{self._path}/data", data=pieces(), headers=headers, silence_seconds=None
            ) as response:
                self.offset = max(first, int(response.headers.get("Upload-Offset", first)))
        except (ConflictError, UnavailableError) as error:
            # A conflict may be with this writer's own request, of whose end the gateway does not know yet.
            return error
        if self.offset < first + len(rest):
            return UnavailableError(f"The gateway has stored {self.offset - first} of {len(rest)} bytes")
        return None

    async def _take_stock(self, end: int, fault: RotaError) -> None:
        """Find out how much is durable after something went wrong; ConflictError if it cannot go on."""
        before = self.offset
        await self.find_end()
        if not before <= self.offset <= end:
            raise ConflictError(
                f"{self.offset} bytes of the stream {self.batch} are durable, but this writer saw {before} and "
                f"sent up to {end}. Somebody else writes it; each stream has one writer"
            ) from fault
        if self.offset == end:
            return
        if self.sealed or self.offset == before:
            await self._check_batch(fault)

    async def _check_batch(self, fault: RotaError) -> None:
        """Find out whether the batch is full; ConflictError if it takes nothing any more for another reason."""
        view = await self._gateway.get(self._path, BatchView)
        at_end = view.status in ALL_READ
        limit = await self._find_limit() if at_end or self.sealed else None
        if at_end and limit is not None and view.rows >= limit:
            self.full = True
        elif self.sealed and limit is not None and view.status in {"reading", "paused"}:
            # A batch that is full is sealed at its end, which its view may not know yet.
            log.info("batch %s has a limit, and is %s by its view", self.batch, view.status)
        elif self.sealed and view.status not in {"cancelling", "cancelled"}:
            raise ConflictError(
                f"The stream {self.batch} was sealed after {self.offset} bytes: those that follow are no part of it"
            ) from fault
        elif view.status == "cancelling" or view.status in ENDED_BATCH:
            is_ = f"The batch {self.batch} is {view.status}"
            raise ConflictError(f"{is_}: it takes no more than the {self.offset} bytes that it has") from fault

    async def _find_limit(self) -> int | None:
        """Return how many rows the batch takes at most, as it was opened; None if that is not said any more."""
        if isinstance(self._limit, UnsetType):
            try:
                events = (await self._gateway.get(f"{self._path}/events", EventList)).events
            except NotFoundError:
                events = []
            self._limit = events[0].get("details", {}).get("limit") if events else None
        return self._limit
