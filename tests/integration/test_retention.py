"""What ended long ago is removed from the views and the log, whatever is killed meanwhile."""

import asyncio
import random
import sqlite3
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from events.batch import BatchCompleted, BatchCompletedWithFailures, BatchDetails, BatchOpened
from events.batch_results import ResultsFailed, ResultsRequested
from events.catalog import KINDS, AnyEvent, decode_event
from events.config import Config
from events.jetstream.log import Append, Log
from events.jetstream.topology import CHUNKS, EVENTS, PAYLOADS, RESULTS, RESULTS_FILES, SNAPSHOTS, prepare
from events.job import JobFailed, JobQueued, JobRedriven, JobStarted, JobSucceeded
from events.log import LOG_ID, LogTrimmed
from events.spec import Definition, SpecRegistered
from events.workflow import (
    WorkflowDetails,
    WorkflowFailed,
    WorkflowJob,
    WorkflowJobReleased,
    WorkflowJobSucceeded,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowSucceeded,
)
from projections import retention
from projections.rebuild import rebuild
from projections.retention import Retention, Trimmed
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection
from rota.protocol import JobFault, Payload, Result, Rows, WorkflowPlace
from scripts.stack import ROOT, Service
from tests.integration.write_side import details, nats_server, projections_process, restart

KEEP = timedelta(days=30)
MONTHS_LATER = timedelta(days=90)


def queued(id_: str, batch: str | None = None, version: int = 1, workflow: str | None = None) -> JobQueued:
    rows = Rows(batch, "a.csv", 0, 0, 0, 1, Payload("rota.payload.x", 1, "")) if batch else None
    asked = details(rows=rows, workflow=WorkflowPlace(workflow, 0, "a") if workflow else None)
    return JobQueued(originator_id=id_, originator_version=version, at=datetime.now(UTC), attempt=1, details=asked)


def succeeded(id_: str, version: int = 2, batch: str | None = None, *, large: bool = False) -> JobSucceeded:
    result = Result(payload=Payload(f"rota.result.{id_}", 1, "")) if large else Result()
    run: dict[str, Any] = {"attempt": 1, "worker": "w", "started_at": datetime.now(UTC), "batch": batch}
    return JobSucceeded(originator_id=id_, originator_version=version, at=datetime.now(UTC), result=result, **run)


def started(id_: str) -> JobStarted:
    now = datetime.now(UTC)
    return JobStarted(originator_id=id_, originator_version=2, at=now, attempt=1, worker="w", started_at=now)


def failed(id_: str, version: int, batch: str) -> JobFailed:
    run: dict[str, Any] = {"attempt": 1, "worker": "w", "started_at": datetime.now(UTC), "batch": batch}
    fault = JobFault("ValueError", "no")
    return JobFailed(originator_id=id_, originator_version=version, at=datetime.now(UTC), fault=fault, **run)


def redriven(id_: str, version: int, batch: str) -> JobRedriven:
    now = datetime.now(UTC)
    return JobRedriven(originator_id=id_, originator_version=version, at=now, redrive=1, batch=batch)


def opened_batch() -> BatchOpened:
    asked = BatchDetails(
        spec="add", queue="q", files=("a",), rows_per_job=1, max_jobs_in_flight=1, params=details().params
    )
    return BatchOpened(originator_id="b", originator_version=1, at=datetime.now(UTC), details=asked)


class Place:
    """A log of its own with its views, and retention over them."""

    def __init__(self, folder: Path, url: str, server: Service, connection: Connection) -> None:
        self.path = folder / "views.sqlite"
        self.environment = {"ROTA_HOME": str(folder), "ROTA_NATS_URL": url, "PYTHONPATH": str(ROOT)}
        self.url = url
        self.server = server
        self.connection = connection
        self.log = Log(connection)

    async def append(self, *events: AnyEvent) -> None:
        """Append events, each with what is before it of its aggregate."""
        for event in events:
            kind = KINDS[type(event)]
            history = await self.log.load(kind, event.originator_id)
            expected = history[-1].sequence if history else 0
            await self.log.append([Append(kind, event.originator_id, expected, [event])])

    async def jobs(self, count: int) -> None:
        """Append jobs that succeeded, every tenth with three events; of the newer half every seventh is queued."""
        ids = [f"j-{number}" for number in range(count)]
        for some in (ids[start : start + 500] for start in range(0, count, 500)):
            stored = await self.log.append([Append("job", id_, 0, [queued(id_)]) for id_ in some])
            last = dict(zip(some, stored, strict=True))
            long = [id_ for id_ in some if ids.index(id_) % 10 == 0]
            stored = await self.log.append([Append("job", id_, last[id_], [started(id_)]) for id_ in long])
            last |= zip(long, stored, strict=True)
            ended = [id_ for id_ in some if ids.index(id_) % 7 or ids.index(id_) < count / 2]
            await self.log.append(
                [Append("job", id_, last[id_], [succeeded(id_, 3 if id_ in long else 2)]) for id_ in ended]
            )

    async def trim(self, after: timedelta = MONTHS_LATER) -> Trimmed:
        with closing(Tables.open(self.path)) as tables:
            return await Retention(
                self.connection, tables, self.path, KEEP, lambda: datetime.now(UTC) + after
            ).trim()

    async def rows(self) -> dict[str, list[Any]]:
        """Return all that the views show, when they have reached the end of the log."""
        with closing(Tables.open(self.path)) as tables:
            await Runner(self.log, tables).catch_up()
        with closing(sqlite3.connect(self.path)) as views:
            return {
                table: views.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
                for table in (
                    *("jobs", "batches", "batch_files", "batch_jobs", "specs"),
                    *("workflows", "workflow_jobs", "workflow_runs"),
                )
            }

    async def subjects(self, stream: str = EVENTS) -> set[str]:
        info = await self.connection.call(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
        return set(info["state"].get("subjects") or {})

    async def trims(self) -> list[LogTrimmed]:
        recorded = await self.log.load("log", LOG_ID)
        return [one.event for one in recorded if isinstance(one.event, LogTrimmed)]

    def projections(self, *arguments: str, keep_seconds: float) -> AbstractAsyncContextManager[Process]:
        kept = {"ROTA_KEEP_EVENTS_DAYS": f"{keep_seconds / 86400:.9f}"}
        return projections_process(self.environment | kept, *arguments)


@pytest_asyncio.fixture(loop_scope="session")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with nats_server(tmp_path) as (server, url), await Connection.open(url, name="test") as connection:
        await prepare(connection)
        yield Place(tmp_path, url, server, connection)


async def test_what_has_ended_goes_from_views_and_streams_and_the_rest_stays(place: Place) -> None:
    spec = SpecRegistered(originator_id="add", originator_version=1, at=datetime.now(UTC), definition=Definition())
    completed = BatchCompleted(originator_id="b", originator_version=2, at=datetime.now(UTC), succeeded=1, failed=0)
    await place.append(spec, queued("old"), queued("waits"), queued("large"))
    await place.append(opened_batch(), queued("b_0-0", "b"), succeeded("b_0-0", batch="b"), completed)
    await place.append(succeeded("old"), succeeded("large", large=True))
    beside = ["rota.result.large", "rota.result.other", "rota.snapshot.batch.b", "rota.snapshot.batch.c"]
    parts = ["rota.payload.{}.0.0.0", "rota.chunk.{}.head", "rota.chunk.{}.rest", "rota.results_file.{}.r.0"]
    for subject in (*beside, *(part.format(batch) for part in parts for batch in "bc")):
        await place.connection.publish(subject, b"x")

    assert await place.trim() == Trimmed(jobs=3, batches=1)

    assert await place.subjects() == {
        "rota.event.spec.add.registered",
        "rota.event.job.waits.queued.default.normal.add",
        "rota.event.log.events.trimmed",
    }
    assert await place.subjects(PAYLOADS) == {"rota.payload.c.0.0.0"}
    assert await place.subjects(CHUNKS) == {"rota.chunk.c.head", "rota.chunk.c.rest"}
    assert await place.subjects(RESULTS_FILES) == {"rota.results_file.c.r.0"}
    assert await place.subjects(RESULTS) == {"rota.result.other"}
    assert await place.subjects(SNAPSHOTS) == {"rota.snapshot.batch.c"}
    shown = await place.rows()
    assert [row[1] for row in shown["jobs"]] == ["waits"]
    assert [shown[table] for table in ("batches", "batch_jobs")] == [[], []]
    (trimmed,) = await place.trims()
    assert trimmed.origin
    assert (trimmed.until, trimmed.oldest_job, trimmed.origin.caller) == (10, 3, "retention")


async def test_a_workflow_goes_with_all_its_parts_when_the_last_of_them_has_ended(place: Place) -> None:
    facts: dict[str, Any] = {"originator_id": "w", "at": datetime.now(UTC)}
    job = WorkflowJob("a", "add", "q", details().params)
    part = WorkflowPlace("w", 1, "b")
    opened = replace(opened_batch(), originator_id="w_1", details=replace(opened_batch().details, workflow=part))
    completed = BatchCompleted(
        originator_id="w_1", originator_version=2, at=datetime.now(UTC), succeeded=1, failed=0
    )
    await place.append(
        WorkflowScheduled(originator_version=1, details=WorkflowDetails("nightly", (job, job)), **facts),
        WorkflowJobReleased(originator_version=2, job=0, **facts),
        queued("w-0", workflow="w"),
        opened,
        queued("w_1_0-0", "w_1"),
        succeeded("w-0", large=True),
        WorkflowFailed(originator_version=3, **facts),
        WorkflowRetried(originator_version=4, retry=1, **facts),
        WorkflowJobSucceeded(originator_version=5, job=0, **facts),
        WorkflowSucceeded(originator_version=6, **facts),
        succeeded("w_1_0-0", batch="w_1"),
    )
    beside = ["rota.snapshot.workflow.{}", "rota.snapshot.batch.{}_1", "rota.payload.{}.0.0.inputs.1234"]
    for subject in (*(each.format(id_) for each in beside for id_ in "wv"), "rota.result.w-0"):
        await place.connection.publish(subject, b"x")

    assert await place.trim() == Trimmed()
    assert len((await place.rows())["jobs"]) == 2
    await place.append(completed)
    assert await place.trim() == Trimmed(jobs=2, batches=1, workflows=1)

    assert await place.subjects() == {"rota.event.log.events.trimmed"}
    assert await place.subjects(SNAPSHOTS) == {"rota.snapshot.workflow.v", "rota.snapshot.batch.v_1"}
    assert await place.subjects(PAYLOADS) == {"rota.payload.v.0.0.inputs.1234"}
    assert await place.subjects(RESULTS) == set()
    assert {table for table, rows in (await place.rows()).items() if rows} == set()


async def test_what_was_redriven_or_asked_for_later_goes_with_all_its_events(place: Place) -> None:
    facts: dict[str, Any] = {"originator_id": "b", "at": datetime.now(UTC)}
    asked = ResultsRequested(originator_version=3, collection="c", format="ods", **facts)
    await place.append(
        opened_batch(),
        queued("b_0-0", "b"),
        failed("b_0-0", 2, "b"),
        BatchCompletedWithFailures(originator_version=2, succeeded=0, failed=1, reason="one", **facts),
        redriven("b_0-0", 3, "b"),
        asked,
        ResultsFailed(originator_version=4, collection="c", reason="no room", **facts),
    )

    assert await place.trim() == Trimmed()
    assert len(await place.subjects()) == 7
    await place.append(queued("b_0-0", "b", version=4), succeeded("b_0-0", 5, "b"))
    assert await place.trim() == Trimmed(jobs=1, batches=1)

    assert await place.subjects() == {"rota.event.log.events.trimmed"}
    shown = await place.rows()
    assert {table for table, rows in shown.items() if rows} == set()


async def test_what_is_not_old_enough_stays(place: Place) -> None:
    await place.jobs(10)

    assert await place.trim(after=timedelta(days=29)) == Trimmed()
    assert await place.trims() == []


async def test_two_that_remove_at_once_say_it_once(place: Place) -> None:
    await place.jobs(200)

    await asyncio.gather(place.trim(), place.trim())

    assert len(await place.trims()) == 1
    assert len({subject.split(".")[3] for subject in await place.subjects()}) == 1 + 14


async def test_many_are_removed_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "JOBS_AT_A_TIME", 50)
    await place.jobs(200)

    assert await place.trim() == Trimmed(jobs=186)

    assert len(await place.trims()) == 4
    expected = await place.rows()
    await rebuild(place.log, place.path)
    assert await place.rows() == expected


async def test_an_id_can_be_used_again_when_its_job_was_removed(place: Place) -> None:
    await place.append(queued("again"), queued("waits"), succeeded("again"))
    await place.trim()

    await place.append(queued("again"))

    assert [row[1] for row in (await place.rows())["jobs"]] == ["waits", "again"]
    await place.trim()
    assert len(await place.log.load("job", "again")) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_a_process_killed_while_it_removes_leaves_what_folds_to_the_same_views(
    place: Place, seed: int
) -> None:
    chance = random.Random(seed)
    await place.jobs(2000)
    await place.rows()
    # Wait until all of it is older than what is kept.
    await place.append(queued("last"))
    async with place.projections("trim", keep_seconds=0.001) as process:
        async with asyncio.timeout(60), place.log.follow(["rota.event.log.>"]) as follower:
            await follower.take()
        # Somewhere in the purge, which takes about as long as this may.
        await asyncio.sleep(chance.uniform(0, 0.3))
        with suppress(ProcessLookupError):  # it may be done
            process.kill()
        await process.wait()

    expected = await place.rows()
    assert len(expected["jobs"]) == 144
    await rebuild(place.log, place.path)
    assert await place.rows() == expected

    async with place.projections("trim", keep_seconds=3600) as process:
        output, errors = await process.communicate()
    assert (process.returncode, output, errors) == (0, b"removed 0 jobs, 0 batches and 0 workflows\n", b"")
    assert await place.rows() == expected
    await rebuild(place.log, place.path)
    assert await place.rows() == expected
    left = {subject.split(".")[3] for subject in await place.subjects()} - {row[1] for row in expected["jobs"]}
    assert len(left - {LOG_ID}) <= 1


async def test_a_server_killed_while_it_purges_is_told_again(place: Place) -> None:
    await place.jobs(2000)
    removing = asyncio.create_task(place.trim())
    async with asyncio.timeout(60), place.log.follow(["rota.event.log.>"]) as follower:
        await follower.take()
    await restart(place.server, place.url)
    await asyncio.wait([removing])
    expected = await place.rows()

    await place.trim()

    assert await place.rows() == expected
    await rebuild(place.log, place.path)
    assert await place.rows() == expected
    assert len({subject.split(".")[3] for subject in await place.subjects()}) == len(expected["jobs"]) + 1


async def test_the_process_removes_what_is_old_at_its_start(place: Place) -> None:
    await place.jobs(20)
    async with place.projections(keep_seconds=0.001) as process:
        async with asyncio.timeout(60), place.log.follow(["rota.event.log.>"]) as follower:
            (message,) = await follower.take()
        process.terminate()
        assert await process.wait() == 0

    assert isinstance(decode_event(message.data), LogTrimmed)


async def test_ages_that_changed_are_changed_in_the_streams(place: Place) -> None:
    async def age() -> int:
        return int((await place.connection.call(f"STREAM.INFO.{RESULTS}"))["config"]["max_age"])

    assert await age() == 30 * 86400 * 10**9
    await prepare(place.connection, Config(keep_results_days=7))
    assert await age() == 7 * 86400 * 10**9
    await prepare(place.connection)
    assert await age() == 7 * 86400 * 10**9
    await prepare(place.connection, Config(keep_results_days=0))
    assert await age() == 0
