"""Streams of events over HTTP: the real gateway and a real NATS server; the tests play shard and worker."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from events.base import Event, Origin
from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    FileFault,
    JobsCounted,
    Position,
    RowsQuarantined,
)
from events.batch_control import BatchCancelled, BatchCancelling
from events.batch_results import ResultsFailed, ResultsRequested
from events.config import Config
from events.jetstream.log import Append
from events.jetstream.tail import MAX_BYTES
from events.job import (
    JobAttemptFailed,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobRedriven,
    JobStarted,
    JobSucceeded,
)
from events.spec import Definition, SpecRegistered
from events.workflow import (
    WorkflowFailed,
    WorkflowJobSucceeded,
    WorkflowPaused,
    WorkflowRetried,
    WorkflowSucceeded,
)
from gateway.edge import EDGE, Pace
from projections.runner import Runner
from projections.tables import Tables
from rota.batch_protocol import FailedJobs
from rota.client import Client
from rota.jetstream import Connection
from rota.protocol import JobDetails, JobFault, Payload, Result, Rows, SucceedJob, WorkflowPlace
from rota.sse import Parser, ServerEvent
from tests.integration.conftest import purge
from tests.integration.test_gateway import Process, Rota, serving
from tests.integration.write_side import new_id, sharding

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WAIT_SECONDS = 20.0
SOON = Pace(heartbeat_seconds=0.05)
NIL = msgspec.Raw(msgspec.msgpack.encode(None))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def config(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(home=tmp_path_factory.mktemp("home"), nats_url=nats_url)


@pytest_asyncio.fixture(loop_scope="session")
async def rota(config: Config) -> AsyncIterator[Rota]:
    async with (
        await Connection.open(config.nats_url, name="test") as connection,
        serving(config, connection) as rota,
    ):
        rota.runner.app[EDGE].pace = SOON
        await purge(connection)
        yield rota
        await purge(connection)


class Listener:
    """Reads one stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parser = Parser()
        self._events: list[ServerEvent] = []

    async def more(self) -> bool:
        """Read what comes next; False at the stream's end."""
        async with asyncio.timeout(WAIT_SECONDS):
            piece = await self.response.content.readany()
        self._events += self.parser.feed(piece)
        return bool(piece)

    async def next(self) -> ServerEvent:
        while not self._events:
            assert await self.more(), "the stream has ended"
        return self._events.pop(0)

    async def rest(self) -> list[ServerEvent]:
        """Return all up to the stream's end."""
        while await self.more():
            pass
        return self._events

    async def until(self, sequence: int) -> list[ServerEvent]:
        """Return what comes until the stream says that it has come so far."""
        while int(self.parser.last_id or 0) < sequence:
            assert await self.more(), "the stream has ended"
        found, self._events = self._events, []
        return found


@asynccontextmanager
async def listening(rota: Rota, query: str = "", **headers: str) -> AsyncIterator[Listener]:
    """Open a stream, and wait until it has begun."""
    async with rota.http.get(f"/events?{query}", headers=headers) as response:
        assert response.status == 200, await response.text()
        listener = Listener(response)
        while not listener.parser.last_id:
            await listener.more()
        yield listener


@dataclass
class Story:
    """Appends events as a shard does."""

    rota: Rota
    stored: list[tuple[int, Event]] = field(default_factory=list)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def add(self, type_: type[Event], id_: str, **fields: Any) -> int:
        version, last = self._last.get(id_, (0, 0))
        event = type_(originator_id=id_, originator_version=version + 1, at=NOW, **fields)
        kind: Any = str(type_.__struct_config__.tag).partition(".")[0]
        [sequence] = await self.rota.log.append([Append(kind, id_, last, [event])])
        self._last[id_] = (version + 1, sequence)
        self.stored.append((sequence, event))
        return sequence

    async def queued(self, id_: str, *, queue: str = "default", spec: str = "add", **more: Any) -> int:
        rows = Rows(more.pop("batch"), "a.csv", 0, 0, 0, 1, Payload("s", 1, "")) if "batch" in more else None
        params = msgspec.Raw(msgspec.msgpack.encode(more.pop("params", {})))
        place = WorkflowPlace(more.pop("workflow"), 0, "one") if "workflow" in more else None
        details = JobDetails(spec, queue, params, rows=rows, workflow=place)
        return await self.add(JobQueued, id_, attempt=1, details=details, **more)

    async def started(self, id_: str, **more: Any) -> int:
        return await self.add(JobStarted, id_, attempt=1, worker="w", started_at=NOW, **more)

    async def succeeded(self, id_: str, value: Any = None, **more: Any) -> int:
        result = Result(msgspec.Raw(msgspec.msgpack.encode(value)))
        return await self.add(JobSucceeded, id_, attempt=1, worker="w", started_at=NOW, result=result, **more)

    async def failed(self, id_: str, **more: Any) -> int:
        fault = JobFault("ValueError", "bad")
        return await self.add(JobFailed, id_, attempt=1, worker="w", started_at=NOW, fault=fault, **more)

    async def progressed(self, id_: str, percent: float = 50, message: str = "") -> int:
        return await self.add(JobProgressed, id_, attempt=1, percent=percent, message=message)

    async def opened(
        self, id_: str, *, queue: str = "default", spec: str = "load", workflow: str | None = None
    ) -> int:
        place = WorkflowPlace(workflow, 1, "two") if workflow else None
        empty = msgspec.Raw(msgspec.msgpack.encode({}))
        details = BatchDetails(spec, queue, ("a.csv",), 10, 10, empty, workflow=place)
        return await self.add(BatchOpened, id_, details=details)

    async def completed(self, id_: str) -> int:
        return await self.add(BatchCompleted, id_, succeeded=1, failed=0)

    async def with_failures(self, id_: str) -> int:
        return await self.add(BatchCompletedWithFailures, id_, succeeded=1, failed=1, reason="one")


def told(events: Iterable[ServerEvent]) -> list[tuple[str, str]]:
    """Return type and subject of each event."""
    return [(event.type, json.loads(event.data)["subject"]) for event in events]


async def test_an_event_comes_as_a_cloud_event(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    async with listening(rota) as stream:
        assert stream.response.content_type == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert stream.parser.retry_seconds == 3
        origin = Origin("42", "http:127.0.0.1", "other.1", "group")
        sequence = await story.queued(id_, params={"a": 5}, origin=origin)
        event = await stream.next()
    assert (event.id, event.type) == (str(sequence), "job.queued")
    cloud = json.loads(event.data)
    data = cloud.pop("data")
    assert cloud == {
        "specversion": "1.0",
        "id": f"{id_}.1",
        "source": "/rota",
        "type": "rota.job.queued.v1",
        "subject": id_,
        "time": "2026-05-01T12:00:00Z",
        "sequence": f"{sequence:020}",
        "datacontenttype": "application/json",
        "correlationid": "group",
        "causationid": "other.1",
    }
    assert (data["type"], data["version"], data["details"]["params"]) == ("job.queued", 1, {"a": 5})
    assert (await rota.get(f"/jobs/{id_}/events"))[1]["events"] == [{"sequence": sequence, **data}]


async def test_a_value_that_json_cannot_hold_is_left_out_and_said_so(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    async with listening(rota) as stream:
        await story.queued(id_)
        await story.succeeded(id_, {(1, 2): "x"})
        await stream.next()
        data = json.loads((await stream.next()).data)["data"]
    assert "result" not in data
    assert (data["worker"], data["left_out"]) == ("w", ["result"])


async def test_what_is_no_event_of_rota_is_passed_over(rota: Rota) -> None:
    id_ = new_id()
    async with listening(rota) as stream:
        await rota.connection.publish("rota.event.job.x.queued.default.normal.add", b"\xc1")
        sequence = await Story(rota).queued(id_)
        assert (await stream.next()).id == str(sequence)


@pytest_asyncio.fixture(loop_scope="session")
async def story(rota: Rota) -> Story:
    """Two jobs, a batch with its job, and a spec; a job and the batch are parts of a workflow."""
    story = Story(rota)
    await story.add(SpecRegistered, "add", definition=Definition())
    await story.queued("j1", queue="fast", spec="add")
    await story.queued("j2", queue="slow", spec="sub", workflow="w1")
    await story.opened("b1", queue="bulk", spec="load", workflow="w1")
    await story.queued("b1_0-0", queue="bulk", spec="load", batch="b1")
    await story.started("j1")
    await story.started("b1_0-0", batch="b1")
    await story.progressed("b1_0-0")
    retry: dict[str, Any] = {"fault": JobFault("E", "x"), "timed_out": False, "retry_at": NOW, "started_at": NOW}
    await story.add(JobAttemptFailed, "j2", attempt=1, worker="w", **retry)
    await story.succeeded("b1_0-0", batch="b1")
    await story.add(WorkflowPaused, "w1")
    await story.completed("b1")
    await story.failed("j2")
    await story.succeeded("j1")
    return story


J1 = [("job.queued", "j1"), ("job.started", "j1"), ("job.succeeded", "j1")]
J2 = [("job.queued", "j2"), ("job.attempt_failed", "j2"), ("job.failed", "j2")]
B1_JOB = [(f"job.{name}", "b1_0-0") for name in ("queued", "started", "progressed", "succeeded")]
B1 = [("batch.opened", "b1"), ("batch.completed", "b1")]
SPEC = [("spec.registered", "add")]
W1 = [("workflow.paused", "w1")]

FILTERS = [
    ("", SPEC + J1 + J2 + B1 + B1_JOB + W1),
    ("job=j1&job=j2", J1 + J2),
    ("batch=b1&batch=none", B1 + B1_JOB),
    ("batch=b1&batch=none&type=batch.*", B1),
    ("batch=b1&batch=none&type=job.succeeded&type=batch.opened", [B1[0], B1_JOB[3]]),
    ("batch=b1&batch=none&type=job.progressed", [B1_JOB[2]]),
    ("workflow=w1&workflow=none", W1 + J2 + B1 + B1_JOB),
    ("workflow=w1&workflow=none&type=job.*", J2 + B1_JOB),
    ("queue=fast", J1),
    ("queue=fast&queue=bulk", J1 + B1 + B1_JOB),
    ("spec=add", SPEC + J1),
    ("spec=sub&queue=slow", J2),
    ("spec=sub&queue=fast", []),
    ("type=job.queued", [J1[0], J2[0], B1_JOB[0]]),
    ("type=job.*&spec=load", B1_JOB),
    ("type=spec.*&type=job.failed", [*SPEC, J2[2]]),
    ("job=j1&job=j2&type=job.started&type=job.failed&queue=slow", [J2[2]]),
]


@pytest.mark.parametrize("begin", [0, 5], ids=["known", "looked up"])
@pytest.mark.parametrize(("query", "expected"), FILTERS, ids=[query or "all" for query, _ in FILTERS])
async def test_a_stream_shows_what_fits_its_filters(
    story: Story, config: Config, query: str, expected: list[tuple[str, str]], begin: int
) -> None:
    # Of what begins before the stream, a new gateway does not know what it belongs to.
    first, last = story.stored[begin][0] - 1, story.stored[-1][0]
    async with serving(config, story.rota.connection) as rota:
        rota.runner.app[EDGE].pace = SOON
        async with listening(rota, f"after={first}&{query}") as stream:
            # A stream of few subjects is moved on by its events alone.
            last = last if "job=" in query or "batch=" not in query else last - 2
            found = told(await stream.until(last))
    shown = [
        (str(type(event).__struct_config__.tag), event.originator_id)
        for sequence, event in story.stored
        if first < sequence <= last
    ]
    assert found == [one for one in shown if one in expected]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "'colour'"),
        ("job=a.b", "query parameter job"),
        ("queue=1", "query parameter queue"),
        ("after=-1", "query parameter after"),
        ("after=now", "query parameter after"),
        ("after=99999999999999999999999", "query parameter after"),
        ("type=job.queue", "did you mean job.queued"),
        ("type=jobs.*", "query parameter type"),
        ("&".join(f"job=j{number}" for number in range(101)), "the limit is 100"),
    ],
)
async def test_a_wrong_filter_is_named(rota: Rota, query: str, named: str) -> None:
    status, problem = await rota.get(f"/events?{query}")
    assert status == 400
    assert named in problem["errors"][0]["detail"]


async def test_a_last_event_id_that_is_none_is_named(rota: Rota) -> None:
    async with rota.http.get("/events", headers={"Last-Event-ID": "x"}) as response:
        assert response.status == 400
        assert "Last-Event-ID" in (await response.json(content_type=None))["errors"][0]["detail"]


async def test_head_asks_for_no_stream(rota: Rota) -> None:
    async with rota.http.head("/events") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"


async def test_a_stream_starts_now_or_after_a_sequence_and_the_header_goes_first(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    first = await story.queued(id_)
    second = await story.started(id_)
    async with listening(rota) as stream:
        third = await story.progressed(id_)
        assert (await stream.next()).id == str(third)
    async with listening(rota, f"after={first}") as stream:
        assert [(await stream.next()).id, (await stream.next()).id] == [str(second), str(third)]
    async with listening(rota, f"after={first}", **{"Last-Event-ID": str(second)}) as stream:
        assert (await stream.next()).id == str(third)
    async with listening(rota, "after=0") as stream:
        assert (await stream.next()).id == str(first)


async def test_a_stream_goes_on_where_it_was_over_a_restart_of_the_gateway(config: Config, rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    async with serving(config, rota.connection) as before, listening(before, "queue=default") as stream:
        seen = [str(await story.queued(id_))]
        assert (await stream.next()).id == seen[0]
        await before.runner.cleanup()
        [closed] = await stream.rest()
        assert (closed.type, json.loads(closed.data)) == ("closed", {"reason": "server shutdown"})
        assert closed.id == seen[0]
    missed = [str(await story.progressed(id_)) for _ in range(100)]
    async with (
        serving(config, rota.connection) as after,
        listening(after, "queue=default", **{"Last-Event-ID": closed.id}) as stream,
    ):
        assert [(await stream.next()).id for _ in missed] == missed


async def test_a_stream_that_has_seen_nothing_can_be_resumed_from_its_begin(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.queued(id_)
    async with listening(rota) as stream:
        begin = stream.parser.last_id
    missed = await story.started(id_)
    async with listening(rota, **{"Last-Event-ID": begin}) as stream:
        assert (await stream.next()).id == str(missed)


async def test_events_that_retention_has_removed_are_a_gap(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    sequences = [await story.queued(id_), *[await story.progressed(id_) for _ in range(9)]]
    await rota.connection.call("STREAM.PURGE.ROTA_EVENTS", {"seq": sequences[5]})
    async with listening(rota, f"after={sequences[1]}") as stream:
        assert stream.parser.last_id == str(sequences[1])
        gap, event = await stream.next(), await stream.next()
    assert gap.type == "gap"
    missing = json.loads(gap.data)
    assert (missing["after"], missing["first"]) == (sequences[1], sequences[5])
    assert "removed" in missing["reason"]
    assert event.id == str(sequences[5])
    async with listening(rota, f"after={sequences[5]}") as stream:
        assert (await stream.next()).id == str(sequences[6])
    async with listening(rota, "after=0") as stream:
        assert (await stream.next()).id == str(sequences[5])


async def test_a_sequence_beyond_the_log_is_a_gap_and_the_stream_goes_on_from_the_end(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    last = await story.queued(id_)
    async with listening(rota, **{"Last-Event-ID": str(last + 1000)}) as stream:
        gap = await stream.next()
        assert (gap.type, gap.id) == ("gap", str(last))
        assert json.loads(gap.data)["first"] == last + 1
        assert (await story.started(id_)) == last + 1
        assert (await stream.next()).id == str(last + 1)


async def test_a_silent_stream_says_that_it_lives_and_how_far_it_is(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    async with listening(rota, "queue=nobody") as stream:
        last = await story.queued(id_)
        assert await stream.until(last) == []
        heartbeat = b""
        while b": heartbeat\n" not in heartbeat:
            heartbeat = await stream.response.content.readany()
    assert f"id: {last}\n".encode() in heartbeat


async def test_one_workflow_s_stream_ends_with_the_workflow(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.add(WorkflowPaused, id_)
    async with listening(rota, f"workflow={id_}") as stream:
        await story.queued(f"{id_}-0", workflow=id_)
        await story.add(WorkflowFailed, id_)
        *events, end = await stream.rest()
    assert told(events) == [("job.queued", f"{id_}-0"), ("workflow.failed", id_)]
    assert (end.type, json.loads(end.data)) == ("end", {"id": id_, "status": "failed"})


async def test_a_workflow_has_ended_though_something_was_late(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.add(WorkflowSucceeded, id_)
    last = await story.add(WorkflowJobSucceeded, id_, job=0, late=True)
    async with rota.http.get(f"/events?workflow={id_}", headers={"Last-Event-ID": str(last)}) as response:
        assert response.status == 204


async def test_the_stream_of_a_workflow_that_runs_again_goes_on(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.add(WorkflowFailed, id_)
    await story.add(WorkflowRetried, id_, retry=1)
    async with listening(rota, f"workflow={id_}") as stream:
        await story.add(WorkflowSucceeded, id_)
        event, end = await stream.rest()
    assert (event.type, json.loads(end.data)["status"]) == ("workflow.succeeded", "succeeded")


async def test_one_job_s_stream_ends_with_the_job(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    queued = await story.queued(id_)
    async with listening(rota, f"job={id_}&type=job.*") as stream, listening(rota, f"job={id_}&after=0") as whole:
        succeeded = await story.succeeded(id_)
        event, end = await stream.rest()
        assert (event.type, event.id) == ("job.succeeded", str(succeeded))
        assert (end.type, json.loads(end.data)) == ("end", {"id": id_, "status": "succeeded"})
        assert [one.id for one in await whole.rest()][:2] == [str(queued), str(succeeded)]


async def test_the_stream_of_a_job_that_has_ended_has_its_end(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.queued(id_)
    failed = await story.failed(id_)
    async with listening(rota, f"job={id_}") as stream:
        event, end = await stream.rest()
    assert (event.type, event.id, end.type) == ("job.failed", str(failed), "end")
    async with listening(rota, f"job={id_}&after={failed}") as stream:
        [end] = await stream.rest()
    assert json.loads(end.data) == {"id": id_, "status": "failed"}
    async with rota.http.get(f"/events?job={id_}", headers={"Last-Event-ID": str(failed)}) as response:
        assert response.status == 204


async def test_one_batch_s_stream_has_its_jobs_and_ends_with_it(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    async with (
        listening(rota, f"batch={id_}") as stream,
        listening(rota, f"batch={id_}&type=job.started") as narrow,
    ):
        await story.queued(f"{id_}_0-0", batch=id_)
        await story.started(f"{id_}_0-0", batch=id_)
        await story.succeeded(f"{id_}_0-0", batch=id_)
        await story.completed(id_)
        *events, end = await stream.rest()
        assert [event.type for event in events] == ["job.queued", "job.started", "job.succeeded", "batch.completed"]
        assert json.loads(end.data) == {"id": id_, "status": "completed"}
        assert [event.type for event in await narrow.rest()] == ["job.started", "end"]


@pytest.mark.parametrize("query", ["job=no", "batch=no", "job=no&after=0"])
async def test_one_job_or_batch_that_was_never_there_is_not_found(rota: Rota, query: str) -> None:
    assert (await rota.get(f"/events?{query}"))[0] == 404


async def test_a_job_that_waits_for_its_shard_can_be_followed(rota: Rota) -> None:
    async with rota.http.post("/schedule", json={"spec": "later"}) as response:
        assert response.status == 400  # there is no spec
    story = Story(rota)
    await story.add(SpecRegistered, "later", definition=Definition())
    id_ = await rota_schedule(rota, "later")
    async with listening(rota, f"job={id_}") as stream:
        queued = await story.queued(id_, spec="later")
        assert (await stream.next()).id == str(queued)


async def test_a_job_is_seen_from_the_request_to_its_end_with_what_led_to_it(rota: Rota) -> None:
    await Story(rota).add(SpecRegistered, "seen", definition=Definition())
    async with sharding(rota.connection):
        async with listening(rota, "spec=seen") as stream:
            id_ = await rota_schedule(rota, "seen")
            queued = await stream.next()
            done = SucceedJob(id=id_, attempt=1, worker="w", started_at=NOW, result=Result(NIL))
            await rota.bus.send([done], caller="worker:w", causation_id=f"{id_}.1")
            succeeded = await stream.next()
        assert told([queued, succeeded]) == [("job.queued", id_), ("job.succeeded", id_)]
        assert json.loads(succeeded.data)["causationid"] == f"{id_}.1"
        assert json.loads(queued.data)["correlationid"] == json.loads(succeeded.data)["correlationid"]
        async with Client(str(rota.http._base_url)) as client:
            assert [event["type"] async for event in client.events(job=id_, after=0)] == [
                queued.type,
                succeeded.type,
            ]


async def rota_schedule(rota: Rota, spec: str) -> str:
    status, answer = await rota.post("/schedule", {"spec": spec})
    assert status == 202
    return str(answer["ids"][0])


async def test_what_the_log_has_no_more_is_known_from_the_views(rota: Rota, nats_url: str, tmp_path: Path) -> None:
    story, ended, running = Story(rota), new_id(), new_id()
    await story.queued(ended)
    await story.succeeded(ended)
    await story.queued(running, queue="mail")
    config = Config(home=tmp_path, nats_url=nats_url)
    with closing(Tables.open(config.views)) as tables:
        await Runner(rota.log, tables).catch_up()
    first = await story.started(running)
    await rota.connection.call("STREAM.PURGE.ROTA_EVENTS", {"seq": first})
    async with serving(config, rota.connection) as viewed:
        async with listening(viewed, f"after={first - 1}&queue=mail") as stream:
            assert (await stream.next()).id == str(first)
        async with listening(viewed, f"job={ended}") as stream:
            [end] = await stream.rest()
    assert json.loads(end.data) == {"id": ended, "status": "succeeded"}


async def test_the_stream_of_a_batch_goes_on_after_it_was_redriven(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    await story.add(BatchFailed, id_, reason="a.csv is cut")
    await story.add(BatchRedriven, id_)
    async with listening(rota, f"batch={id_}&after=0") as stream:
        found = [(await stream.next()).type for _ in range(3)]
        await story.completed(id_)
        found += [event.type for event in await stream.rest()]
    assert found == ["batch.opened", "batch.failed", "batch.redriven", "batch.completed", "end"]


async def test_the_stream_of_a_batch_that_was_redriven_after_failures_goes_on(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    first = await story.with_failures(id_)
    async with listening(rota, f"batch={id_}") as stream:
        assert [event.type for event in await stream.rest()] == ["batch.completed_with_failures", "end"]
    await story.add(BatchRedriven, id_, jobs=FailedJobs())
    async with (
        listening(rota, f"batch={id_}&after={first - 1}") as stream,
        listening(rota, f"batch={id_}") as late,
    ):
        found = [(await stream.next()).type for _ in range(2)]
        await story.with_failures(id_)
        found += [event.type for event in await stream.rest()]
        assert [event.type for event in await late.rest()] == ["batch.completed_with_failures", "end"]
    assert found == [
        "batch.completed_with_failures",
        "batch.redriven",
        "batch.completed_with_failures",
        "end",
    ]


async def test_a_batch_whose_results_are_collected_has_ended_all_the_same(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    await story.add(BatchFailed, id_, reason="away")
    await story.add(ResultsRequested, id_, collection="early", format="ods")
    await story.add(BatchRedriven, id_)
    await story.add(ResultsFailed, id_, collection="early", reason="no room")
    async with listening(rota, f"batch={id_}") as stream:
        ended = await story.with_failures(id_)
        assert [event.type for event in await stream.rest()] == ["batch.completed_with_failures", "end"]
    asked = await story.add(ResultsRequested, id_, collection="c", format="ods")
    async with listening(rota, f"batch={id_}") as stream:
        event, end = await stream.rest()
    assert (event.type, event.id) == ("batch.completed_with_failures", str(ended))
    assert json.loads(end.data) == {"id": id_, "status": "completed_with_failures"}
    async with listening(rota, f"batch={id_}&after={asked}") as stream:
        assert [event.type for event in await stream.rest()] == ["end"]
    async with rota.http.get(f"/events?batch={id_}", headers={"Last-Event-ID": str(ended)}) as response:
        assert response.status == 204


@pytest.mark.parametrize("batch", [None, "b"])
async def test_the_stream_of_a_job_goes_on_after_it_was_redriven(rota: Rota, batch: str | None) -> None:
    story, id_ = Story(rota), new_id()
    of_batch: dict[str, Any] = {"batch": batch} if batch else {}
    await story.queued(id_, **of_batch)
    await story.failed(id_, **of_batch)
    await story.add(JobRedriven, id_, redrive=1, **of_batch)
    async with listening(rota, f"job={id_}&after=0") as stream, listening(rota, f"job={id_}") as late:
        found = [(await stream.next()).type for _ in range(3)]
        await story.queued(id_, **of_batch)
        await story.succeeded(id_, **of_batch)
        found += [event.type for event in await stream.rest()]
        assert [event.type for event in await late.rest()] == ["job.queued", "job.succeeded", "end"]
    assert found == ["job.queued", "job.failed", "job.redriven", "job.queued", "job.succeeded", "end"]


async def test_the_stream_of_a_cancelled_batch_ends(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    async with listening(rota, f"batch={id_}") as stream:
        await story.add(BatchCancelling, id_, reason="wrong file")
        await story.add(BatchCancelled, id_, jobs=0, succeeded=0, failed=0, reason="wrong file")
        assert [event.type for event in await stream.rest()] == ["batch.cancelling", "batch.cancelled", "end"]


async def test_the_events_of_a_batch_tell_how_it_goes(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    async with listening(rota, f"batch={id_}&type=batch.*") as stream:
        await story.queued(f"{id_}_0-0", batch=id_)
        await story.add(BatchAdvanced, id_, file_index=0, position=Position(70, bad=2), rows=10, jobs=1)
        await story.add(RowsQuarantined, id_, file_index=0, bad_before=2, faults=(FileFault("a.csv, line 9: no"),))
        await story.succeeded(f"{id_}_0-0", batch=id_)
        await story.add(JobsCounted, id_, until=9, succeeded=1, failed=0)
        await story.completed(id_)
        advanced, quarantined, counted, *_ = [json.loads(event.data) for event in await stream.rest()]
    data = advanced["data"]
    assert (data["rows"], data["jobs"], data["position"]["bad"], data["position"]["offset"]) == (10, 1, 2, 70)
    assert (quarantined["data"]["bad_before"], len(quarantined["data"]["faults"])) == (2, 1)
    assert (counted["data"]["succeeded"], counted["data"]["failed"]) == (1, 0)


async def test_the_stream_of_a_batch_ends_as_it_fails(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.opened(id_)
    async with listening(rota, f"batch={id_}") as stream:
        await story.add(BatchFailed, id_, reason="a.csv is cut")
        assert [event.type for event in await stream.rest()] == ["batch.failed", "end"]


async def test_more_streams_than_the_limit_are_refused_until_one_leaves(config: Config, rota: Rota) -> None:
    few = msgspec.structs.replace(config, max_streams=2)
    async with serving(few, rota.connection) as limited:
        limited.runner.app[EDGE].pace = SOON
        async with listening(limited):
            async with listening(limited):
                async with limited.http.get("/events") as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"]
                    problem = await response.json(content_type=None)
                assert problem["detail"].startswith("2 streams of events are open, which is the limit")
            async with asyncio.timeout(WAIT_SECONDS):
                while (await limited.http.head("/events")).status == 503:
                    await asyncio.sleep(0.01)


class Stopped:
    """A reader that asks for a stream, and does not read it."""

    def __init__(self, rota: Rota, query: str) -> None:
        self._port = rota.runner.addresses[0][1]
        self._query = query

    async def __aenter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._socket, f"GET /events?{self._query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def read(self) -> bytes:
        """Read all that has been sent, up to the end of the connection."""
        found = bytearray()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                while piece := await loop.sock_recv(self._socket, 1 << 20):
                    found += piece
            except ConnectionResetError:
                pass
        return bytes(found)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_readers_that_stop_are_cut_off_and_take_no_memory(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    edge = rota.runner.app[EDGE]
    edge.pace = Pace(heartbeat_seconds=15, write_seconds=0.5, linger_seconds=0.2)
    first = await story.queued(id_)
    last = 0
    for _ in range(400):
        last = await story.progressed(id_, message="x" * 60_000)
    before = resident_bytes()
    readers = [Stopped(rota, f"after={first}&type=job.progressed") for _ in range(20)]
    async with AsyncExitStack() as stack, listening(rota, f"job={id_}&after={last - 1}") as quick:
        for reader in readers:
            await stack.enter_async_context(reader)
        async with asyncio.timeout(WAIT_SECONDS):
            while edge.streams < len(readers):
                await asyncio.sleep(0.01)
            while edge.streams > 1:
                await asyncio.sleep(0.01)
        # 20 readers of 24 MB: the tail, and some 2 MB for each of them.
        assert resident_bytes() - before < 4 * MAX_BYTES + 20 * 2_000_000
        # Others are served meanwhile and after.
        assert (await quick.next()).id == str(last)
        sent = await readers[0].read()
    assert len(sent) < 400 * 60_000
    seen = sent.count(b"event: job.progressed\ndata:")
    assert 0 < seen < 400


async def test_a_reader_that_was_cut_off_can_resume_without_loss(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    edge = rota.runner.app[EDGE]
    edge.pace = Pace(write_seconds=0.5, linger_seconds=WAIT_SECONDS)
    first = await story.queued(id_)
    expected = [str(await story.progressed(id_, message="x" * 60_000)) for _ in range(300)]
    async with Stopped(rota, f"after={first}") as reader:
        async with asyncio.timeout(WAIT_SECONDS):
            while not edge.streams:
                await asyncio.sleep(0.01)
            while edge.streams:
                await asyncio.sleep(0.01)
        sent = await reader.read()
    body = sent.partition(b"\r\n\r\n")[2]
    events = Parser().feed(without_chunks(body))
    assert events[-1].type == "closed"
    assert json.loads(events[-1].data) == {"reason": "too slow: resume with Last-Event-ID"}
    seen = [event.id for event in events[:-1]]
    async with listening(rota, **{"Last-Event-ID": events[-1].id}) as stream:
        seen += [event.id for event in await stream.until(int(expected[-1]))]
    assert seen == expected


async def test_a_stop_does_not_wait_for_a_reader_that_has_stopped(config: Config, rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    first = await story.queued(id_)
    for _ in range(200):
        await story.progressed(id_, message="x" * 60_000)
    async with serving(config, rota.connection) as stopped, Stopped(stopped, f"after={first}"):
        edge = stopped.runner.app[EDGE]
        edge.pace = Pace(linger_seconds=0.1)
        async with asyncio.timeout(5):
            while not waiting_to_be_sent(stopped):
                await asyncio.sleep(0.01)
            await stopped.runner.cleanup()
    assert not edge.streams


async def test_the_process_ends_its_streams_when_it_is_stopped(config: Config, rota: Rota, tmp_path: Path) -> None:
    async with Process(config.nats_url, tmp_path) as gateway:
        url = await gateway.url()
        async with aiohttp.ClientSession(url) as http, http.get("/events") as response:
            listener = Listener(response)
            while not listener.parser.last_id:
                await listener.more()
            gateway.process.send_signal(signal.SIGTERM)
            [closed] = await listener.rest()
        output, errors = await asyncio.wait_for(gateway.process.communicate(), WAIT_SECONDS)
    assert json.loads(closed.data) == {"reason": "server shutdown"}
    assert (gateway.process.returncode, output, errors) == (0, b"", b"")


def waiting_to_be_sent(rota: Rota) -> int:
    """Return how many bytes wait in the gateway since their readers do not read."""
    assert rota.runner.server
    transports = [connection.transport for connection in rota.runner.server.connections]
    return sum(transport.get_write_buffer_size() for transport in transports if transport)


def without_chunks(body: bytes) -> bytes:
    """Undo HTTP's chunked encoding."""
    found = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return bytes(found)


async def test_the_client_follows_over_a_restart_of_the_gateway(config: Config, rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    expected = [await story.queued(id_, queue="mail")]
    seen: list[int] = []
    async with serving(config, rota.connection) as before:
        url = str(before.http._base_url)
        port = before.runner.addresses[0][1]
        async with Client(url, patience_seconds=WAIT_SECONDS) as client:
            events = client.events(queue=["mail", "none"], type="job.*", after=expected[0] - 1)
            seen.append((await anext(events))["sequence"])
            await before.runner.cleanup()
            expected += [await story.progressed(id_), await story.progressed(id_)]
            async with serving(config, rota.connection, port):
                seen += [(await anext(events))["sequence"], (await anext(events))["sequence"]]
                await events.aclose()
    assert seen == expected


async def test_the_client_s_events_of_a_job_end_with_it(rota: Rota) -> None:
    story, id_ = Story(rota), new_id()
    await story.queued(id_)
    await story.succeeded(id_, {"sum": 3})
    async with Client(str(rota.http._base_url)) as client:
        queued, succeeded = [event async for event in client.events(job=id_, after=0)]
        assert [event async for event in client.events(job=id_, after=succeeded["sequence"])] == []
        assert [queued, succeeded] == await client.history(id_)
