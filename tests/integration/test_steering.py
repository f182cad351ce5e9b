"""Batches that are paused, resumed and changed while they run: a real NATS server, shards, and files over HTTP."""

import asyncio
from typing import Any

import pytest

from actors.offers import Offers
from actors.some_files import read_some_files
from actors.sources.file import SMALL_BYTES
from events.batch import BatchCompleted, BatchFailed
from events.batch_control import ChangeBatch, PauseBatch, ResumeBatch
from events.jetstream.topology import PAYLOADS
from rota.batch_protocol import Tolerance
from tests.integration.leading import Batch, opened, rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide

pytestmark = pytest.mark.usefixtures("shard")


async def pause(batch: Batch) -> None:
    await batch.write_side.send(PauseBatch(id=batch.id))
    await batch.until("paused")


async def resume(batch: Batch) -> None:
    await batch.write_side.send(ResumeBatch(id=batch.id))


async def change(batch: Batch, **limits: Any) -> None:
    await batch.write_side.send(ChangeBatch(id=batch.id, **limits))
    await batch.until("changed")


async def test_a_paused_batch_schedules_no_more_jobs_until_it_is_resumed(write_side: WriteSide) -> None:
    async with opened(write_side, rows(6), max_jobs_in_flight=3) as batch, batch.led() as leading:
        await batch.until_jobs(3)
        await pause(batch)
        await batch.succeed(range(3))
        await batch.until_counted(succeeded=3)
        assert await batch.count("queued") == 3

        await resume(batch)
        await batch.until_jobs(6)
        await batch.succeed(range(3, 6))
        await asyncio.wait_for(leading, WAIT_SECONDS)

        assert (await batch.names())[-1] == "completed"


async def test_a_batch_that_was_paused_before_its_reader_was_killed_stays_paused(write_side: WriteSide) -> None:
    async with opened(write_side, rows(6), max_jobs_in_flight=3) as batch:
        async with batch.led():
            await batch.until_jobs(3)
            await pause(batch)
        async with batch.led() as leading:
            await batch.succeed(range(3))
            await batch.until_counted(succeeded=3)
            assert await batch.count("queued") == 3

            await resume(batch)
            await batch.until_jobs(6)
            await batch.succeed(range(3, 6))
            await asyncio.wait_for(leading, WAIT_SECONDS)

        assert (await batch.names())[-1] == "completed"


async def test_a_batch_that_is_paused_before_it_is_read_begins_when_it_is_resumed(write_side: WriteSide) -> None:
    async with opened(write_side, rows(3)) as batch:
        await pause(batch)
        async with batch.led():
            await batch.until("file_found")
            assert await batch.count("queued") == 0

            await resume(batch)
            await batch.until_jobs(3)


async def test_more_jobs_may_be_in_flight_after_a_change(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), max_jobs_in_flight=2) as batch, batch.led():
        await batch.until_jobs(2)

        await change(batch, max_jobs_in_flight=7)
        await batch.until_jobs(7)

        await change(batch, max_jobs_in_flight=1)
        await batch.succeed(range(6))
        await batch.until_counted(succeeded=6)
        assert await batch.count("queued") == 7


async def test_bytes_in_flight_hold_a_reader_back_until_they_are_changed(write_side: WriteSide) -> None:
    wide = b"n\n" + b"".join(b"%d%s\n" % (number, b"x" * 1_000_000) for number in range(12))
    async with opened(write_side, wide, max_bytes_in_flight=1) as batch, batch.led():
        await batch.until_jobs(1)
        await batch.until("advanced")
        assert await batch.count("queued") < 12

        await change(batch, max_bytes_in_flight=2**30)
        await batch.until_jobs(12)


async def test_a_reader_of_some_files_is_steered_with_its_batch(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), rows(9), max_jobs_in_flight=4, max_readers=2) as batch:
        offers = Offers()
        leading = asyncio.create_task(batch.reader(offers, leads_only=True).run())
        try:
            files, max_jobs, others = (await offers.take_for_other()) or ((), 0, 0)
            assert (files, max_jobs, others) == ((0,), 2, 2)
            reading = asyncio.create_task(
                read_some_files(write_side.connection, lambda: batch.sources, batch.id, files, max_jobs)
            )
            await batch.until_jobs(2)
            await pause(batch)
            await batch.succeed(range(2))
            await batch.until_counted(succeeded=2)
            assert await batch.count("queued") == 2

            await resume(batch)
            await batch.until_jobs(4)
            await change(batch, max_jobs_in_flight=10)
            await batch.until_jobs(7)
        finally:
            for task in (leading, reading):
                task.cancel()
            await asyncio.wait([leading, reading])


async def test_files_are_offered_to_as_many_readers_as_a_change_wishes(write_side: WriteSide) -> None:
    files = [rows(3)] * 4
    async with opened(write_side, *files, max_jobs_in_flight=2, max_readers=1) as batch:
        offers = Offers()
        leading = asyncio.create_task(batch.reader(offers).run())
        try:
            await batch.until_jobs(2)
            assert offers.others == 0

            await change(batch, max_readers=3, max_jobs_in_flight=9)
            async with asyncio.timeout(WAIT_SECONDS):
                assert await offers.take_for_other() == ((1,), 3, 2)
        finally:
            leading.cancel()
            await asyncio.wait([leading])


async def test_large_files_that_would_wait_are_left_to_other_readers(write_side: WriteSide) -> None:
    large = rows(SMALL_BYTES // 4)
    async with opened(write_side, *[large] * 8, rows_per_job=10, max_jobs_in_flight=4, max_readers=2) as batch:
        offers = Offers()
        leading = asyncio.create_task(batch.reader(offers).run())
        try:
            await batch.until_jobs(2)
            async with asyncio.timeout(WAIT_SECONDS):
                assert [await offers.take_for_other() for _ in range(6)] == [((n,), 2, 1) for n in range(2, 8)]
        finally:
            leading.cancel()
            await asyncio.wait([leading])


async def test_small_files_are_read_beside_each_other(write_side: WriteSide) -> None:
    """More and more of them, while there is room for their jobs."""
    async with opened(write_side, *[rows(1)] * 12, max_readers=2) as batch:
        leading = asyncio.create_task(batch.reader().run())
        try:
            await batch.until("file_finished", times=12)
        finally:
            leading.cancel()
            await asyncio.wait([leading])


async def test_a_batch_fails_as_soon_as_more_jobs_fail_than_it_tolerates(write_side: WriteSide) -> None:
    tolerance = Tolerance(failed_jobs=1)
    async with (
        opened(write_side, rows(9), max_jobs_in_flight=3, tolerance=tolerance) as batch,
        batch.led() as leading,
    ):
        await batch.until_jobs(3)
        await batch.fail([0])
        await batch.until_counted(succeeded=0, failed=1)
        await batch.fail([1])
        [*_, failed] = await batch.until("failed")
        assert isinstance(failed, BatchFailed)
        assert failed.reason == "2 jobs ended without success, and failed_jobs tolerates 1"

        left = sorted(job for job, names in (await batch.jobs()).items() if names == ["queued"])
        assert len(left) < 9
        await batch.succeed(int(job.rpartition("-")[2]) for job in left)
        await asyncio.wait_for(leading, WAIT_SECONDS)


async def test_a_smaller_tolerance_fails_a_batch_at_once(write_side: WriteSide) -> None:
    async with opened(write_side, rows(9), max_jobs_in_flight=3) as batch, batch.led():
        await batch.until_jobs(3)
        await batch.fail([0, 1])
        await batch.until_counted(succeeded=0, failed=2)

        await change(batch, tolerance=Tolerance(failed_jobs=1))

        assert (await batch.names())[-1] == "failed"


async def test_rows_of_a_block_go_when_all_of_its_jobs_have_succeeded(write_side: WriteSide) -> None:
    async with opened(write_side, rows(250)) as batch, batch.led() as leading:
        await batch.until_jobs(250)
        assert await write_side.messages(PAYLOADS) == 250

        await batch.succeed(range(100))
        await write_side.until_messages(150, PAYLOADS)
        await batch.succeed(range(100, 199))
        await batch.fail([199])
        await batch.succeed(range(200, 250))
        await asyncio.wait_for(leading, WAIT_SECONDS)

        assert (await batch.names())[-1] == "completed_with_failures"
        assert await write_side.messages(PAYLOADS) == 150


async def test_rows_of_a_completed_batch_are_gone(write_side: WriteSide) -> None:
    async with opened(write_side, rows(3)) as batch:
        async with batch.led():
            await batch.until_jobs(3)
            await batch.succeed(range(2))
            await batch.until_counted(succeeded=2)
        assert await write_side.messages(PAYLOADS) == 3
        await batch.succeed([2])
        await batch.end()

        [*_, completed] = await batch.events()
        assert isinstance(completed, BatchCompleted)
        await write_side.until_messages(0, PAYLOADS)
