"""Batches that are cancelled: what waits is withdrawn, what runs is told, and the batch says what had ended."""

import asyncio
from typing import Any

import pytest

from actors.some_files import read_some_files
from events.batch import STREAM, RedriveBatch
from events.batch_control import BatchCancelled, CancelBatch, PauseBatch
from events.jetstream.chunks import ChunkLog
from events.jetstream.topology import CHUNKS, PAYLOADS, WORK
from events.job import JobCancelled, ScheduleJob
from events.subjects import chunks_filter
from rota.batch_protocol import FailedJobs, StreamRules
from rota.protocol import Payload, Rows
from tests.integration.leading import Batch, opened, rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details

pytestmark = pytest.mark.usefixtures("shard")


async def cancel(batch: Batch) -> None:
    await batch.write_side.send(CancelBatch(id=batch.id, reason="wrong file"))
    await batch.until("cancelling")


async def end(batch: Batch) -> BatchCancelled:
    """Lead a batch that is being cancelled to its end."""
    await batch.end()
    [*_, cancelled] = await batch.events()
    assert isinstance(cancelled, BatchCancelled)
    return cancelled


async def test_the_jobs_of_a_cancelled_batch_are_withdrawn_and_its_rows_removed(write_side: WriteSide) -> None:
    async with opened(write_side, rows(20), max_jobs_in_flight=8) as batch, batch.led() as leading:
        await batch.until_jobs(8)
        await batch.succeed([0, 1])
        await batch.fail([2])
        await batch.until_counted(succeeded=2, failed=1)
        await cancel(batch)
        await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, cancelled] = await batch.events()
        assert isinstance(cancelled, BatchCancelled)
        assert (cancelled.succeeded, cancelled.reason) == (2, "wrong file")
        assert cancelled.jobs == cancelled.succeeded + cancelled.failed == len(await batch.jobs())
        assert await batch.count("cancelled") == cancelled.failed - 1
        [*_, job] = await write_side.until(batch.job(3), "job.cancelled")
        assert isinstance(job, JobCancelled)
        assert job.reason == "wrong file"
        await write_side.until_messages(3, WORK)  # of the jobs that ended: no worker has taken them
        await write_side.until_messages(0, PAYLOADS)


async def test_a_reader_leaves_a_batch_that_is_cancelled_and_asks_to_be_run_again(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), max_jobs_in_flight=3) as batch:
        leading = asyncio.create_task(batch.reader().run())
        await batch.until_jobs(3)
        await cancel(batch)

        async with asyncio.timeout(WAIT_SECONDS):
            assert not await leading
            assert await batch.count("cancelled") == 0
            assert await batch.reader().run()
            assert await batch.reader().run()

        assert (await end(batch)).jobs == 3


async def test_a_reader_of_some_files_leaves_a_batch_that_is_cancelled(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), max_jobs_in_flight=3) as batch:
        reading = asyncio.create_task(
            read_some_files(write_side.connection, lambda: batch.sources, batch.id, [0], 3)
        )
        await batch.until_jobs(3)
        await cancel(batch)

        async with asyncio.timeout(WAIT_SECONDS):
            await reading

        assert (await end(batch)).jobs == 3


async def test_jobs_that_a_reader_did_not_come_to_tell_of_are_cancelled(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), rows(9)) as batch:
        for file_index, count in ((0, 130), (1, 1)):
            row = Rows(batch.id, f"{file_index}.csv", file_index, 0, 0, 1, Payload("rota.payload.x", 1, ""))
            made = details(rows=row)
            await write_side.send(
                *(ScheduleJob(id=batch.job(index, file_index), details=made) for index in range(count))
            )
        await cancel(batch)

        cancelled = await end(batch)

        assert (cancelled.jobs, cancelled.succeeded, cancelled.failed) == (131, 0, 131)
        await write_side.until(batch.job(129), "job.cancelled")


async def test_a_batch_whose_files_are_read_is_cancelled(write_side: WriteSide) -> None:
    async with opened(write_side, rows(5)) as batch, batch.led() as leading:
        await batch.until("sealed")
        await batch.succeed([4])
        await batch.until_counted(succeeded=1)
        await cancel(batch)
        await asyncio.wait_for(leading, WAIT_SECONDS)

        cancelled = await end(batch)
        assert (cancelled.jobs, cancelled.succeeded, cancelled.failed) == (5, 1, 4)


async def test_a_batch_without_jobs_is_cancelled(write_side: WriteSide) -> None:
    async with opened(write_side, rows(5)) as batch:
        await write_side.send(PauseBatch(id=batch.id))
        await cancel(batch)

        assert (await end(batch)).jobs == 0


async def test_a_paused_batch_is_cancelled(write_side: WriteSide) -> None:
    async with opened(write_side, rows(5), max_jobs_in_flight=2) as batch, batch.led() as leading:
        await batch.until_jobs(2)
        await write_side.send(PauseBatch(id=batch.id))
        await cancel(batch)
        await asyncio.wait_for(leading, WAIT_SECONDS)

        assert (await end(batch)).jobs == 2


async def test_a_batch_is_cancelled_while_its_jobs_run_again(write_side: WriteSide) -> None:
    async with opened(write_side, rows(4)) as batch:
        async with batch.led() as leading:
            await batch.until_jobs(4)
            await batch.succeed([0, 1])
            await batch.fail([2, 3])
            await asyncio.wait_for(leading, WAIT_SECONDS)
        await write_side.send(RedriveBatch(id=batch.id, jobs=FailedJobs(first_row=3)))
        async with batch.led() as leading:
            await batch.until("jobs_redriven")
            await cancel(batch)
            await asyncio.wait_for(leading, WAIT_SECONDS)

        cancelled = await end(batch)
        assert (cancelled.jobs, cancelled.succeeded, cancelled.failed) == (4, 2, 2)
        assert (await batch.jobs())[batch.job(3)][-1] == "cancelled"
        assert (await batch.jobs())[batch.job(2)][-1] == "failed"


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_cancellation_goes_on_after_a_kill_at_any_step(write_side: WriteSide, steps: int) -> None:
    """What stands in the log when its reader is killed: up to six jobs cancelled, and the end of the batch."""
    async with opened(write_side, rows(9), max_jobs_in_flight=6) as batch:
        async with batch.led():
            await batch.until_jobs(6)
        await cancel(batch)
        seen = await write_side.log.last_sequence()
        async with batch.led(), write_side.log.follow(after=seen) as follower, asyncio.timeout(WAIT_SECONDS):
            for _ in range(steps):
                await follower.take(1)

        cancelled = await end(batch)

        assert (cancelled.jobs, cancelled.succeeded, cancelled.failed) == (6, 0, 6)
        assert (await batch.names()).count("cancelled") == 1
        assert await batch.count("cancelled") == 6
        await write_side.until_messages(0, PAYLOADS)


async def test_jobs_that_end_while_they_are_cancelled_are_counted_as_they_ended(write_side: WriteSide) -> None:
    async with opened(write_side, rows(6)) as batch:
        async with batch.led():
            await batch.until_jobs(6)
        await cancel(batch)
        await batch.succeed([5])
        await batch.until_jobs(1, "succeeded")

        cancelled = await end(batch)

        assert (cancelled.jobs, cancelled.succeeded, cancelled.failed) == (6, 1, 5)


async def streamed(write_side: WriteSide, batch: Batch, body: bytes, *, sealed: bool) -> None:
    chunks = ChunkLog(write_side.connection, batch.id)
    last = await chunks.append(await chunks.last(), body)
    if sealed:
        await chunks.seal(last)


def stream(**others: Any) -> dict[str, Any]:
    return {"files": (STREAM,), "format": "ndjson", "stream": StreamRules(), "connection": None, **others}


ROWS = b'{"n": 1}\n{"n": 2}\n'


async def test_a_reader_stops_at_once_while_it_waits_for_the_bytes_of_a_stream(write_side: WriteSide) -> None:
    async with opened(write_side, **stream()) as batch:
        await streamed(write_side, batch, ROWS, sealed=False)
        async with asyncio.timeout(WAIT_SECONDS), batch.led():
            await batch.until_jobs(2)

        async with asyncio.timeout(WAIT_SECONDS), batch.led() as leading:
            await cancel(batch)
            await leading

        assert (await end(batch)).jobs == 2
        await write_side.until_messages(0, PAYLOADS)


@pytest.mark.parametrize("how", ["completed", "completed_with_failures", "cancelled", "failed"])
async def test_the_bytes_of_a_stream_go_at_its_end_unless_it_may_be_read_on(
    write_side: WriteSide, how: str
) -> None:
    async with opened(write_side, **stream()) as batch:
        body = ROWS + (b"no" if how == "failed" else b"")
        await streamed(write_side, batch, body, sealed=True)
        async with batch.led() as leading:
            if how != "failed":
                await batch.until_jobs(2)
                await batch.succeed([0])
                match how:
                    case "completed":
                        await batch.succeed([1])
                    case "completed_with_failures":
                        await batch.fail([1])
                    case _:
                        await cancel(batch)
            async with asyncio.timeout(WAIT_SECONDS):
                await batch.until(how)
                if how == "failed":
                    await batch.succeed(range(await batch.count("queued")))
                await leading

        chunks = ChunkLog(write_side.connection, batch.id)
        assert [piece.body async for piece in chunks.pieces(0)] == ([body] if how == "failed" else [])
        assert await write_side.messages(CHUNKS, chunks_filter(batch.id)) == (2 if how == "failed" else 1)
