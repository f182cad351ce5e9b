"""The data that is streamed in for a batch, as a file that its format reads: pieces as they come, up to the end."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from actors.sources.errors import SourceError
from events.batch import STREAM
from events.jetstream.chunks import ChunkLog, OtherWriterError, Piece, read_piece
from events.jetstream.topology import CHUNKS
from events.subjects import chunks_filter
from rota.batch_protocol import StreamRules
from rota.errors import RotaError
from rota.follow import Follower
from rota.jetstream import Connection, until_available
from rota.options import Compression
from rota.pull import delivery

CREDIT = 8
"""Pieces that have come and wait to be read, of a MiB at most."""
LOOK_SECONDS = 30.0
"""How long nothing comes until it is asked whether the stream is silent: a sender that was held back has that."""
MARK_BYTES = 256 * 1024
"""How far apart the places are up to which bytes can be removed."""
CLOSE_SECONDS = 5.0

log = logging.getLogger("rota.reader")

T = TypeVar("T")


class StreamFile:
    """The stream of a batch. Its methods block: call them from threads; all but `release`.

    It goes on by itself after NATS was away. `opened_at` is when the batch was opened: a stream without any byte is
    silent since then.
    """

    path = STREAM
    size: int | None = None
    version: str | None = None
    media_type: str | None = None
    compression: Compression | None = None

    def __init__(
        self,
        connection: Connection,
        batch: str,
        rules: StreamRules,
        loop: asyncio.AbstractEventLoop,
        opened_at: datetime,
    ) -> None:
        self._connection = connection
        self._batch = batch
        self._rules = rules
        self._loop = loop
        self._opened_at = opened_at
        self._chunks = ChunkLog(connection, batch)
        self._lock = threading.Lock()
        self._closed = False
        self._running: set[Future[Any]] = set()
        self._closing: set[Future[Any]] = set()
        self._marks: dict[int, int] = {}
        """Sequences of messages by the offset of their first byte; not of all."""
        self._released = -1

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on, a stored message's at a time, and wait for more up to the end.

        SourceError if the stream has been silent for too long, and its rules say that it fails then.
        """
        follower = self._call(self._follow(offset))
        try:
            while not (piece := self._call(self._next(follower))).is_end:
                if piece.end <= offset:
                    continue
                if piece.offset > offset:
                    raise self._gone(offset)
                self._mark(piece)
                yield piece.body[offset - piece.offset :]
                offset = piece.end
            if piece.offset > offset:
                raise self._gone(offset)
        finally:
            # Without waiting: whoever lets go of a generator may be the loop itself.
            self._start(follower.__aexit__(None, None, None), self._closing)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes of the stream's head that are there by now."""
        return self._call(self._read_at(offset, size))

    def check_unchanged(self) -> None:
        """Do nothing: what is stored is never changed."""

    async def release(self, offset: int) -> None:
        """Let the bytes before an offset go, as far as they are not the head."""
        with self._lock:
            mark = max((mark for mark in self._marks if mark <= offset), default=-1)
            if mark <= self._released:
                return
            sequence, self._released = self._marks[mark], mark
            self._marks = {at: sequence for at, sequence in self._marks.items() if at >= mark}
        await until_available(lambda: self._chunks.release(sequence))

    def close(self) -> None:
        """Read no more: who waits for bytes is told so."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for future in running:
            future.cancel()
        for future in (*running, *self._closing):
            with suppress(CancelledError, TimeoutError, RotaError):
                future.result(CLOSE_SECONDS)

    async def _follow(self, offset: int) -> Follower:
        """Follow the stream from before the piece that has an offset."""
        after = await until_available(lambda: self._before(offset))
        follower = Follower(
            self._connection, CHUNKS, [chunks_filter(self._batch)], after=after, credit=CREDIT, name="stream"
        )
        try:
            return await until_available(follower.__aenter__)
        except BaseException:
            await follower.__aexit__(None, None, None)
            raise

    async def _before(self, offset: int) -> int:
        """Return after which message the bytes from an offset on follow."""
        last = await self._chunks.last()
        if last.end <= offset:
            return last.sequence - 1 if last.is_end else last.sequence
        async with aclosing(self._chunks.pieces(offset)) as pieces:
            first = await anext(pieces, None)
        return first.sequence - 1 if first else 0

    async def _next(self, follower: Follower) -> Piece:
        """Return the next piece, as soon as it has come."""
        longest = self._rules.silent_after_seconds
        wait = min(LOOK_SECONDS, longest)
        while not (taken := await until_available(lambda wait=wait: follower.take(1, wait))):  # type: ignore[misc] # mypy cannot infer a lambda with a default
            last = await until_available(self._chunks.last)
            if last.sequence > follower.position:
                await until_available(follower.look)
                continue
            since = last.stored_at if last.sequence else self._opened_at
            left = longest - (datetime.now(UTC) - since) / timedelta(seconds=1)
            wait = max(0.1, min(LOOK_SECONDS, left))
            if left <= 0:
                await self._end(last)
        return read_piece(taken[0], delivery(taken[0]).sequence)

    async def _end(self, last: Piece) -> None:
        """Do what the rules say of a stream that is silent."""
        seconds = f"{self._rules.silent_after_seconds:g}"
        if self._rules.on_silence == "fail":
            raise SourceError(
                f"The stream has been silent for {seconds} s, since byte {last.end}, and is not sealed. If that "
                "may be, open the batch with another `silent_after_seconds`, or with seal as `on_silence`. A "
                "sender that was held back meanwhile sends rows in pieces that are larger than ROTA_STREAM_BYTES"
            )
        log.info("batch %s: its stream is sealed, as it has been silent for %s s", self._batch, seconds)
        with suppress(OtherWriterError):  # more has come
            await until_available(lambda: self._chunks.seal(last))

    async def _read_at(self, offset: int, size: int) -> bytes:
        found = b""
        async for piece in self._chunks.pieces(offset):
            if piece.offset > offset + len(found):
                break
            found += piece.body[max(0, offset - piece.offset) :]
            if len(found) >= size:
                break
        return found[:size]

    def _mark(self, piece: Piece) -> None:
        with self._lock:
            if piece.offset >= max(self._marks, default=-MARK_BYTES) + MARK_BYTES:
                self._marks[piece.offset] = piece.sequence

    def _gone(self, offset: int) -> SourceError:
        return SourceError(
            f"The bytes of the stream from {offset} on are not there any more: they were removed, or are older "
            "than ROTA_KEEP_PAYLOADS_DAYS"
        )

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        """Wait in this thread for what the loop does."""
        future = self._start(what, self._running)
        try:
            return future.result()
        except CancelledError:
            raise SourceError(f"{self.path} is not read any more") from None
        except RotaError as error:
            raise error if isinstance(error, SourceError) else SourceError(f"{self.path}: {error}") from error

    def _start(self, what: Coroutine[Any, Any, T], among: set[Future[Any]]) -> "Future[T]":
        with self._lock:
            if self._closed and among is self._running:
                what.close()
                raise SourceError(f"{self.path} is not read any more")
            future = asyncio.run_coroutine_threadsafe(what, self._loop)
            among.add(future)
        future.add_done_callback(among.discard)
        return future
