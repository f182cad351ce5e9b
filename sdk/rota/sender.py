"""A file or a pipe, sent as a stream: the next bytes are read while those before are on their way."""

import asyncio
import select
from collections.abc import Callable
from typing import BinaryIO

from msgspec import Struct

from rota.appender import PIECE_BYTES, Appender
from rota.errors import InvalidRequestError
from rota.file_thread import FileThread

REQUEST_BYTES = 8 * 1024 * 1024
"""Of these two are held: one that is sent, and one that is read."""
LINGER_SECONDS = 0.5
"""What a pipe has said is sent after so long, even if it is little."""


class Sent(Struct, frozen=True):
    """How far the sending of a file is, in bytes from its start."""

    durable: int
    """So much the batch has for good."""
    sent: int
    """So much is on its way, or durable."""
    size: int | None
    """Of the file; None for a pipe."""
    reading: bool
    """Whether it waits for the file; else the gateway has not yet taken what was read."""
    full: bool = False
    """Whether the batch has all the rows that its `limit` lets it take, so that the rest is not sent."""


class Sender:
    """Sends one file from where its stream ends."""

    def __init__(self, appender: Appender, file: BinaryIO, progress: Callable[[Sent], None]) -> None:
        self._appender = appender
        self._file = file
        self._progress = progress
        self._size: int | None = None
        self._sent = appender.offset
        self._sending = False
        self._asked: asyncio.Future[bytes] | None = None
        self._at_end = False

    async def send(self) -> None:
        """Send all that follows what is durable; when it returns, all is, or the batch is full.

        InvalidRequestError if the file cannot be read, or is shorter than what is durable. Errors else as of
        `Appender.append`.
        """
        self._tell()
        with FileThread() as self._thread:
            await self._pass_over(self._appender.offset)
            reading = asyncio.create_task(self._fill(), name="reading of a file")
            try:
                while True:
                    self._tell()
                    if not (data := await reading):
                        return
                    reading = asyncio.create_task(self._fill(), name="reading of a file")
                    self._sending = True
                    await self._appender.append(data, self._note)
                    self._sending = False
                    if self._appender.full:
                        self._tell()
                        return
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _pass_over(self, count: int) -> None:
        """Go to where the stream ends: a pipe is read up to there."""
        size = await self._thread.call(lambda: self._file.seek(0, 2) if self._file.seekable() else None)
        place = count
        if size is None:
            place = 0
            while place < count and (piece := await self._read(min(PIECE_BYTES, count - place))):
                place += len(piece)
        elif count <= size:
            self._size = size
            await self._thread.call(lambda: self._file.seek(count))
        else:
            place = size
        if place < count:
            raise self._appender.too_short(place)

    async def _fill(self) -> bytes:
        """Read one request's bytes, or what comes within a while; nothing at the end."""
        clock = asyncio.get_running_loop().time
        data = bytearray()
        until: float | None = None
        while len(data) < REQUEST_BYTES and not self._at_end:
            if self._asked is None:
                self._asked = self._read(PIECE_BYTES)
            done, _ = await asyncio.wait([self._asked], timeout=until and max(0.0, until - clock()))
            if not done:
                break
            asked, self._asked = self._asked, None
            piece = asked.result()
            self._at_end = not piece
            data += piece
            until = until or clock() + LINGER_SECONDS
        return bytes(data)

    def _read(self, size: int) -> "asyncio.Future[bytes]":
        return self._thread.call(lambda: _read(self._file, size))

    def _note(self, sent: int) -> None:
        self._sent = sent
        self._tell()

    def _tell(self) -> None:
        durable, full = self._appender.offset, self._appender.full
        sent = durable if full else max(durable, self._sent)
        self._progress(Sent(durable, sent, self._size, reading=not self._sending, full=full))


def _read(file: BinaryIO, size: int) -> bytes:
    """Return what there is, at least a byte; nothing at the end."""
    # Some files have `read` wait until all has come.
    read = getattr(file, "read1", file.read)
    try:
        while (piece := read(size)) is None:  # a pipe that does not block has nothing now
            select.select([file], [], [])
    except OSError as error:
        raise InvalidRequestError(f"The data cannot be read: {error.strerror or error}") from error
    return bytes(piece)
