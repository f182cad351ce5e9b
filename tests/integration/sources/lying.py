"""A web server that does what it is told to: stall, break off, lie about lengths, ranges and versions."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

PIECE_BYTES = 64 * 1024


class Ask:
    """One request, and the connection that its answer goes to."""

    def __init__(self, head: str, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        self._writer = writer

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First byte, and byte after the last, that are asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else None

    @property
    def is_probe(self) -> bool:
        """Whether it asks what the file is, and not for its bytes."""
        return self.headers.get("range") == "bytes=0-0"

    async def answer(self, status: int, headers: Mapping[str, object] | None = None, body: bytes = b"") -> None:
        """Send an answer; without a length, if none is given."""
        lines = [f"HTTP/1.1 {status} So", *[f"{name}: {value}" for name, value in (headers or {}).items()]]
        self._writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        for start in range(0, len(body), PIECE_BYTES):
            self._writer.write(body[start : start + PIECE_BYTES])
            await self._writer.drain()

    async def chunk(self, body: bytes) -> None:
        """Send a part of a chunked answer; an empty one is its end."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(body), body))
        await self._writer.drain()


Handler = Callable[[Ask], Awaitable[None]]


class LyingServer:
    """Serves one file at every path that nothing else is said of."""

    def __init__(self, body: bytes) -> None:
        self.url = ""
        self.body = body
        self.etag: str | None = '"v1"'
        self.modified: str | None = None
        self.media_type = "text/csv"
        self.asked: list[Ask] = []
        self.handlers: dict[str, Handler] = {}
        self.answering: set[asyncio.Task[None]] = set()

    def validators(self) -> dict[str, object]:
        """Return the headers that name the version."""
        known: dict[str, object] = {
            "ETag": self.etag,
            "Last-Modified": self.modified,
            "Content-Type": self.media_type,
        }
        return {name: value for name, value in known.items() if value} | {"Date": "Tue, 24 Nov 2026 12:00:00 GMT"}

    def partial(self, start: int, stop: int, total: object = None) -> dict[str, object]:
        """Return the headers of an answer with a range."""
        shown = len(self.body) if total is None else total
        return self.validators() | {
            "Content-Range": f"bytes {start}-{stop - 1}/{shown}",
            "Content-Length": stop - start,
        }

    async def honest(self, ask: Ask) -> None:
        """Answer as servers of files do."""
        depends = ask.headers.get("if-range")
        wanted = ask.range if depends in (None, self.etag, self.modified) else None
        if wanted and wanted[0] >= len(self.body):
            await ask.answer(416, {"Content-Range": f"bytes */{len(self.body)}", "Content-Length": 0})
        elif wanted:
            start, stop = wanted[0], min(wanted[1] or len(self.body), len(self.body))
            await ask.answer(206, self.partial(start, stop), self.body[start:stop])
        else:
            await ask.answer(200, self.validators() | {"Content-Length": len(self.body)}, self.body)

    async def whole(self, ask: Ask) -> None:
        """Answer as servers do that know no ranges."""
        await ask.answer(200, self.validators() | {"Content-Length": len(self.body)}, self.body)

    async def chunked(self, ask: Ask) -> None:
        """Answer as servers do that make the file as they send it."""
        await ask.answer(200, self.validators() | {"Transfer-Encoding": "chunked"})
        for start in range(0, len(self.body), PIECE_BYTES):
            await ask.chunk(self.body[start : start + PIECE_BYTES])
        await ask.chunk(b"")

    async def endless(self, ask: Ask) -> None:
        """Answer without an end."""
        await ask.answer(200, self.validators() | {"Transfer-Encoding": "chunked"})
        while True:
            await ask.chunk(b"again and again\n" * 1000)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        task = asyncio.current_task()
        assert task
        self.answering.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            ask = Ask((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
            self.asked.append(ask)
            await self.handlers.get(ask.path, self.honest)(ask)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.answering.discard(task)


@asynccontextmanager
async def lying(body: bytes) -> AsyncIterator[LyingServer]:
    """Run a server on a free port."""
    found = LyingServer(body)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in found.answering:
            task.cancel()
        if found.answering:
            await asyncio.wait(found.answering)
