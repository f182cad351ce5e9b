"""Batches of one-column files, led as the supervisor would, with jobs that the test ends itself."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from actors.batch_log import caught_up
from actors.offers import Offers
from actors.reader import Reader
from events.batch import BatchDetails, OpenBatch
from events.catalog import TAGS, AnyEvent, decode_event
from events.ids import batch_job_id, group_of
from events.sources import Connection, HttpConnection
from rota.jetstream import Connection as JetStream
from rota.protocol import FailJob, JobFault, Result, SucceedJob
from tests.integration.write_side import ONCE, WAIT_SECONDS, WriteSide, details, new_id


def rows(count: int) -> bytes:
    """Return a file of so many rows, with their numbers."""
    return b"n\n" + b"".join(b"%d\n" % number for number in range(count))


class Batch:
    """A batch with a job for each row, and what a test does with it."""

    def __init__(self, write_side: WriteSide, sources: dict[str, Connection], id_: str) -> None:
        self.write_side = write_side
        self.sources = sources
        self.id = id_

    def job(self, index: int, file_index: int = 0) -> str:
        return batch_job_id(self.id, file_index, index)

    def reader(self, offers: Offers | None = None, *, leads_only: bool = False) -> Reader:
        return Reader(self.write_side.connection, lambda: self.sources, self.id, offers, leads_only=leads_only)

    async def lead(self) -> None:
        """Lead the batch to its end, as often as that asks for it, over a connection of its own."""
        url = self.write_side.connection.client.connected_url
        assert url
        async with await JetStream.open(url.geturl(), name="reader") as connection:
            while not await Reader(connection, lambda: self.sources, self.id).run():
                pass

    @asynccontextmanager
    async def led(self) -> AsyncIterator[asyncio.Task[None]]:
        """Have it led; at the end its reader is stopped, wherever it is."""
        task = asyncio.create_task(self.lead())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def end(self) -> None:
        """Lead it to its end, which is near."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.lead()

    async def succeed(self, indexes: Iterable[int], *, attempt: int = 1, file_index: int = 0) -> None:
        await self.write_side.send(
            *(
                SucceedJob(
                    id=self.job(index, file_index),
                    attempt=attempt,
                    worker="w",
                    started_at=datetime.now(UTC),
                    result=Result(),
                )
                for index in indexes
            )
        )

    async def fail(
        self, indexes: Iterable[int], error: str = "no", *, attempt: int = 1, file_index: int = 0
    ) -> None:
        await self.write_side.send(
            *(
                FailJob(
                    id=self.job(index, file_index),
                    attempt=attempt,
                    worker="w",
                    started_at=datetime.now(UTC),
                    fault=JobFault("ValueError", error),
                )
                for index in indexes
            )
        )

    async def jobs(self) -> dict[str, list[str]]:
        """Return the events of its jobs by now, by their names."""
        found: dict[str, list[str]] = {}
        async with self.write_side.log.follow(["rota.event.job.>"], headers_only=True) as follower:
            async for message in caught_up(follower):
                _, _, _, job, name, *_ = message.subject.split(".")
                if job.startswith(f"{self.id}_"):
                    found.setdefault(job, []).append(name)
        return found

    async def count(self, name: str) -> int:
        """Return how many events of this name its jobs have by now."""
        return sum(names.count(name) for names in (await self.jobs()).values())

    async def until_jobs(self, count: int, name: str = "queued") -> None:
        """Wait until its jobs have so many events of this name."""
        filters = [f"rota.event.job.*.{name}.>"]
        async with asyncio.timeout(WAIT_SECONDS), self.write_side.log.follow(filters) as follower:
            while count > 0:
                for message in await follower.take():
                    count -= message.subject.split(".")[3].startswith(f"{self.id}_")

    async def until_counted(self, *, succeeded: int, failed: int = 0) -> None:
        """Wait until it was told that so many of its jobs have ended."""
        filters = [f"rota.event.batch.{self.id}.jobs_counted"]
        async with asyncio.timeout(WAIT_SECONDS), self.write_side.log.follow(filters) as follower:
            while True:
                for message in await follower.take():
                    event: Any = decode_event(message.data)
                    if (event.succeeded, event.failed) == (succeeded, failed):
                        return

    async def until(self, name: str, *, times: int = 1) -> list[AnyEvent]:
        return await self.write_side.until(self.id, f"batch.{name}", "batch", times=times)

    async def events(self) -> list[AnyEvent]:
        return [recorded.event for recorded in await self.write_side.log.load("batch", self.id)]

    async def names(self) -> list[str]:
        return [TAGS[type(event)].removeprefix("batch.") for event in await self.events()]


@asynccontextmanager
async def opened(write_side: WriteSide, *files: bytes, **others: Any) -> AsyncIterator[Batch]:
    """Open a batch of these files, which a web server has: `0.csv` and so on."""

    async def answer(request: web.Request) -> web.Response:
        body = files[int(request.path.strip("/").removesuffix(".csv"))]
        return web.Response(body=body, headers={"ETag": f'"{len(body)}"'})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        request = {"rows_per_job": 1, "max_jobs_in_flight": 1000, "connection": "site", **others}
        made = BatchDetails(
            **{
                "spec": "add",
                "queue": "default",
                "files": tuple(f"{number}.csv" for number in range(len(files))),
                "params": details().params,
                "retry": ONCE,
                **request,
            }
        )
        id_ = group_of(new_id())
        await write_side.send(OpenBatch(id=id_, details=made))
        batch = Batch(write_side, {"site": HttpConnection(root=str(server.make_url("/")))}, id_)
        await batch.until("opened")
        yield batch
