"""What can be asked of the stream of a batch, however it is asked: append, seal, how much is durable."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from events.batch import BatchDetails
from events.jetstream.chunks import HEAD_BYTES, NOTHING, PIECE_BYTES, ChunkLog, OtherWriterError, Piece
from gateway.batch_states import find_state, why
from gateway.callers import Asker
from gateway.edge import Edge
from rota.batch_protocol import AppendRequest, DataView
from rota.errors import ConflictError, InvalidRequestError, TooLargeError, UnavailableError
from rota.protocol import BatchStatus

"""Formats that are read from their start after a crash, so that nothing of them is removed before the end."""
FIRST_LOOK_SECONDS = 0.05
LONGEST_LOOK_SECONDS = 0.4
"""How often a writer that is held back looks whether there is room."""
CHECK_SECONDS = 1.0
"""How often a writer looks whether its batch still takes bytes."""
LOST: frozenset[BatchStatus] = frozenset({"failed", "cancelling", "cancelled"})

_at_work: WeakKeyDictionary[Edge, dict[str, "Writer"]] = WeakKeyDictionary()
"""Who writes to which batch, by the gateway."""

FoundStream = tuple[BatchDetails, BatchStatus]

log = logging.getLogger("rota.gateway")


async def append(edge: Edge, request: AppendRequest, asker: Asker) -> DataView:
    """Store bytes of a stream, and seal it if they are its last; those that are stored already count once.

    ConflictError if they do not follow what is durable, or the batch takes no more, UnavailableError if its jobs do
    not keep up, NotFoundError if there is none.
    """
    async with writing(edge, request.id, await find_stream(edge, request.id), request.offset) as writer:
        for start in range(0, len(request.data), PIECE_BYTES):
            await writer.write(request.data[start : start + PIECE_BYTES])
        return await writer.finish(asker, complete=request.complete)


async def seal(edge: Edge, id_: str, asker: Asker) -> DataView:
    """Say that a stream ends with what is durable; a second time changes nothing. Errors as above.

    A writer that is at work keeps its place: who seals beside it would cut it off.
    """
    async with writing(edge, id_, await find_stream(edge, id_), None, takes_place=False) as writer:
        return await writer.finish(asker, complete=True)


async def data(edge: Edge, id_: str) -> DataView:
    """Return how much of a stream is durable; errors as of `find_stream`."""
    _, status = await find_stream(edge, id_)
    last = await ChunkLog(edge.connection, id_).last()
    # A batch that was cancelled closes its stream, which is not the end that its sender meant.
    return DataView(id_, last.end, last.is_end and status not in {"cancelling", "cancelled"})


async def find_stream(edge: Edge, id_: str) -> FoundStream:
    """Return a batch that is streamed in, and its status.

    ConflictError if it reads files, NotFoundError if there is none.
    """
    details, state = await find_state(edge, id_)
    return _streamed(id_, details), state.status if state else "reading"


@asynccontextmanager
async def writing(
    edge: Edge,
    id_: str,
    found: FoundStream,
    offset: int | None,
    *,
    waits: bool = False,
    takes_place: bool = True,
) -> AsyncIterator["Writer"]:
    """Be the only one in this gateway who writes to a batch, from an offset on or at its end.

    `waits` says whether it is held back while there is no room, or refused. With `takes_place`, who comes while
    another one is held back takes its place: that one's sender may be gone, which does not show as long as nothing
    is read of it.
    """
    details, status = found
    at_work = _at_work.setdefault(edge, {})
    if takes_place and (other := at_work.get(id_)):
        await other.give_way()
    if id_ in at_work:
        raise OtherWriterError(f"Another writer sends to the batch {id_}; one is taken at a time")
    at_work[id_] = writer = Writer(edge, id_, details, waits=waits)
    try:
        await writer.begin(status, offset)
        yield writer
    finally:
        del at_work[id_]
        await writer.close()


class Writer:
    """Writes to the stream of a batch. The bytes that it is given follow each other."""

    def __init__(self, edge: Edge, id_: str, details: BatchDetails, *, waits: bool) -> None:
        self._edge = edge
        self._id = id_
        self._chunks = ChunkLog(edge.connection, id_)
        self._last = NOTHING
        self._offset = 0
        self._waits = waits
        self._is_held = False
        self._gives_way = asyncio.Event()
        self._gone = asyncio.Event()
        self._kept = details.keeps_stream
        self._released = HEAD_BYTES
        """What stands before is removed, or kept as the head; as far as that was looked for."""
        self._closed: ConflictError | None = None
        """Why nothing new is taken."""
        self._checked_at = 0.0
        self._stored: AsyncGenerator[Piece, None] | None = None
        self._piece: Piece | None = None

    async def begin(self, status: BatchStatus, offset: int | None) -> None:
        """Check whether bytes may follow at an offset."""
        self._last = await self._chunks.last()
        await self._check(status)
        self._offset = self._last.end if offset is None else offset
        if self._offset > self._last.end:
            raise ConflictError(
                f"The bytes begin at {self._offset}, and only {self._last.end} are durable: send from there on",
                offset=self._last.end,
            )

    async def write(self, body: bytes) -> None:
        """Store bytes, at most PIECE_BYTES; what is stored already is compared and not stored again."""
        same = min(len(body), self._last.end - self._offset)
        if same:
            await self._compare(body[:same])
            self._offset += same
            body = body[same:]
        if not body:
            return
        clock = asyncio.get_running_loop().time
        if clock() - self._checked_at > CHECK_SECONDS:
            await self._check()
        if self._closed:
            raise self._closed
        await self._room(len(body))
        self._last = await self._followed(self._chunks.append(self._last, body))
        self._offset = self._last.end

    async def finish(self, asker: Asker, *, complete: bool, length: int | None = None) -> DataView:
        """Return how far the stream is durable, and seal it if its sender says that it is complete.

        InvalidRequestError if it has another length then than it should have.
        """
        if complete and length not in (None, self._offset):
            raise InvalidRequestError(
                f"The stream should have {length} bytes, and ends at {self._offset}: the last body was cut, maybe "
                "within its Content-Encoding. It is not sealed"
            )
        if complete and self._offset < self._last.end:
            raise self._closed or ConflictError(
                f"The stream goes on behind byte {self._offset}: {self._last.end} are durable. Another writer?"
            )
        if complete and not self._last.is_end:
            if self._closed:
                raise self._closed
            self._last = await self._followed(self._chunks.seal(self._last))
            log.info("batch %s: its stream is sealed at byte %d by %s", self._id, self._last.end, asker.caller)
        return DataView(self._id, self._last.end, self._last.is_end)

    async def give_way(self) -> None:
        """Let another writer take this one's place, if it is held back."""
        if self._is_held:
            self._gives_way.set()
            await self._gone.wait()

    async def close(self) -> None:
        """Let go of what was read for comparing."""
        self._gone.set()
        if self._stored:
            await self._stored.aclose()

    async def _check(self, status: BatchStatus | None = None) -> None:
        """Note whether the batch takes bytes; ConflictError if it has ended so that none of them count."""
        if status is None:
            _, status = await find_stream(self._edge, self._id)
        self._checked_at = asyncio.get_running_loop().time()
        if status in LOST:
            raise await self._ended(status)
        if self._last.is_end:
            self._closed = ConflictError(f"The stream of the batch {self._id} is sealed at byte {self._last.end}")
        elif status != "reading":
            self._closed = await self._ended(status)

    async def _ended(self, status: BatchStatus) -> ConflictError:
        reason = "" if status in {"completed", "sealed"} else await why(self._edge, self._id, status)
        return ConflictError(
            f"The batch {self._id} takes no more bytes: it is {status.replace('_', ' ')}{reason and f': {reason}'}"
        )

    async def _room(self, size: int) -> None:
        """Wait until the jobs of the batch have got on so far that there is room."""
        config = self._edge.config
        if self._kept:
            if self._last.end + size > config.kept_stream_bytes:
                raise TooLargeError(
                    f"The stream is larger than {config.kept_stream_bytes} bytes, and is kept whole, since it is "
                    "compressed or its format is read from the start. Send it without compression, as NDJSON or "
                    "CSV, or raise ROTA_KEPT_STREAM_BYTES"
                )
            return
        clock = asyncio.get_running_loop().time
        pause = FIRST_LOOK_SECONDS
        while self._last.end + size - self._released > config.stream_bytes:
            first = await self._chunks.first_kept()
            released = first.offset if first else self._last.end
            if released > self._released:
                self._released, pause = released, FIRST_LOOK_SECONDS
                continue
            if not self._waits:
                raise UnavailableError("The jobs of the batch do not keep up; send it again")
            if self._edge.stopping:
                raise UnavailableError("The gateway stops; send the rest with another request")
            if clock() - self._checked_at > CHECK_SECONDS:
                await self._check()
                if self._closed:
                    raise self._closed
            self._is_held = True
            async with self._edge.patience(pause):
                await self._gives_way.wait()
                break
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)
        self._is_held = False
        if self._gives_way.is_set():
            raise OtherWriterError("Another writer has taken the place of this one, which was held back")

    async def _followed(self, storing: Awaitable[Piece]) -> Piece:
        """Return what was stored; what else is found there may be the mark of the end."""
        try:
            return await storing
        except OtherWriterError as error:
            self._last = await self._chunks.last()
            await self._check()
            if self._closed:
                raise self._closed from error
            raise

    async def _compare(self, body: bytes) -> None:
        """Raise ConflictError if other bytes are stored; those that are removed count as the same."""
        at, end = self._offset, self._offset + len(body)
        if self._stored is None:
            self._stored = self._chunks.pieces(at)
            self._piece = await anext(self._stored, None)
        while self._piece and self._piece.offset < end:
            piece = self._piece
            begin, stop = max(at, piece.offset), min(end, piece.end)
            if begin < stop:
                stored = memoryview(piece.body)[begin - piece.offset : stop - piece.offset]
                if stored != memoryview(body)[begin - at : stop - at]:
                    raise ConflictError(
                        f"Other bytes are stored at this offset, between {begin} and {stop}: another writer?"
                    )
            if piece.end > end:
                return
            self._piece = await anext(self._stored, None)


def _streamed(id_: str, details: BatchDetails) -> BatchDetails:
    if details.stream is None:
        raise ConflictError(f"The batch {id_} reads files; a batch is streamed in if it is opened with `stream`")
    return details
