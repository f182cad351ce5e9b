"""What the tests of streamed data share: a gateway and its client, and batches to stream to."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from msgspec import Raw

from events.batch import BatchDetails, FailFile, FileFault, OpenBatch
from events.batch_decisions import BATCH
from events.config import Config
from events.jetstream.chunks import MEBIBYTE, ChunkLog, Piece
from events.jetstream.log import Append
from gateway.app import application
from gateway.callers import Asker
from gateway.edge import EDGE, Edge
from rota.batch_protocol import StreamRules
from tests.integration.write_side import WriteSide, new_id

STREAM_BYTES = 16 * MEBIBYTE
ASKER = Asker("test")
WAIT_SECONDS = 20.0


def details(**others: Any) -> BatchDetails:
    given: dict[str, Any] = {
        "spec": "load",
        "queue": "default",
        "files": ("stream",),
        "rows_per_job": 1000,
        "max_jobs_in_flight": 100,
        "params": Raw(b"\x80"),
        "format": "ndjson",
        "compression": "none",
        "stream": StreamRules(),
    }
    return BatchDetails(**given | others)


def failure(id_: str, reason: str) -> FailFile:
    return FailFile(id=id_, file_index=0, fault=FileFault(reason), rows=0, jobs=0)


class Gateway:
    """A gateway's client, and the log behind it."""

    def __init__(self, http: aiohttp.ClientSession, runner: web.AppRunner, write_side: WriteSide) -> None:
        self.http = http
        self.runner = runner
        self.write_side = write_side
        assert http._base_url
        self.host, self.port = str(http._base_url.host), http._base_url.port
        self.tasks: list[asyncio.Task[Answer]] = []

    def start(self, sending: Coroutine[Any, Any, "Answer"]) -> "asyncio.Task[Answer]":
        """Send something in the background, no longer than the gateway is there."""
        self.tasks.append(asyncio.create_task(sending))
        return self.tasks[-1]

    @property
    def edge(self) -> Edge:
        app = self.runner.app
        assert app
        return app[EDGE]

    async def open(self, **others: Any) -> str:
        id_ = new_id()
        keeps = others.get("compression", "none") != "none"
        await self.carry_out(OpenBatch(id=id_, details=details(keeps_stream=keeps, **others)))
        return id_

    async def carry_out(self, command: Any) -> None:
        """Do as a shard does."""
        log = self.write_side.log
        history = await log.load("batch", command.id)
        state = None
        for recorded in history:
            state = BATCH.evolve(state, recorded.event)
        events = BATCH.decide(state, command, datetime.now(UTC))
        assert events
        await log.append([Append("batch", command.id, history[-1].sequence if history else 0, events)])

    async def patch(
        self, id_: str, body: Any, offset: Any, *, complete: bool | None = None, **headers: str
    ) -> "Answer":
        sent = {"Upload-Offset": str(offset)} if offset is not None else {}
        sent |= {"Upload-Complete": f"?{complete:d}"} if complete is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data_ = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.http.patch(f"/batches/{id_}/data", data=data_, headers=sent) as response:
            return await Answer.of(response)

    async def ask(self, method: str, path: str) -> "Answer":
        async with self.http.request(method, path) as response:
            return await Answer.of(response)


class Answer:
    """What the gateway says."""

    def __init__(self, status: int, offset: int | None, complete: str | None, text: str) -> None:
        self.status, self.offset, self.complete, self.text = status, offset, complete, text

    @classmethod
    async def of(cls, response: aiohttp.ClientResponse) -> "Answer":
        offset = response.headers.get("Upload-Offset")
        complete = response.headers.get("Upload-Complete")
        return cls(response.status, int(offset) if offset else None, complete, await response.text())

    @property
    def detail(self) -> str:
        return str(json.loads(self.text)["detail"])


@asynccontextmanager
async def serving(write_side: WriteSide, home: Path, url: str) -> AsyncIterator[Gateway]:
    config = Config(home=home, nats_url=url, stream_bytes=STREAM_BYTES, kept_stream_bytes=STREAM_BYTES)
    # A client that goes away while it is refused keeps the server from stopping for so long.
    runner = web.AppRunner(application(config), lingering_time=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            gateway = Gateway(http, runner, write_side)
            yield gateway
            for task in gateway.tasks:
                task.cancel()
    finally:
        await runner.cleanup()


async def stored(gateway: Gateway, id_: str) -> list[Piece]:
    chunks = ChunkLog(gateway.write_side.connection, id_)
    return [piece async for piece in chunks.pieces(0)]


async def body_of(gateway: Gateway, id_: str) -> bytes:
    return b"".join(piece.body for piece in await stored(gateway, id_))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await holds():
            await asyncio.sleep(0.01)


async def durable(gateway: Gateway, id_: str) -> int:
    return (await ChunkLog(gateway.write_side.connection, id_).last()).end


async def reached(gateway: Gateway, id_: str, offset: int) -> bool:
    return await durable(gateway, id_) == offset
