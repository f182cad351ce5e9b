"""Jobs of a batch that failed run again, those that are wished and no others, through kills of its reader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from events.batch import (
    STREAM,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchFailed,
    FailFile,
    FileFault,
    JobsRedriven,
    RedriveBatch,
)
from events.batch_control import ChangeBatch
from events.catalog import decode_event
from events.jetstream.chunks import ChunkLog
from events.jetstream.topology import PAYLOADS
from events.job import CancelJob, JobQueued, RedriveJob
from rota.batch_protocol import FailedJobs, StreamRules, Tolerance
from rota.follow import Follower
from tests.integration.leading import Batch, opened, rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide

pytestmark = pytest.mark.usefixtures("shard")

SUCCEEDED, FAILED = range(2, 6), range(2)


async def redrive(batch: Batch, jobs: FailedJobs | None = None, *, times: int = 1) -> None:
    await batch.write_side.send(RedriveBatch(id=batch.id, jobs=jobs or FailedJobs()))
    await batch.until("redriven", times=times)


@asynccontextmanager
async def with_failures(write_side: WriteSide) -> AsyncIterator[Batch]:
    """Have a batch of six jobs led to its end, of which the first two fail."""
    async with opened(write_side, rows(6)) as batch:
        async with batch.led() as leading:
            await batch.until_jobs(6)
            await batch.succeed(SUCCEEDED)
            await batch.fail(FAILED)
            await asyncio.wait_for(leading, WAIT_SECONDS)
        assert (await batch.names())[-1] == "completed_with_failures"
        yield batch


async def redriven(batch: Batch) -> set[str]:
    return {job for job, names in (await batch.jobs()).items() if "redriven" in names}


async def test_the_jobs_that_failed_run_again_and_no_others(write_side: WriteSide) -> None:
    async with with_failures(write_side) as batch:
        await redrive(batch)
        async with batch.led() as leading:
            [*_, finished] = await batch.until("jobs_redriven")
            assert isinstance(finished, JobsRedriven)
            assert finished.jobs == 2
            await batch.succeed(FAILED, attempt=2)
            await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert (completed.succeeded, completed.failed) == (6, 0)
        assert await redriven(batch) == {batch.job(0), batch.job(1)}
        assert await batch.count("queued") == 8
        await write_side.until_messages(0, PAYLOADS)


async def test_rows_of_failed_jobs_are_there_when_they_run_again(write_side: WriteSide) -> None:
    async with with_failures(write_side):
        assert await write_side.messages(PAYLOADS) == 6


async def test_jobs_that_fail_again_are_counted_once_and_can_run_once_more(write_side: WriteSide) -> None:
    async with with_failures(write_side) as batch:
        await redrive(batch)
        async with batch.led() as leading:
            await batch.until("jobs_redriven")
            await batch.fail(FAILED, attempt=2)
            await asyncio.wait_for(leading, WAIT_SECONDS)
        [*_, ended] = await batch.events()
        assert isinstance(ended, BatchCompletedWithFailures)
        assert (ended.succeeded, ended.failed) == (4, 2)

        await redrive(batch, times=2)
        async with batch.led() as leading:
            await batch.until("jobs_redriven", times=2)
            await batch.succeed(FAILED, attempt=3)
            await asyncio.wait_for(leading, WAIT_SECONDS)
        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert (completed.succeeded, completed.failed) == (6, 0)


async def test_a_redrive_that_no_job_fits_ends_the_batch_again(write_side: WriteSide) -> None:
    async with with_failures(write_side) as batch:
        await redrive(batch, FailedJobs(error="KeyError"))
        await batch.end()

        assert (await batch.names())[-2:] == ["jobs_redriven", "completed_with_failures"]
        assert not await redriven(batch)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (FailedJobs(file="1.csv"), {(1, 0), (1, 2)}),
        (FailedJobs(first_row=2), {(0, 2), (1, 2)}),
        (FailedJobs(last_row=1), {(0, 0), (1, 0)}),
        (FailedJobs(first_row=1, last_row=2, file="0.csv"), {(0, 2)}),
        (FailedJobs(error="out of"), {(0, 0), (1, 0)}),
        (FailedJobs(error="ValueError"), {(0, 0), (0, 2), (1, 0)}),
        (FailedJobs(error="Cancelled"), {(1, 2)}),
        (FailedJobs(error="by hand", last_row=2), {(1, 2)}),
    ],
    ids=["a file", "from a row", "to a row", "rows of a file", "a message", "a type", "cancelled", "a reason"],
)
async def test_jobs_run_again_by_file_rows_and_error(
    write_side: WriteSide, wanted: FailedJobs, expected: set[tuple[int, int]]
) -> None:
    async with opened(write_side, rows(3), rows(3)) as batch:
        async with batch.led() as leading:
            await batch.until_jobs(6)
            for file_index in (0, 1):
                await batch.succeed([1], file_index=file_index)
                await batch.fail([0], "out of memory", file_index=file_index)
            await batch.fail([2], "no such key")
            await write_side.send(CancelJob(id=batch.job(2, 1), reason="by hand"))
            await asyncio.wait_for(leading, WAIT_SECONDS)

        await redrive(batch, wanted)
        async with batch.led() as leading:
            [*_, finished] = await batch.until("jobs_redriven")
            assert isinstance(finished, JobsRedriven)
            assert finished.jobs == len(expected)
            assert await redriven(batch) == {batch.job(index, file_index) for file_index, index in expected}
            for file_index, index in expected:
                await batch.succeed([index], file_index=file_index, attempt=2)
            await asyncio.wait_for(leading, WAIT_SECONDS)
        [*_, ended] = await batch.events()
        assert isinstance(ended, BatchCompletedWithFailures)
        assert (ended.succeeded, ended.failed) == (2 + len(expected), 4 - len(expected))


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_redrive_goes_on_after_a_kill_at_any_step(write_side: WriteSide, steps: int) -> None:
    """What stands in the log when its reader is killed: both jobs redriven and queued, the count, the end of it."""
    async with with_failures(write_side) as batch:
        await redrive(batch)
        seen = await write_side.log.last_sequence()
        async with batch.led(), write_side.log.follow(after=seen) as follower, asyncio.timeout(WAIT_SECONDS):
            for step in range(steps):
                if step == 4:
                    await batch.succeed([0], attempt=2)
                await follower.take(1)
        async with batch.led() as leading:
            await batch.until("jobs_redriven")
            await batch.succeed(FAILED, attempt=2)
            await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert (completed.succeeded, completed.failed) == (6, 0)
        assert [names.count("redriven") for names in (await batch.jobs()).values()].count(1) == 2
        assert await batch.count("queued") == 8


async def test_jobs_that_end_again_before_the_redrive_is_finished_are_counted_once(write_side: WriteSide) -> None:
    """Its reader was killed after it had told them."""
    async with with_failures(write_side) as batch:
        await redrive(batch)
        [*_, event] = await batch.events()
        await write_side.send(
            *(RedriveJob(id=batch.job(index), redrive=event.originator_version) for index in FAILED)
        )
        await batch.until_jobs(8)
        await batch.succeed([0], attempt=2)
        await batch.fail([1], attempt=2)
        await batch.until_jobs(5, "succeeded")
        await batch.until_jobs(3, "failed")

        await batch.end()

        [*_, ended] = await batch.events()
        assert isinstance(ended, BatchCompletedWithFailures)
        assert (ended.succeeded, ended.failed) == (5, 1)
        assert await batch.count("queued") == 8


async def test_counts_are_right_after_a_redrive_that_a_failure_of_the_batch_cut_short(
    write_side: WriteSide,
) -> None:
    async with opened(write_side, rows(6), b"n\n1,2\n") as batch:
        async with batch.led() as leading:
            await batch.until_jobs(6)
            await batch.succeed(SUCCEEDED)
            await batch.fail(FAILED)
            await asyncio.wait_for(leading, WAIT_SECONDS)
        await redrive(batch)
        [*_, event] = await batch.events()
        await write_side.send(RedriveJob(id=batch.job(0), redrive=event.originator_version))
        await batch.until_jobs(1, "redriven")
        await write_side.send(
            FailFile(id=batch.id, file_index=1, fault=FileFault("1.csv: no"), rows=0, jobs=0),
        )
        await batch.until("failed", times=2)

        await write_side.send(RedriveBatch(id=batch.id, bad_rows="skip"))
        await batch.until("redriven", times=2)
        async with batch.led() as leading:
            [*_, finished] = await batch.until("jobs_redriven")
            assert isinstance(finished, JobsRedriven)
            assert finished.jobs == 1
            await batch.succeed(FAILED, attempt=2)
            await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert (completed.succeeded, completed.failed) == (6, 0)


async def test_a_batch_that_failed_by_its_jobs_reads_on_while_they_run_again(write_side: WriteSide) -> None:
    tolerance = Tolerance(failed_jobs=1)
    async with opened(write_side, rows(9), max_jobs_in_flight=3, tolerance=tolerance) as batch:
        async with batch.led() as leading:
            await batch.until_jobs(3)
            await batch.fail([0, 1])
            [*_, failed] = await batch.until("failed")
            assert isinstance(failed, BatchFailed)
            await write_side.send(RedriveBatch(id=batch.id, tolerance=Tolerance()))
            async with asyncio.timeout(WAIT_SECONDS):
                await leading  # another reader goes on

        async with batch.led() as leading:
            await batch.until("jobs_redriven")
            await write_side.send(ChangeBatch(id=batch.id, max_jobs_in_flight=100))
            await batch.until_jobs(9 + 2)
            await batch.succeed(FAILED, attempt=2)
            await batch.succeed(range(2, 9))
            await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert (completed.succeeded, completed.failed) == (9, 0)


async def work(batch: Batch, *, fails: int) -> None:
    """End jobs as they are queued: every so manieth fails, until it is redriven."""
    async with batch.write_side.log.follow(["rota.event.job.*.queued.>"]) as follower:
        while True:
            for message in await follower.take():
                event = decode_event(message.data)
                assert isinstance(event, JobQueued)
                index = int(event.originator_id.rpartition("-")[2])
                end = batch.fail if event.attempt == 1 and index % fails == 0 else batch.succeed
                await end([index], attempt=event.attempt)


async def test_a_batch_whose_readers_are_killed_all_the_time_counts_each_job_once(write_side: WriteSide) -> None:
    async with opened(write_side, rows(60), max_jobs_in_flight=7) as batch:
        working = asyncio.create_task(work(batch, fails=3))
        try:
            for redrives, status in ((0, "completed_with_failures"), (1, "completed")):
                if redrives:
                    await redrive(batch)
                while (await batch.names())[-1] != status:
                    seen = await write_side.log.last_sequence()
                    async with batch.led() as leading, write_side.log.follow(after=seen) as follower:
                        killing = asyncio.create_task(_until_events(follower, 9))
                        await asyncio.wait([leading, killing], return_when=asyncio.FIRST_COMPLETED)
                        killing.cancel()
                [*_, ended] = await batch.events()
                assert isinstance(ended, BatchCompleted | BatchCompletedWithFailures)
                assert (ended.succeeded, ended.failed) == ((60, 0) if redrives else (40, 20))
        finally:
            working.cancel()
            await asyncio.wait([working])

        assert await batch.count("queued") == 80
        assert await batch.count("redriven") == 20


async def _until_events(follower: Follower, count: int) -> None:
    while count > 0:
        count -= len(await follower.take(count))


async def test_a_stream_that_failed_is_read_on(write_side: WriteSide) -> None:
    stream = {"files": (STREAM,), "format": "ndjson", "stream": StreamRules(), "connection": None}
    async with opened(write_side, **stream) as batch:
        chunks = ChunkLog(write_side.connection, batch.id)
        await chunks.seal(await chunks.append(await chunks.last(), b'{"n": 0}\nno\n{"n": 2}\n'))
        async with batch.led() as leading:
            await batch.until("failed")
            await batch.succeed(range(await batch.count("queued")))
            await asyncio.wait_for(leading, WAIT_SECONDS)

        await write_side.send(RedriveBatch(id=batch.id, bad_rows="skip"))
        await batch.until("redriven")
        async with batch.led() as leading:
            await batch.until_jobs(2)
            await batch.succeed(range(2))
            await asyncio.wait_for(leading, WAIT_SECONDS)

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        assert completed.succeeded == 2
