"""What one reader leaves behind that has stopped between two steps, and what the next one makes of it."""

import asyncio
from typing import Any

import pytest

from actors.batch_log import BatchLog
from actors.collector import collect_results
from actors.progress import Progress
from actors.reader import Reader
from events.batch import (
    AdvanceFile,
    CountJobs,
    FailFile,
    FileFault,
    FindFile,
    FinishRedrive,
    Position,
    RedriveBatch,
)
from events.batch_control import BatchCancelled, CancelBatch
from events.batch_results import CollectResults, ResultsCollected
from events.jetstream.chunks import ChunkLog
from rota.batch_protocol import Tolerance
from tests.integration import test_cutting as cutting
from tests.integration.leading import opened, rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide

pytestmark = pytest.mark.usefixtures("shard")


async def test_a_stream_that_is_redriven_in_the_moment_of_its_failure_keeps_its_bytes(
    write_side: WriteSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cutting.streamed(write_side) as (batch, stream):
        await stream.send(0, 1)
        await batch.log.ask(FailFile(id=batch.id, file_index=0, fault=FileFault("a bad row"), rows=0, jobs=0))
        reader = Reader(write_side.connection, dict, batch.id)
        look = reader._log.known_state

        async def redriven_before() -> Any:
            await batch.log.ask(RedriveBatch(id=batch.id))
            return await look()

        monkeypatch.setattr(reader._log, "known_state", redriven_before)
        await reader.run()

        assert (await batch.log.known_state()).status == "reading"
        last = await ChunkLog(write_side.connection, batch.id).last()
        assert (last.is_end, last.end) == (False, last.end)
        assert last.end > 0


async def test_an_early_cut_of_a_batch_that_has_failed_makes_no_job(write_side: WriteSide) -> None:
    rules = {"seconds_per_job": 0.5, "rows_per_job": 5, "tolerance": Tolerance(failed_jobs=0)}
    async with cutting.streamed(write_side, **rules) as (batch, stream):
        async with cutting.reading(batch):
            await stream.send(0, 1)
            await write_side.until(batch.id, "batch.file_found", "batch")
            # The batch fails just before the early cut is told.
            await batch.log.ask(CountJobs(id=batch.id, until=1, succeeded=0, failed=1))
            await asyncio.sleep(1.0)
        await batch.log.ask(RedriveBatch(id=batch.id, tolerance=Tolerance(failed_jobs=9)))
        redrive = (await batch.log.known_state()).version
        await batch.log.ask(FinishRedrive(id=batch.id, redrive=redrive, jobs=0))
        await stream.send(2, 3, 4, 5)
        await stream.seal()

        assert await batch.read()

        assert sorted(row for job in await batch.values() for row in job) == [0, 1, 2, 3, 4, 5]
        assert (await batch.log.known_state()).files[0].rows == 6


async def test_a_file_that_was_mended_before_its_rows_in_jobs_is_refused_each_time(write_side: WriteSide) -> None:
    body = b"n,m\n0,x\n1,x\n2,x\n3,x\n4,x\n5,x\n6,x\n"
    async with cutting.opened(write_side, {"a.csv": body}, bad_rows="skip", format="csv") as batch:
        # Its second row was bad when it was read first.
        await batch.log.ask(FindFile(id=batch.id, file_index=0, size=40, file_version="another"))
        await batch.log.ask(AdvanceFile(id=batch.id, file_index=0, position=Position(4, bad=1), rows=3, jobs=1))
        failed = FailFile(id=batch.id, file_index=0, fault=FileFault("it broke off"), rows=3, jobs=1, bad=1)
        await batch.log.ask(failed)
        for _ in range(2):
            await batch.log.ask(RedriveBatch(id=batch.id, jobs=None))

            assert not await batch.read()

            assert (await batch.log.known_state()).status == "failed"


async def test_jobs_that_nobody_told_of_are_in_what_a_cancelled_batch_says(write_side: WriteSide) -> None:
    async with opened(write_side, rows(200), max_jobs_in_flight=50) as batch:
        async with batch.led() as leading:
            await batch.until_jobs(50)
            await batch.succeed(range(50))
            await batch.until_jobs(60)
            await write_side.send(CancelBatch(id=batch.id, reason="wrong file"))
            await asyncio.wait_for(leading, WAIT_SECONDS)
        cancelled = (await batch.events())[-1]
        assert isinstance(cancelled, BatchCancelled)
        log = BatchLog(write_side.connection, batch.id, caller="test")
        state = await log.known_state()
        assert cancelled.jobs == len(await batch.jobs()) == state.jobs == state.rows
        await log.ask(CollectResults(id=batch.id, collection="c1", format="ndjson"))
        await collect_results(write_side.connection, dict, batch.id, "c1")
        [collected] = [event for event in await batch.events() if isinstance(event, ResultsCollected)]
        assert collected.manifest.jobs == {
            "succeeded": 50,
            "failed": cancelled.jobs - 50,
            "pending": 0,
            "total": cancelled.jobs,
        }


async def test_jobs_that_ended_before_anybody_told_of_them_take_no_room(
    write_side: WriteSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = b"n\n" + b"".join(b"%d%s\n" % (n, b"x" * 10_000) for n in range(60))
    async with opened(write_side, wide, max_bytes_in_flight=300_000) as batch:
        # The first reader is killed before it tells how far it is.
        monkeypatch.setattr(Progress, "tell", _never)
        async with batch.led():
            await batch.until_jobs(20)
            count = await batch.count("queued")
            await batch.succeed(range(count))
            await batch.until_counted(succeeded=count)
        monkeypatch.undo()

        async with batch.led() as leading, asyncio.timeout(WAIT_SECONDS):
            while not leading.done():
                jobs = await batch.jobs()
                waiting = [int(job.rpartition("-")[2]) for job, names in jobs.items() if names == ["queued"]]
                if waiting:
                    await batch.succeed(waiting)
                await asyncio.sleep(0.05)

        assert (await batch.names())[-1] == "completed"
        assert len(await batch.jobs()) == 60


async def _never(*_: Any) -> None:
    await asyncio.Event().wait()
