"""Batches over HTTP besides opening them: lists, control, rows and bad rows; the tests play the shard."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from events.base import EndedError
from events.batch import (
    AdvanceFile,
    FailFile,
    FileFault,
    FinishFile,
    JobsCounted,
    Position,
    QuarantineRows,
)
from events.batch_control import FinishCancel
from events.catalog import TAGS, decode_commands
from events.config import Config
from events.ids import batch_job_id
from events.jetstream.log import Append
from events.job import CancelJob, ScheduleJob
from gateway.edge import EDGE
from gateway.lookup import MAX_FOLDED
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection, Msg
from rota.protocol import REPLY_TO, JobDetails, Outcome, Payload, RegisterSpec, Rows
from tests.integration.conftest import purge
from tests.integration.test_gateway import Rota, serving


class Viewed(Rota):
    """A gateway with views, which are brought to the end of the log when that is asked for."""

    home: Path

    async def fold(self) -> None:
        with closing(Tables.open(self.home / "views.sqlite")) as tables:
            await Runner(self.log, tables).catch_up()

    async def open_batch(self, *files: str, **changes: Any) -> str:
        body = {"spec": "load", "files": files or ["a.csv"], "connection": "bucket", **changes}
        status, answer = await self.post("/batches", body)
        assert status == 202, answer
        id_ = str(answer["id"])
        await self.carry_out("batch", await self.bus.find_waiting("batch", id_))
        return id_

    async def queue_rows(self, batch: str, index: int, first_row: int, count: int) -> str:
        """Schedule a job of a batch as its reader does."""
        id_ = batch_job_id(batch, 0, index)
        rows = Rows(batch, "a.csv", 0, index, first_row, count, Payload("s", 1, "digest"), "json", "v1", 700)
        details = JobDetails("load", "default", msgspec.Raw(msgspec.msgpack.encode({})), rows=rows)
        await self.carry_out("job", ScheduleJob(id=id_, details=details))
        return id_

    @asynccontextmanager
    async def sharded(self) -> AsyncIterator[None]:
        """Carry out the commands of batches as their shard does."""

        async def play(message: Msg) -> None:
            [command] = decode_commands(message.data)
            outcome = Outcome(id=command.id, type=TAGS[type(command)], status="done")
            try:
                await self.carry_out("batch", command)
            except EndedError as error:
                outcome = msgspec.structs.replace(outcome, status="refused", detail=str(error), slug=error.slug)
            await self.connection.send((message.headers or {})[REPLY_TO], msgspec.json.encode([outcome]))

        subscription = await self.connection.client.subscribe("rota.command.batch.*.*", cb=play)
        try:
            yield
        finally:
            await subscription.unsubscribe()


@pytest_asyncio.fixture(loop_scope="session")
async def rota(nats_url: str, tmp_path: Path) -> AsyncIterator[Viewed]:
    (tmp_path / "connections.toml").write_text('[bucket]\nkind = "s3"\nkey = "k"\nsecret = "s"\n')
    config = Config(home=tmp_path, nats_url=nats_url)
    async with await Connection.open(nats_url, name="test") as connection, serving(config, connection) as found:
        await purge(connection)
        viewed = Viewed(found.http, connection, found.runner)
        viewed.home = tmp_path
        await viewed.carry_out("spec", RegisterSpec(id="load", rows="dicts"))
        await viewed.fold()
        yield viewed
        await purge(connection)


async def test_batches_are_listed_newest_first_page_by_page(rota: Viewed) -> None:
    ids = [await rota.open_batch() for _ in range(3)]
    await rota.carry_out("batch", FinishFile(id=ids[0], file_index=0, rows=0, jobs=0))
    await rota.fold()

    status, page = await rota.get("/batches?limit=2")
    assert (status, [batch["id"] for batch in page["batches"]]) == (200, [ids[2], ids[1]])
    assert (page["batches"][0]["files"], page["batches"][0]["files_total"]) == ([], 1)
    status, page = await rota.get(f"/batches?limit=2&after={page['next']}")
    assert ([batch["id"] for batch in page["batches"]], page["next"]) == ([ids[0]], None)
    status, page = await rota.get("/batches?status=completed&spec=load")
    assert [batch["id"] for batch in page["batches"]] == [ids[0]]
    assert (await rota.get("/batches?spec=other"))[1]["batches"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=ready", "status is 'ready'"),
        ("limit=0", "limit is '0'"),
        ("state=reading", "no query parameter 'state'"),
    ],
)
async def test_a_wrong_query_for_batches_is_named(rota: Viewed, query: str, named: str) -> None:
    status, problem = await rota.get(f"/batches?{query}")
    assert status == 400
    assert named in problem["errors"][0]["detail"]


async def test_a_batch_is_paused_resumed_and_changed(rota: Viewed) -> None:
    id_ = await rota.open_batch()
    done = (200, {"id": id_, "status": "done"})
    async with rota.sharded():
        assert await rota.post(f"/batches/{id_}/pause", {"reason": "lunch"}) == done
        await rota.fold()
        assert (await rota.get(f"/batches/{id_}"))[1]["status"] == "paused"
        assert await rota.post(f"/batches/{id_}/pause", b"") == done
        assert await rota.post(f"/batches/{id_}/resume", b"") == done
        async with rota.http.patch(f"/batches/{id_}", json={"max_jobs_in_flight": 5}) as response:
            assert (response.status, await response.json()) == done
        await rota.fold()
    assert (await rota.get(f"/batches/{id_}"))[1]["status"] == "reading"
    events = (await rota.get(f"/batches/{id_}/events"))[1]["events"]
    assert [event["type"] for event in events[1:]] == ["batch.paused", "batch.resumed", "batch.changed"]
    assert (events[1]["reason"], events[3]["max_jobs_in_flight"]) == ("lunch", 5)


async def test_a_batch_is_cancelled_and_says_why(rota: Viewed) -> None:
    id_ = await rota.open_batch()
    async with rota.sharded():
        assert (await rota.post(f"/batches/{id_}/cancel", {"reason": "wrong file"}))[0] == 200
        await rota.fold()
        view = (await rota.get(f"/batches/{id_}"))[1]
        assert (view["status"], view["error"]) == ("cancelling", "wrong file")
        await rota.carry_out("batch", FinishCancel(id=id_, jobs=0, succeeded=0, failed=0))
        status, problem = await rota.post(f"/batches/{id_}/pause", b"")
        assert (status, problem["type"]) == (409, "https://rota.dev/problems/conflict")
        assert (await rota.post(f"/batches/{id_}/cancel", b""))[0] == 200
        await rota.fold()
    assert (await rota.get(f"/batches/{id_}"))[1]["status"] == "cancelled"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
async def test_a_batch_that_there_never_was_cannot_be_steered(rota: Viewed, verb: str) -> None:
    assert (await rota.post(f"/batches/no/{verb}", b""))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("POST", "pause", {"why": "lunch"}, "#"),
        ("POST", "resume", {"reason": "back"}, "#"),
        ("PATCH", "", {"max_readers": 0}, "#/max_readers"),
        ("PATCH", "", {"tolerance": {"bad_rows_share": 2}}, "#/tolerance/bad_rows_share"),
    ],
)
async def test_what_is_wrong_with_a_change_is_named(
    rota: Viewed, method: str, path: str, body: Any, place: str
) -> None:
    async with rota.http.request(method, f"/batches/b/{path}".rstrip("/"), json=body) as response:
        assert response.status == 400
        assert [error["pointer"] for error in (await response.json(content_type=None))["errors"]] == [place]


async def test_a_row_is_traced_to_its_job_and_the_job_to_its_rows(rota: Viewed) -> None:
    id_ = await rota.open_batch()
    await rota.queue_rows(id_, 0, 0, 10)
    job = await rota.queue_rows(id_, 1, 10, 5)
    await rota.carry_out("job", CancelJob(id=job))
    await rota.carry_out("batch", FinishFile(id=id_, file_index=0, rows=15, jobs=2))
    await rota.fold()

    found = {"file": "a.csv", "file_index": 0, "row": 12, "job": job, "first_row": 10, "last_row": 14}
    assert await rota.get(f"/batches/{id_}/rows?file=a.csv&row=12") == (200, {**found, "status": "cancelled"})
    assert (await rota.get(f"/batches/{id_}/rows?row=12"))[1]["job"] == job
    rows = (await rota.get(f"/jobs/{job}"))[1]["rows"]
    assert (rows["batch"], rows["first_row"], rows["count"], rows["version"]) == (id_, 10, 5, "v1")
    assert (rows["form"], rows["size"], rows["payload"]["sha256"]) == ("json", 700, "digest")
    status, problem = await rota.get(f"/batches/{id_}/rows?row=15")
    assert (status, problem["detail"]) == (
        404,
        "No job has row 15 of a.csv: it is read to its end, and rows 0 to 14 are in jobs",
    )
    assert (await rota.get(f"/batches/{id_}/rows?file=b.csv&row=0"))[0] == 404
    assert (await rota.get(f"/batches/{id_}/rows?row=-1"))[0] == 400
    assert (await rota.get(f"/batches/{id_}/rows?file=a.csv"))[0] == 400
    assert (await rota.get("/batches/no/rows?row=1"))[1]["detail"] == "There is no batch no"


async def test_what_the_views_do_not_have_yet_of_a_new_batch_is_told_from_its_log(rota: Viewed) -> None:
    id_ = await rota.open_batch(bad_rows="quarantine")

    assert await rota.get(f"/batches/{id_}/bad-rows") == (200, {"bad_rows": [], "next": None})
    assert await rota.get(f"/batches/{id_}/results") == (200, {"results": []})
    status, problem = await rota.get(f"/batches/{id_}/rows?row=1")
    detail = "a.csv is not read as far as row 1: 0 of its rows are in jobs by now"
    assert (status, problem["detail"]) == (404, detail)

    faults = (FileFault("a.csv, line 2: no", 2),)
    await rota.carry_out("batch", QuarantineRows(id=id_, file_index=0, bad_before=0, faults=faults))
    async with rota.http.get(f"/batches/{id_}/bad-rows?format=ndjson") as response:
        assert [json.loads(line)["line"] for line in (await response.text()).splitlines()] == [2]
    await rota.carry_out("batch", FinishFile(id=id_, file_index=0, rows=5, jobs=1, bad=1))
    status, problem = await rota.get(f"/batches/{id_}/rows?row=1")
    detail = "The views do not have the job with row 1 of a.csv yet: try again in a moment"
    assert (status, problem["detail"]) == (503, detail)


async def test_a_batch_whose_command_waits_has_no_bad_rows(rota: Viewed) -> None:
    status, answer = await rota.post("/batches", {"spec": "load", "files": ["a.csv"], "connection": "bucket"})
    assert status == 202

    assert await rota.get(f"/batches/{answer['id']}/bad-rows") == (200, {"bad_rows": [], "next": None})


@pytest.mark.parametrize("what", ["bad-rows", "bad-rows?format=ndjson", "results", "rows?row=1"])
async def test_what_the_views_do_not_have_yet_of_a_long_batch_is_to_be_asked_for_again(
    rota: Viewed, what: str
) -> None:
    id_ = await rota.open_batch()
    await append_many(rota, id_, MAX_FOLDED)

    async with rota.http.get(f"/batches/{id_}/{what}") as response:
        problem = await response.json(content_type=None)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert problem["detail"] == f"The views do not have the batch {id_} yet: try again in a moment"
    await rota.fold()
    assert (await rota.get(f"/batches/{id_}/{what.partition('?')[0]}?row=1"))[0] != 503


async def append_many(rota: Viewed, id_: str, count: int) -> None:
    """Append events to a batch that was just opened."""
    [first] = await rota.log.load("batch", id_)
    facts: dict[str, Any] = {"originator_id": id_, "at": first.event.at}
    last = first.sequence
    for start in range(0, count, 1000):
        versions = range(start + 2, min(start + 1000, count) + 2)
        counts: list[Any] = [
            JobsCounted(originator_version=version, until=version, succeeded=version, failed=0, **facts)
            for version in versions
        ]
        [last] = await rota.log.append([Append("batch", id_, last, counts)])


async def test_a_page_of_a_long_history_reads_no_more_than_it_shows(rota: Viewed) -> None:
    id_ = await rota.open_batch()
    await append_many(rota, id_, 3500)
    received = rota.runner.app[EDGE].connection.client.stats
    versions: list[int] = []
    after, costs = 0, []
    while True:
        before = received["in_msgs"]
        events = (await rota.get(f"/batches/{id_}/events?after={after}"))[1]["events"]
        if not events:
            break
        costs.append((len(events), received["in_msgs"] - before))
        versions += [event["version"] for event in events]
        after = events[-1]["sequence"]

    assert versions == list(range(1, 3502))
    assert [shown for shown, _ in costs] == [1000, 1000, 1000, 501]
    assert all(read <= shown + 20 for shown, read in costs), costs
    middle = (await rota.get(f"/batches/{id_}/events?after={after - 1001}"))[1]["events"]
    assert [event["version"] for event in middle] == list(range(2501, 3501))


async def quarantined(rota: Viewed) -> str:
    """Return a batch with three bad rows in its second file and two in its first."""
    id_ = await rota.open_batch("a.csv", "b.csv", bad_rows="quarantine")

    def faults(file: str, *lines: int) -> tuple[FileFault, ...]:
        return tuple(FileFault(f"{file}, line {line}: no", line, "x", "?", line - 2, line) for line in lines)

    for index, file, before, lines in ((1, "b.csv", 0, (3, 5)), (0, "a.csv", 0, (2, 9)), (1, "b.csv", 2, (8,))):
        some = faults(file, *lines)
        await rota.carry_out("batch", QuarantineRows(id=id_, file_index=index, bad_before=before, faults=some))
    await rota.fold()
    return id_


async def test_bad_rows_are_listed_page_by_page_in_the_order_of_files_and_rows(rota: Viewed) -> None:
    id_ = await quarantined(rota)

    status, page = await rota.get(f"/batches/{id_}/bad-rows?limit=3")
    assert status == 200
    assert page["bad_rows"][0] == {
        "file": "a.csv",
        "file_index": 0,
        "number": 0,
        "row": 0,
        "line": 2,
        "column": "x",
        "text": "?",
        "message": "a.csv, line 2: no",
    }
    assert [(row["file"], row["number"], row["line"]) for row in page["bad_rows"]] == [
        ("a.csv", 0, 2),
        ("a.csv", 1, 9),
        ("b.csv", 0, 3),
    ]
    assert page["next"] == "1.0"
    status, page = await rota.get(f"/batches/{id_}/bad-rows?limit=3&after=1.0")
    assert ([(row["number"], row["line"]) for row in page["bad_rows"]], page["next"]) == ([(1, 5), (2, 8)], None)
    status, page = await rota.get(f"/batches/{id_}/bad-rows?limit=2&file=a.csv")
    assert ([row["line"] for row in page["bad_rows"]], page["next"]) == ([2, 9], None)


async def test_all_bad_rows_are_downloaded_one_a_line(rota: Viewed) -> None:
    id_ = await quarantined(rota)

    async with rota.http.get(f"/batches/{id_}/bad-rows?format=ndjson") as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        assert response.headers["Content-Disposition"] == f'attachment; filename="{id_}-bad-rows.ndjson"'
        lines = (await response.text()).splitlines()
    assert [json.loads(line)["line"] for line in lines] == [2, 9, 3, 5, 8]
    async with rota.http.get(f"/batches/{id_}/bad-rows?format=ndjson&file=b.csv&after=1.1") as response:
        assert [json.loads(line)["line"] for line in (await response.text()).splitlines()] == [8]


async def test_many_bad_rows_are_downloaded_whole(rota: Viewed) -> None:
    id_ = await rota.open_batch(bad_rows="quarantine")
    for first in range(0, 3000, 20):
        faults = tuple(FileFault(f"row {number}: no") for number in range(first, first + 20))
        await rota.carry_out("batch", QuarantineRows(id=id_, file_index=0, bad_before=first, faults=faults))
    await rota.fold()

    async with rota.http.get(f"/batches/{id_}/bad-rows?format=ndjson") as response:
        numbers = [json.loads(line)["number"] for line in (await response.text()).splitlines()]
    assert numbers == list(range(3000))


async def test_a_batch_without_bad_rows_has_an_empty_list(rota: Viewed) -> None:
    id_ = await rota.open_batch()
    await rota.fold()

    assert await rota.get(f"/batches/{id_}/bad-rows") == (200, {"bad_rows": [], "next": None})
    async with rota.http.get(f"/batches/{id_}/bad-rows?format=ndjson") as response:
        assert (response.status, await response.text()) == (200, "")


@pytest.mark.parametrize("format_", ["json", "ndjson"])
async def test_bad_rows_that_cannot_be_shown_are_told_why(rota: Viewed, format_: str) -> None:
    id_ = await quarantined(rota)
    path = f"/batches/{id_}/bad-rows?format={format_}"

    assert (await rota.get(f"{path}&after=x"))[0] == 400
    assert (await rota.get(f"{path}&limit=5000"))[0] == 400
    status, problem = await rota.get(f"{path}&file=c.csv")
    assert (status, problem["detail"]) == (404, f"The batch {id_} has no file 'c.csv' by now")
    status, problem = await rota.get(f"/batches/no/bad-rows?format={format_}")
    assert (status, problem["detail"]) == (404, "There is no batch no")


async def test_a_batch_shows_how_far_and_how_fast_it_is(rota: Viewed) -> None:
    id_ = await rota.open_batch(bad_rows="skip")
    await rota.queue_rows(id_, 0, 0, 10)
    await rota.carry_out(
        "batch", AdvanceFile(id=id_, file_index=0, position=Position(70, 10, bad=2), rows=10, jobs=1)
    )
    await rota.fold()

    view = (await rota.get(f"/batches/{id_}"))[1]
    assert (view["rows"], view["bad_rows"], view["files"][0]["read_bytes"]) == (10, 2, 70)
    assert view["rows_per_second"] > 0
    assert view["jobs_per_second"] == 0
    assert "seconds_left" not in view
    await rota.carry_out("batch", FailFile(id=id_, file_index=0, fault=FileFault("a.csv: no"), rows=10, jobs=1))
    await rota.fold()
    view = (await rota.get(f"/batches/{id_}"))[1]
    assert (view["status"], view["error"]) == ("failed", "a.csv: no")
