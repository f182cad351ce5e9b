"""A writer of a batch's stream: takes what comes, sends it in larger pieces, and ends the stream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self

import msgspec

from rota.appender import Appender
from rota.errors import InvalidRequestError, RotaError

REQUEST_BYTES = 1024 * 1024
MAX_REQUEST_BYTES = 8 * REQUEST_BYTES
LINGER_SECONDS = 0.5
"""What is written is sent after so long, even if it is little."""

log = logging.getLogger("rota.client")


class Stream:
    """The stream of a batch, open for writing.

        async with client.batches.stream(spec="load", format="ndjson") as stream:
            async for line in lines:
                await stream.write(line)

    Leaving seals it. After an exception it stays open, with what was durable by then: `resume_stream` of its id
    goes on, and so does a stream with the same `key`. Write the same data from its beginning again: what is durable
    is passed over. With `append` what is written follows what is durable.

    A stream has one writer at a time; the tasks of one process may share it.
    """

    def __init__(
        self, open_: Callable[[], Awaitable[Appender]], format_: str | None = None, *, append: bool = False
    ) -> None:
        self._open = open_
        self._format = format_
        self._append = append
        self._passed = 0
        """So many bytes were written that are durable since before this writer."""
        self._durable = 0
        """So many are to be passed over."""
        self._buffer = bytearray()
        self._appender: Appender | None = None
        self._sending = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None
        self._late = False

    async def __aenter__(self) -> Self:
        self._appender = await self._open()
        self._durable = 0 if self._append else self._appender.offset
        return self

    async def __aexit__(self, type_: type[BaseException] | None, *_: object) -> None:
        try:
            if type_ is None:
                await self.seal()
        finally:
            if self._later:
                self._later.cancel()
                await asyncio.wait([self._later])

    @property
    def id(self) -> str:
        """The batch's id."""
        return self._opened.batch

    @property
    def offset(self) -> int:
        """How many bytes of the stream are durable; with `append`, where to read the data on."""
        return self._opened.offset

    @property
    def sealed(self) -> bool:
        """Whether the stream has ended."""
        return self._opened.sealed

    @property
    def full(self) -> bool:
        """Whether the batch has all the rows that its `limit` lets it take: what is written then is left out."""
        return self._opened.full

    async def write(self, data: bytes) -> None:
        """Write some bytes; a row may begin in one call and end in another.

        They are sent when they are 1 MiB, or after half a second. It waits while so much is on its way: the sender
        is held back to the speed of the jobs. ConflictError if the stream is sealed or its batch has ended,
        UnavailableError if the gateway cannot be reached for longer than the client is patient; what is not durable
        is kept, and sent by the next call. When the batch is `full`, nothing more is sent, and that is no error.
        """
        passed = min(len(data), self._durable - self._passed)
        self._passed += passed
        if self._opened.full:
            return
        self._buffer += memoryview(data)[passed:]
        if self._late or self._opened.sealed or len(self._buffer) >= REQUEST_BYTES:
            await self.flush()
        elif self._buffer and (self._later is None or self._later.done()):
            self._later = asyncio.create_task(self._linger(), name=f"stream {self.id}")

    async def write_rows(self, rows: Iterable[Any]) -> None:
        """Write values as rows of a stream of NDJSON: a list of them, or what else yields one after the other."""
        if isinstance(rows, Mapping | str | bytes):
            raise TypeError(f"write_rows takes a list of rows, not one {type(rows).__name__}: write_rows([row])")
        if self._format not in {None, "ndjson"}:
            raise InvalidRequestError(f"The stream {self.id} is {self._format}: write its bytes with `write`")
        await self.write(b"".join([msgspec.json.encode(row) + b"\n" for row in rows]))

    async def flush(self) -> None:
        """Send what was written; when it returns, that is durable. Errors as of `write`."""
        async with self._sending:
            while self._buffer:
                before, data = self._opened.offset, bytes(self._buffer[:MAX_REQUEST_BYTES])
                try:
                    await self._opened.append(data)
                    self._late = False
                finally:
                    del self._buffer[: min(len(data), self._opened.offset - before)]
                if self._opened.full:
                    self._buffer.clear()

    async def seal(self) -> None:
        """Send what was written, and end the stream. A second time nothing happens.

        Errors as of `write`; InvalidRequestError if less was written than was durable before.
        """
        await self.flush()
        if self._passed < self._durable:
            raise self._opened.too_short(self._passed)
        await self._opened.seal()

    async def _linger(self) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        try:
            await self.flush()
        except RotaError as error:
            log.info("%s; the next call tries again, or tells", error)
            self._late = True

    @property
    def _opened(self) -> Appender:
        if self._appender is None:
            raise RuntimeError("The stream is not open: use `async with client.batches.stream(...) as stream`")
        return self._appender
