"""A reader cuts a file into jobs and follows them: a real NATS server, a shard, and a file over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from actors.batch_jobs import MESSAGE_BYTES
from actors.reader import Reader
from events.batch import BatchCompleted, BatchDetails, OpenBatch
from events.ids import batch_job_id, group_of
from events.jetstream.topology import WORK
from events.job import ScheduleJob
from events.sources import HttpConnection
from rota.protocol import Payload, Result, Rows, SucceedJob
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id

pytestmark = pytest.mark.usefixtures("shard")

JOBS = 40


@pytest_asyncio.fixture(loop_scope="session")
async def url() -> AsyncIterator[str]:
    """Serve a file of JOBS rows."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"a\n" + b"1\n" * JOBS)

    app = web.Application()
    app.router.add_get("/a.csv", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


def success(id_: str) -> SucceedJob:
    return SucceedJob(id=id_, attempt=1, worker="w", started_at=datetime.now(UTC), result=Result())


def reader(write_side: WriteSide, url: str, batch: str) -> Reader:
    return Reader(write_side.connection, lambda: {"site": HttpConnection(root=url)}, batch)


async def opened(write_side: WriteSide, params: object = None) -> str:
    batch = group_of(new_id())
    made = BatchDetails("add", "default", ("a.csv",), 1, 1000, details(params=params).params, "site")
    await write_side.send(OpenBatch(id=batch, details=made))
    await write_side.until(batch, "batch.opened", "batch")
    return batch


async def test_a_batch_whose_params_are_large_is_scheduled_in_more_messages(
    write_side: WriteSide, url: str
) -> None:
    batch = await opened(write_side, {"a": "x" * (10 * MESSAGE_BYTES // JOBS)})

    reading = asyncio.create_task(reader(write_side, url, batch).run())
    await write_side.until_messages(JOBS, WORK)

    await write_side.send(*(success(batch_job_id(batch, 0, index)) for index in range(JOBS)))
    await asyncio.wait_for(reading, WAIT_SECONDS)
    [*_, completed] = await write_side.until(batch, "batch.completed", "batch")
    assert isinstance(completed, BatchCompleted)
    assert completed.succeeded == JOBS


async def test_a_job_that_only_says_that_it_is_of_a_batch_is_not_counted(write_side: WriteSide, url: str) -> None:
    batch = await opened(write_side)
    reading = asyncio.create_task(reader(write_side, url, batch).run())
    await write_side.until_messages(JOBS, WORK)
    foreign = new_id()
    rows = Rows(batch, "a", 0, 0, 0, 1, Payload("rota.payload.x", 1, ""))

    await write_side.send(ScheduleJob(id=foreign, details=details(rows=rows)), success(foreign))
    await write_side.until(foreign, "job.succeeded")
    await write_side.send(*(success(batch_job_id(batch, 0, index)) for index in range(JOBS)))

    await asyncio.wait_for(reading, WAIT_SECONDS)
    [*_, completed] = await write_side.until(batch, "batch.completed", "batch")
    assert isinstance(completed, BatchCompleted)
    assert completed.succeeded == JOBS
