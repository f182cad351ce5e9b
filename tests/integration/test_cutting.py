"""One file's reader: which rows are in which jobs, also after another one takes over, with a real NATS server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from actors.batch_log import BatchLog
from actors.file_reader import FileReader, OvertakenError
from actors.flight import Flight
from actors.scheduled_jobs import first_unscheduled
from events.batch import (
    BatchAdvanced,
    BatchDetails,
    BatchFailed,
    CountJobs,
    CutJob,
    FileFinished,
    FinishRedrive,
    JobCut,
    OpenBatch,
    RedriveBatch,
    RowsQuarantined,
)
from events.batch_state import FileState
from events.catalog import decode_event
from events.ids import group_of, place_in_batch
from events.jetstream.chunks import NOTHING, ChunkLog, Piece
from events.jetstream.payloads import Payloads
from events.job import JobQueued
from events.sources import HttpConnection
from rota.batch_protocol import BadRowsAgain, StreamRules
from rota.protocol import Rows
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id

pytestmark = pytest.mark.usefixtures("shard")


class Batch:
    """A batch, the files of a web server, and readers that are started one after the other."""

    def __init__(self, write_side: WriteSide, id_: str, files: dict[str, bytes], root: str) -> None:
        self.write_side = write_side
        self.id = id_
        self.files = files
        self.log = BatchLog(write_side.connection, id_, caller="test")
        self._root = root

    async def read(self, index: int = 0, known: FileState | None = None) -> bool:
        """Read a file to its end, as a reader that knows only what the log says, or said when it was asked."""
        state = await self.log.known_state()
        reader = FileReader(
            self.log,
            state.details,
            sources=lambda: {"site": HttpConnection(root=self._root)},
            connection=self.write_side.connection,
            flight=Flight(1000),
        )
        async with asyncio.timeout(WAIT_SECONDS):
            whole = await reader.run(index, known or state.files[index])
            # What it has told is in the log once a later command is carried out, which says nothing new.
            await self.log.ask(CountJobs(id=self.id, until=0, succeeded=0, failed=0))
        return whole

    async def events(self, kind: type[Any]) -> list[Any]:
        return [event for event in await self.log.events() if isinstance(event, kind)]

    async def jobs(self, file_index: int = 0) -> list[tuple[Rows, bytes]]:
        """Return the rows of a file's jobs, in order, with their payloads; it must be finished."""
        state = await self.log.known_state()
        return await self.until_jobs(state.files[file_index].jobs, file_index)

    async def until_jobs(self, count: int, file_index: int = 0) -> list[tuple[Rows, bytes]]:
        """Wait until so many jobs of a file are queued, and return all of them."""
        found: dict[int, tuple[Rows, bytes]] = {}
        payloads = Payloads(self.write_side.connection)
        async with (
            asyncio.timeout(WAIT_SECONDS),
            self.write_side.log.follow(["rota.event.job.*.queued.>"]) as follower,
        ):
            while len(found) < count:
                for message in await follower.take():
                    event = decode_event(message.data)
                    place = place_in_batch(message.subject.split(".")[3], self.id)
                    if place and place[0] == file_index:
                        assert isinstance(event, JobQueued)
                        assert event.details.rows
                        found[place[1]] = (event.details.rows, await payloads.get(event.details.rows.payload))
        assert sorted(found) == list(range(len(found)))
        return [found[index] for index in sorted(found)]

    async def values(self, file_index: int = 0) -> list[list[Any]]:
        """Return the values of the column `n` in each job."""
        return [arrow(body)["n"].to_pylist() for _, body in await self.jobs(file_index)]


def arrow(body: bytes) -> pa.Table:
    return pa.ipc.open_stream(body).read_all()


@asynccontextmanager
async def opened(write_side: WriteSide, served: dict[str, bytes], **others: Any) -> AsyncIterator[Batch]:
    """Open a batch of files of a web server."""

    async def answer(request: web.Request) -> web.Response:
        body = served.get(request.path.lstrip("/"))
        if body is None:
            return web.Response(status=404)
        return web.Response(body=body, headers={"ETag": f'"{hash(body)}"'})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        given = {"rows_per_job": 3, "files": tuple(served), "connection": "site", "format": None, **others}
        made = BatchDetails(spec="add", queue="default", max_jobs_in_flight=100, params=details().params, **given)
        id_ = group_of(new_id())
        await write_side.send(OpenBatch(id=id_, details=made))
        await write_side.until(id_, "batch.opened", "batch")
        yield Batch(write_side, id_, served, str(server.make_url("/")))


def numbers(first: int, count: int) -> bytes:
    return b"n\n" + b"".join(b"%d\n" % number for number in range(first, first + count))


async def test_first_and_limit_count_rows_over_all_files_in_their_order(write_side: WriteSide) -> None:
    files = {"a.csv": numbers(0, 2), "b.csv": numbers(2, 4), "c.csv": numbers(6, 4), "d.csv": numbers(10, 9)}
    async with opened(write_side, files, first=3, limit=5) as batch:
        for index in range(3):
            assert await batch.read(index)
        files.clear()
        assert await batch.read(3)

        finished = await batch.events(FileFinished)
        assert [(event.passed, event.rows, event.jobs) for event in finished] == [
            (2, 0, 0),
            (1, 3, 1),
            (0, 2, 1),
            (0, 0, 0),
        ]
        assert await batch.values(1) == [[3, 4, 5]]
        assert await batch.values(2) == [[6, 7]]
        [(rows, _)] = await batch.jobs(1)
        assert (rows.first_row, rows.count) == (1, 3)


async def test_jobs_have_about_as_many_bytes_as_they_may(write_side: WriteSide) -> None:
    async with opened(write_side, {"a.csv": numbers(0, 10)}, rows_per_job=None, bytes_per_job=32) as batch:
        assert await batch.read()

        assert await batch.values() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_job_gets_its_rows_in_the_form_of_its_spec_and_knows_where_they_came_from(
    write_side: WriteSide,
) -> None:
    body = b"n,day\n1,2024-02-29\n2,\n"
    async with opened(write_side, {"a.csv": body}, form="json") as batch:
        assert await batch.read()

        [(rows, payload)] = await batch.jobs()
        assert json.loads(payload) == [{"n": 1, "day": "2024-02-29"}, {"n": 2, "day": None}]
        assert rows.form == "json"
        assert rows.payload.fits(payload)
        assert (rows.version, rows.size) == (str(hash(body)), len(body))
        assert rows.columns == {"n": "int64", "day": "date32[day]"}


async def test_a_job_may_get_the_path_of_a_raw_file_alone(write_side: WriteSide) -> None:
    body = b"x" * 20_000_000
    async with opened(write_side, {"a.bin": body}, format="raw", options={"content": False}) as batch:
        assert await batch.read()

        [(_, payload)] = await batch.jobs()
        assert arrow(payload).to_pylist() == [
            {
                "bytes": None,
                "path": "a.bin",
                "size": len(body),
                "media_type": "application/octet-stream",
                "version": str(hash(body)),
            }
        ]


async def test_the_error_for_a_large_raw_file_names_the_option_that_helps(write_side: WriteSide) -> None:
    async with opened(write_side, {"a.bin": b"x" * 20_000_000}, format="raw") as batch:
        assert not await batch.read()

        [failed] = await batch.events(BatchFailed)
        assert "a.bin" in failed.reason
        assert "content = false" in failed.reason


BAD = b"n,m\n0,x\n1\n2,x\n3\n4\n5,x\n"


async def ended(batch: Batch) -> None:
    """Have the batch end, as if all its jobs had succeeded."""
    state = await batch.log.known_state()
    if state.redrive:
        await batch.log.ask(FinishRedrive(id=batch.id, redrive=state.redrive.number, jobs=0))
    await batch.log.ask(CountJobs(id=batch.id, until=state.version + 10**6, succeeded=state.jobs, failed=0))
    assert (await batch.log.known_state()).status == "completed_with_failures"


async def test_quarantined_rows_are_read_again_until_they_are_mended(write_side: WriteSide) -> None:
    async with opened(write_side, {"a.csv": BAD}, bad_rows="quarantine") as batch:
        assert await batch.read()
        [event] = await batch.events(RowsQuarantined)
        assert [(fault.row, fault.number) for fault in event.faults] == [(1, 1), (2, 3), (2, 4)]

        batch.files["a.csv"] = BAD.replace(b"1\n", b"1,x\n").replace(b"\n4\n", b"\n4,y\n")
        await ended(batch)
        await batch.log.ask(RedriveBatch(id=batch.id, rows=BadRowsAgain()))
        assert await batch.read(1)

        assert await batch.values(1) == [[1, 4]]
        [_, event] = await batch.events(RowsQuarantined)
        assert [(fault.row, fault.number) for fault in event.faults] == [(1, 3)]

        batch.files["a.csv"] = b"n,m\n0,x\n1,x\n2,x\n3,z\n4,y\n5,x\n"
        await ended(batch)
        await batch.log.ask(RedriveBatch(id=batch.id, rows=BadRowsAgain()))
        assert await batch.read(2)

        assert await batch.values(2) == [[3]]
        finished = await batch.events(FileFinished)
        assert [(event.rows, event.bad) for event in finished] == [(3, 3), (2, 1), (1, 0)]


async def test_a_mended_file_may_fail_at_the_first_row_that_is_bad_again(write_side: WriteSide) -> None:
    async with opened(write_side, {"a.csv": BAD}, bad_rows="quarantine") as batch:
        assert await batch.read()
        batch.files["a.csv"] = BAD.replace(b"1\n", b"1,x\n")
        await ended(batch)
        await batch.log.ask(RedriveBatch(id=batch.id, rows=BadRowsAgain(), bad_rows="fail"))

        assert not await batch.read(1)

        [failed] = await batch.events(BatchFailed)
        assert "a.csv, line 5" in failed.reason
        batch.files["a.csv"] = BAD.replace(b"1\n", b"1,x\n").replace(b"3\n4\n", b"3,x\n4,x\n")
        await batch.log.ask(RedriveBatch(id=batch.id))
        assert await batch.read(1)
        assert [n for job in await batch.values(1) for n in job] == [1, 3, 4]


class Stream:
    """What is streamed in."""

    def __init__(self, batch: Batch) -> None:
        self._chunks = ChunkLog(batch.write_side.connection, batch.id)
        self._last: Piece = NOTHING

    async def send(self, *values: int) -> None:
        self._last = await self._chunks.append(self._last, b"".join(b'{"n": %d}\n' % n for n in values))

    async def seal(self) -> None:
        self._last = await self._chunks.seal(self._last)


@asynccontextmanager
async def streamed(write_side: WriteSide, **others: Any) -> AsyncIterator[tuple[Batch, Stream]]:
    given = {"files": ("stream",), "connection": None, "format": "ndjson", "stream": StreamRules(), **others}
    async with opened(write_side, {}, **given) as batch:
        yield batch, Stream(batch)


@asynccontextmanager
async def reading(batch: Batch) -> AsyncIterator[asyncio.Task[bool]]:
    """Have it read, by a reader that is gone at the end."""
    task = asyncio.create_task(batch.read())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def test_rows_of_a_stream_wait_no_longer_than_they_may(write_side: WriteSide) -> None:
    async with streamed(write_side, seconds_per_job=0.2) as (batch, stream), reading(batch) as task:
        await stream.send(0, 1)
        sent = datetime.now(UTC)
        assert len(await batch.until_jobs(1)) == 1
        [cut] = await batch.events(JobCut)
        assert (cut.index, cut.count) == (0, 2)
        assert timedelta(seconds=0.1) < cut.at - sent < timedelta(seconds=2)
        await stream.send(2, 3, 4, 5)
        assert len(await batch.until_jobs(2)) >= 2
        await write_side.until(batch.id, "batch.advanced", "batch")
        await stream.seal()
        assert await task

        assert await batch.values() == [[0, 1], [2, 3, 4], [5]]
        advanced = await batch.events(BatchAdvanced)
        assert advanced[0].position.row <= advanced[0].rows


async def test_an_early_cut_that_is_in_the_log_is_made_again(write_side: WriteSide) -> None:
    async with streamed(write_side, seconds_per_job=0.2, rows_per_job=5) as (batch, stream):
        await batch.log.ask(CutJob(id=batch.id, file_index=0, index=0, count=2))
        await stream.send(0, 1, 2, 3, 4, 5)
        await stream.seal()

        assert await batch.read()

        assert await batch.values() == [[0, 1], [2, 3, 4, 5]]


async def test_a_reader_that_asked_before_the_last_progress_was_told_makes_the_same_jobs(
    write_side: WriteSide,
) -> None:
    async with streamed(write_side, seconds_per_job=0.2, rows_per_job=5) as (batch, stream):
        [before] = (await batch.log.known_state()).files
        async with reading(batch):
            await stream.send(0, 1)
            assert len(await batch.until_jobs(1)) == 1
            await write_side.until(batch.id, "batch.advanced", "batch")
        [after] = (await batch.log.known_state()).files
        assert (before.jobs, before.cuts, after.jobs, after.cuts) == (0, (), 1, ())
        await stream.send(2, 3, 4, 5)
        await stream.seal()

        assert await batch.read(known=before)

        assert await batch.values() == [[0, 1], [2, 3, 4, 5]]


async def test_readers_that_die_at_any_time_leave_each_row_of_a_stream_in_one_job(write_side: WriteSide) -> None:
    async with streamed(write_side, seconds_per_job=0.1, rows_per_job=4) as (batch, stream):
        sent = 0
        for lives in range(10):
            async with reading(batch):
                for count in (1, 5, 3):
                    await stream.send(*range(sent, sent + count))
                    sent += count
                if lives % 2:
                    await write_side.until(batch.id, "batch.job_cut", "batch", times=lives // 2 + 1)
                else:
                    await batch.until_jobs(2 * lives + 1)
        await stream.seal()
        assert await batch.read()

        jobs = await batch.values()
        assert [n for job in jobs for n in job] == list(range(sent))
        rows = [rows for rows, _ in await batch.jobs()]
        assert [one.first_row for one in rows] == [
            sum(len(job) for job in jobs[:index]) for index in range(len(jobs))
        ]


async def test_a_reader_that_finds_another_cut_in_the_log_goes_on_no_more(write_side: WriteSide) -> None:
    async with streamed(write_side, seconds_per_job=0.2, rows_per_job=5) as (batch, stream):
        task = asyncio.create_task(batch.read())
        await write_side.until(batch.id, "batch.file_found", "batch")
        await batch.log.ask(CutJob(id=batch.id, file_index=0, index=0, count=2))
        await stream.send(0, 1, 2)
        with pytest.raises(OvertakenError):
            await task
        await stream.seal()

        assert await batch.read()

        assert await batch.values() == [[0, 1], [2]]


async def test_the_first_job_that_is_not_scheduled_is_found_whatever_the_batch_was_told(
    write_side: WriteSide,
) -> None:
    async with opened(write_side, {"a.csv": numbers(0, 20)}) as batch:
        assert await batch.read()
        await batch.until_jobs(7)

        found = [await first_unscheduled(write_side.connection, batch.id, 0, known) for known in (0, 1, 5, 7)]

        assert found == [7, 7, 7, 7]
        assert await first_unscheduled(write_side.connection, batch.id, 1, 0) == 0
