"""Reading of whole batches: files of several formats, directories, bad rows, several readers, redrive."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from actors.offers import Offers
from actors.reader import Reader
from actors.some_files import read_some_files
from events.batch import (
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    FileFinished,
    FileFound,
    FilesListed,
    OpenBatch,
    RedriveBatch,
    RowsQuarantined,
)
from events.ids import group_of
from events.jetstream.payloads import Payloads
from events.job import JobQueued
from events.sources import Connection, HttpConnection
from events.subjects import aggregate_filter
from rota.options import Selection
from rota.protocol import Result, SucceedJob
from tests.integration.write_side import WAIT_SECONDS, WriteSide, details, new_id

pytestmark = pytest.mark.usefixtures("shard")


class Site:
    """A web server with files and index pages."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.connections: dict[str, Connection] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        if path in self.files:
            body = self.files[path]
            return web.Response(body=body, headers={"ETag": f'"{hash(body)}"'})
        below = {name[len(path) :].split("/")[0] for name in self.files if name.startswith(path)}
        if not below or (path and not path.endswith("/")):
            return web.Response(status=404)
        links = "".join(f'<a href="{name}">{name}</a>' for name in below)
        return web.Response(text=f"<html><body>{links}</body></html>", content_type="text/html")

    def sources(self) -> dict[str, Connection]:
        return self.connections


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    async with TestServer(app) as server:
        found.connections["site"] = HttpConnection(root=str(server.make_url("/")))
        yield found


class Worker:
    """Runs the jobs of a batch by noting their rows."""

    def __init__(self, write_side: WriteSide) -> None:
        self._write_side = write_side
        self.rows: dict[str, list[dict[str, Any]]] = {}
        """By file and number of the job."""

    async def run(self, batch: str) -> None:
        payloads = Payloads(self._write_side.connection)
        async with self._write_side.log.follow(["rota.event.job.>"]) as follower:
            while True:
                for message in await follower.take():
                    if not message.subject.split(".")[3].startswith(f"{batch}_"):
                        continue
                    event = msgspec.msgpack.decode(message.data)
                    if event["type"] != "job.queued":
                        continue
                    queued = msgspec.msgpack.decode(message.data, type=JobQueued)
                    assert queued.details.rows
                    rows = queued.details.rows
                    table = pa.ipc.open_stream(await payloads.get(rows.payload)).read_all()
                    assert queued.originator_id not in self.rows
                    self.rows[queued.originator_id] = table.to_pylist()
                    success = SucceedJob(
                        id=queued.originator_id,
                        attempt=1,
                        worker="w",
                        started_at=datetime.now(UTC),
                        result=Result(),
                    )
                    await self._write_side.send(success)

    @property
    def values(self) -> list[Any]:
        return sorted(row["n"] for rows in self.rows.values() for row in rows)


@asynccontextmanager
async def working(write_side: WriteSide, batch: str) -> AsyncIterator[Worker]:
    worker = Worker(write_side)
    running = asyncio.create_task(worker.run(batch))
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.wait([running])


async def opened(write_side: WriteSide, *files: str, **others: Any) -> str:
    batch = group_of(new_id())
    request = {"format": None, "rows_per_job": 2, "max_jobs_in_flight": 100, "connection": "site", **others}
    await write_side.send(
        OpenBatch(
            id=batch,
            details=BatchDetails(spec="add", queue="default", files=files, params=details().params, **request),
        )
    )
    await write_side.until(batch, "batch.opened", "batch")
    return batch


async def read(write_side: WriteSide, site: Site, batch: str) -> list[Any]:
    """Have a batch read by one reader to its end, and return its events."""
    async with asyncio.timeout(WAIT_SECONDS):
        await Reader(write_side.connection, site.sources, batch).run()
    return [recorded.event for recorded in await write_side.log.load("batch", batch)]


async def test_files_of_one_batch_may_differ_in_format(write_side: WriteSide, site: Site) -> None:
    site.files = {
        "a.csv": b"n\n1\n2\n3\n",
        "b.json": json.dumps([{"n": 4}, {"n": 5}]).encode(),
        "c.ndjson": b'{"n": 6}\n{"n": 7}\n',
        "d.xml": b"<all><row><n>8</n></row></all>",
        "e": b"n;m\n9;x\n",
    }
    options = {"xml": {"column_types": {"n": "int64"}}}
    batch = await opened(write_side, "a.csv", "b.json", "c.ndjson", "d.xml", options=options)

    async with working(write_side, batch) as worker:
        events = await read(write_side, site, batch)

    assert worker.values == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event.format for event in events if isinstance(event, FileFound)] == ["csv", "json", "ndjson", "xml"]


async def test_the_files_of_a_directory_are_listed_once_in_order(write_side: WriteSide, site: Site) -> None:
    site.files = {"in/b.csv": b"n\n2\n", "in/a.csv": b"n\n1\n", "in/.c.csv": b"n\n3\n", "in/d.txt": b"x"}
    batch = await opened(write_side, "in/", selection=Selection(include=["*.csv"]))

    async with working(write_side, batch) as worker:
        events = await read(write_side, site, batch)

    [listed] = [event for event in events if isinstance(event, FilesListed)]
    assert (listed.first, listed.paths, listed.last) == (0, ("in/a.csv", "in/b.csv"), True)
    assert worker.values == [1, 2]


async def test_a_batch_without_files_fails_unless_that_is_allowed(write_side: WriteSide, site: Site) -> None:
    site.files = {"in/a.txt": b"x"}
    refused = await opened(write_side, "in/*.csv")
    allowed = await opened(write_side, "in/*.csv", selection=Selection(allow_empty=True))

    [*_, failed] = await read(write_side, site, refused)
    assert isinstance(failed, BatchFailed)
    assert failed.reason == "There is no file at in/*.csv; allow_empty would make it a batch without rows"
    [*_, completed] = await read(write_side, site, allowed)
    assert isinstance(completed, BatchCompleted)


BAD = b"n,m\n" + b"".join(b"%d,x\n" % n for n in range(7)) + b"7,x,y\n8\n9,x\n"


async def test_a_failed_batch_goes_on_where_it_stopped_and_runs_each_row_once(
    write_side: WriteSide, site: Site
) -> None:
    site.files = {"a.csv": BAD}
    batch = await opened(write_side, "a.csv")

    async with working(write_side, batch) as worker:
        [*_, failed] = await read(write_side, site, batch)
        assert isinstance(failed, BatchFailed)
        assert "a.csv, line 9" in failed.reason
        assert worker.values == list(range(6))
        await write_side.send(RedriveBatch(id=batch, bad_rows="quarantine"))
        await write_side.until(batch, "batch.redriven", "batch")
        events = await read(write_side, site, batch)

    assert worker.values == [*range(7), 9]
    [quarantined] = [event for event in events if isinstance(event, RowsQuarantined)]
    assert [(fault.line, fault.row) for fault in quarantined.faults] == [(9, 7), (10, 7)]
    [finished] = [event for event in events if isinstance(event, FileFinished)]
    assert (finished.rows, finished.bad) == (8, 2)
    assert isinstance(events[-1], BatchCompletedWithFailures)


async def test_a_mended_file_is_read_on_after_the_rows_that_are_in_jobs(write_side: WriteSide, site: Site) -> None:
    site.files = {"a.csv": BAD}
    batch = await opened(write_side, "a.csv")

    async with working(write_side, batch) as worker:
        await read(write_side, site, batch)
        site.files = {"a.csv": BAD.replace(b"7,x,y\n8\n", b"7,x\n8,x\n")}
        await write_side.send(RedriveBatch(id=batch))
        await write_side.until(batch, "batch.redriven", "batch")
        events = await read(write_side, site, batch)

    assert worker.values == list(range(10))
    assert isinstance(events[-1], BatchCompleted)


async def test_bad_rows_are_counted_where_they_are_skipped(write_side: WriteSide, site: Site) -> None:
    site.files = {"a.csv": BAD}
    batch = await opened(write_side, "a.csv", bad_rows="skip")

    async with working(write_side, batch) as worker:
        events = await read(write_side, site, batch)

    assert worker.values == [*range(7), 9]
    assert [event.bad for event in events if isinstance(event, FileFinished)] == [2]
    assert not [event for event in events if isinstance(event, RowsQuarantined)]


async def test_other_readers_take_the_files_that_a_batch_offers(write_side: WriteSide, site: Site) -> None:
    site.files = {f"{number}.csv": b"n\n%d\n" % number for number in range(6)}
    batch = await opened(write_side, *site.files, max_readers=3)
    offers = Offers()

    async def other() -> int:
        read = 0
        while offer := await offers.take_for_other():
            files, max_jobs, _ = offer
            await read_some_files(write_side.connection, site.sources, batch, files, max_jobs)
            read += 1
        return read

    async with working(write_side, batch) as worker, asyncio.timeout(WAIT_SECONDS):
        others = [asyncio.create_task(other()) for _ in range(2)]
        await Reader(write_side.connection, site.sources, batch, offers, leads_only=True).run()
        offers.close()
        assert sum(await asyncio.gather(*others)) == 6

    assert worker.values == list(range(6))
    assert (await write_side.tags(batch, "batch"))[-1] == "batch.completed"


async def test_another_reader_reads_what_is_left_of_several_files(write_side: WriteSide, site: Site) -> None:
    site.files = {f"{number}.csv": b"n\n%d\n" % number for number in range(6)}
    batch = await opened(write_side, *site.files, max_readers=3)

    async with working(write_side, batch) as worker, asyncio.timeout(WAIT_SECONDS):
        for files in ([1, 2, 3, 5], [1, 2, 3, 4], [3, 4]):
            await read_some_files(write_side.connection, site.sources, batch, files, 10)
        finished = await write_side.until(batch, "batch.file_finished", "batch", times=5)
        events = await read(write_side, site, batch)

    assert sorted(worker.values) == list(range(6))
    assert sorted(event.file_index for event in finished if isinstance(event, FileFinished)) == [1, 2, 3, 4, 5]
    assert [event.file_index for event in events if isinstance(event, FileFinished)][-1] == 0
    assert isinstance(events[-1], BatchCompleted)


async def test_another_reader_stops_at_a_file_that_it_cannot_read(write_side: WriteSide, site: Site) -> None:
    site.files = {"0.csv": b"n\n1\n", "1.csv": b"n\n1,2\n", "2.csv": b"n\n3\n"}
    batch = await opened(write_side, *site.files, max_readers=1)

    async with asyncio.timeout(WAIT_SECONDS):
        await read_some_files(write_side.connection, site.sources, batch, [0, 1, 2], 10)

    tags = await write_side.tags(batch, "batch")
    assert (tags.count("batch.file_finished"), tags[-1]) == (1, "batch.failed")


async def test_a_file_that_another_reader_cannot_read_fails_the_batch(write_side: WriteSide, site: Site) -> None:
    site.files = {"0.csv": b"n\n1\n", "1.csv": b"n\n1,2\n"}
    batch = await opened(write_side, *site.files, max_readers=2)
    offers = Offers()

    async with working(write_side, batch), asyncio.timeout(WAIT_SECONDS):
        leading = asyncio.create_task(
            Reader(write_side.connection, site.sources, batch, offers, leads_only=True).run()
        )
        for _ in range(2):
            offer = await offers.take_for_other()
            assert offer
            await read_some_files(write_side.connection, site.sources, batch, *offer[:2])
        await leading

    assert (await write_side.tags(batch, "batch"))[-1] == "batch.failed"


async def test_no_secret_of_a_connection_is_in_an_event_or_a_log_line(
    write_side: WriteSide, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    open_site = site.connections["site"]
    site.connections["site"] = HttpConnection(
        root=open_site.root.replace("://", "://ann:hush-1@"), token="hush-2", headers={"X-Key": "hush-3"}
    )
    site.files = {"a.csv": b"n\n1\n", "b.csv": b"n\n1,2\n"}
    batches = [await opened(write_side, *files) for files in (("a.csv", "c.csv"), ("b.csv",), ("d/",), ("[a.csv",))]

    bodies = []
    for batch in batches:
        async with working(write_side, batch):
            await read(write_side, site, batch)
        async with write_side.log.follow([aggregate_filter("batch", batch), "rota.event.job.>"]) as follower:
            bodies += [message.data for message in await follower.take()]

    assert any(b"batch.failed" in body for body in bodies)
    assert not [body for body in bodies if b"hush" in body]
    assert "hush" not in caplog.text


async def test_a_file_that_was_mended_after_rows_were_left_out_is_not_counted_anew(
    write_side: WriteSide, site: Site
) -> None:
    site.files = {"a.csv": b'n,m\n1,x\n2\n3,x\n4,x\n5,"cut'}
    batch = await opened(write_side, "a.csv", bad_rows="skip")

    async with working(write_side, batch) as worker:
        await read(write_side, site, batch)
        site.files = {"a.csv": b"n,m\n1,x\n2,x\n3,x\n4,x\n5,cut\n"}
        await write_side.send(RedriveBatch(id=batch))
        await write_side.until(batch, "batch.redriven", "batch")
        [*_, failed] = await read(write_side, site, batch)

    assert isinstance(failed, BatchFailed)
    assert "bad rows of it were left out" in failed.reason
    assert worker.values == [1, 3]


async def test_a_file_that_has_shrunk_below_its_jobs_fails(write_side: WriteSide, site: Site) -> None:
    site.files = {"a.csv": BAD}
    batch = await opened(write_side, "a.csv")

    async with working(write_side, batch):
        await read(write_side, site, batch)
        site.files = {"a.csv": b"n,m\n0,x\n"}
        await write_side.send(RedriveBatch(id=batch))
        await write_side.until(batch, "batch.redriven", "batch")
        [*_, failed] = await read(write_side, site, batch)

    assert isinstance(failed, BatchFailed)
    assert failed.reason == "a.csv was changed: 6 rows are in jobs, and it has 1"


async def test_rows_that_no_message_holds_are_named_with_the_option_that_helps(
    write_side: WriteSide, site: Site
) -> None:
    site.files = {"a.ndjson": b"".join(b'{"n": %d, "m": "%s"}\n' % (n, b"x" * 1_000_000) for n in range(12))}
    batch = await opened(write_side, "a.ndjson", rows_per_job=12)

    [*_, failed] = await read(write_side, site, batch)

    assert isinstance(failed, BatchFailed)
    assert "a.ndjson" in failed.reason
    assert "rows_per_job" in failed.reason


async def test_a_name_of_megabytes_is_an_error_that_an_event_holds(write_side: WriteSide, site: Site) -> None:
    name = b"x" * 4_300_000
    site.files = {"a.ndjson": b'{"%s": 1}\n{"%s": "a"}\n' % (name, name)}
    batch = await opened(write_side, "a.ndjson")

    [*_, failed] = await read(write_side, site, batch)

    assert isinstance(failed, BatchFailed)
    assert failed.reason.startswith("a.ndjson")
    assert len(failed.reason) <= 2000


async def test_another_reader_goes_on_with_more_jobs_than_it_may_have_in_flight(
    write_side: WriteSide, site: Site
) -> None:
    site.files = {"a.csv": BAD, "b.csv": b"n,m\n"}
    batch = await opened(write_side, "a.csv", "b.csv", max_readers=2, max_jobs_in_flight=4)
    async with working(write_side, batch) as worker:
        await read(write_side, site, batch)
        await write_side.send(RedriveBatch(id=batch, bad_rows="skip"))
        await write_side.until(batch, "batch.redriven", "batch")

        async with asyncio.timeout(WAIT_SECONDS):
            await read_some_files(write_side.connection, site.sources, batch, [0], 2)
        events = await read(write_side, site, batch)

    assert worker.values == [*range(7), 9]
    assert isinstance(events[-1], BatchCompleted)
