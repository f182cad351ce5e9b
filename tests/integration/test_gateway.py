"""The gateway over HTTP with a real NATS server. The tests play shard and worker by appending to the log."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from events.base import EndedError
from events.batch import CountJobs, FailFile, FileFault, FinishFile, FinishRedrive, RedriveBatch
from events.batch_decisions import BATCH
from events.catalog import decode_commands
from events.config import Config
from events.ids import keyed_group
from events.jetstream.bus import Bus
from events.jetstream.log import Append, Log
from events.jetstream.payloads import Payloads
from events.jetstream.topology import STREAMS
from events.job import JOB, CancelJob, ScheduleJob
from events.spec import SPEC
from gateway.app import application
from gateway.edge import EDGE
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection, Msg
from rota.protocol import (
    REPLY_TO,
    FailJob,
    JobFault,
    Outcome,
    Payload,
    RegisterSpec,
    Result,
    RetryPolicy,
    SucceedJob,
)

ROOT = Path(__file__).parents[2]
MAX_BODY = 200_000
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
AGGREGATES: dict[str, Any] = {"batch": BATCH, "job": JOB, "spec": SPEC}


class Rota:
    """The gateway's client, and what stands behind it."""

    def __init__(self, http: aiohttp.ClientSession, connection: Connection, runner: web.AppRunner) -> None:
        self.http = http
        self.runner = runner
        self.connection = connection
        self.log = Log(connection)
        self.bus = Bus(connection)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(path) as response:
            return response.status, await response.json(content_type=None)

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(path, data=data, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def schedule(self, a: int = 1, **job: Any) -> str:
        status, answer = await self.post("/schedule", {"spec": "add", "params": {"a": a}, **job})
        assert status == 202
        [id_] = answer["ids"]
        return str(id_)

    async def carry_out(self, kind: Any, command: Any) -> None:
        """Do as a shard does."""
        history = await self.log.load(kind, command.id)
        aggregate = AGGREGATES[kind]
        state = None
        for recorded in history:
            state = aggregate.evolve(state, recorded.event)
        events = aggregate.decide(state, command, datetime.now(UTC))
        if events:
            await self.log.append([Append(kind, command.id, history[-1].sequence if history else 0, events)])

    async def queue(self, id_: str) -> None:
        """Do as the job's shard does with the command that waits."""
        command = await self.bus.find_waiting("job", id_)
        assert isinstance(command, ScheduleJob)
        await self.carry_out("job", command)

    async def succeed(self, id_: str, result: Result) -> None:
        facts: dict[str, Any] = {"id": id_, "attempt": 1, "worker": "w", "started_at": datetime.now(UTC)}
        await self.carry_out("job", SucceedJob(result=result, **facts))


@asynccontextmanager
async def serving(config: Config, connection: Connection, port: int = 0) -> AsyncIterator[Rota]:
    """Run a gateway, on a free port unless one is given."""
    runner = web.AppRunner(application(config))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            yield Rota(http, connection, runner)
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rota(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rota]:
    """Run a gateway without projections."""
    home = tmp_path_factory.mktemp("home")
    (home / "connections.toml").write_text('[bucket]\nkind = "s3"\nkey = "k"\nsecret = "never shown"\n')
    config = Config(home=home, nats_url=nats_url, max_body_bytes=MAX_BODY)
    async with await Connection.open(nats_url, name="test") as connection, serving(config, connection) as found:
        retry = RetryPolicy(max_attempts=1)
        await found.carry_out("spec", RegisterSpec(id="add", params_schema=SCHEMA, queue="sums", retry=retry))
        await found.carry_out("spec", RegisterSpec(id="load", rows="dicts"))
        yield found
        for stream in STREAMS:
            # What waits here is not for the actors of other tests.
            await connection.call(f"STREAM.PURGE.{stream}")


def value(of: Any) -> Result:
    return Result(value=msgspec.Raw(msgspec.msgpack.encode(of)))


async def test_a_scheduled_job_is_a_durable_command_and_its_place_is_told(rota: Rota) -> None:
    async with rota.http.post("/schedule", json={"spec": "add", "params": {"a": 1}}) as response:
        assert response.status == 202
        [id_] = (await response.json())["ids"]
        assert response.headers["Location"] == f"/jobs/{id_}"
    command = await rota.bus.find_waiting("job", id_)
    assert isinstance(command, ScheduleJob)
    assert command.details.queue == "sums"
    assert msgspec.msgpack.decode(command.details.params) == {"a": 1}


async def test_the_jobs_of_a_list_are_one_message(rota: Rota) -> None:
    job = {"spec": "add", "params": {"a": 1}}
    before = (await rota.connection.call("STREAM.INFO.ROTA_COMMANDS"))["state"]["last_seq"]
    status, answer = await rota.post("/schedule", {"jobs": [job] * 100})
    assert status == 202
    assert len(set(answer["ids"])) == 100
    after = (await rota.connection.call("STREAM.INFO.ROTA_COMMANDS"))["state"]["last_seq"]
    assert after == before + 1
    assert await rota.bus.find_waiting("job", answer["ids"][99])


async def test_the_same_idempotency_key_gives_the_same_ids(rota: Rota) -> None:
    body = {"jobs": [{"spec": "add", "params": {"a": 1}}] * 2}
    quoted = await rota.post("/schedule", body, **{"Idempotency-Key": '"today"'})
    bare = await rota.post("/schedule", body, **{"Idempotency-Key": "today"})
    assert quoted == bare
    assert quoted[1]["ids"] == [keyed_group("request", "", "today") + f"-{index}" for index in (0, 1)]


@pytest.mark.parametrize("key", ["", '""', "x" * 257, "\xe4"])
async def test_an_idempotency_key_that_is_none_is_refused(rota: Rota, key: str) -> None:
    status, problem = await rota.post("/schedule", {"spec": "add", "params": {"a": 1}}, **{"Idempotency-Key": key})
    assert status == 400
    assert "Idempotency-Key" in problem["detail"]


async def test_a_job_that_was_just_scheduled_is_known(rota: Rota) -> None:
    id_ = await rota.schedule(7)
    status, view = await rota.get(f"/jobs/{id_}")
    assert (status, view["status"], view["params"]) == (200, "scheduled", {"a": 7})
    await rota.queue(id_)
    status, view = await rota.get(f"/jobs/{id_}")
    assert (status, view["status"]) == (200, "queued")


@pytest.mark.parametrize(
    "path", ["/jobs/no", "/jobs/no/events?after=3", "/jobs/no/result", "/batches/no", "/specs/no"]
)
async def test_an_id_that_was_never_given_out_is_not_found(rota: Rota, path: str) -> None:
    status, problem = await rota.get(path)
    assert status == 404
    assert problem["type"] == "https://rota.dev/problems/not-found"
    assert problem["detail"].startswith("There is no ")


@pytest.mark.parametrize("id_", ["*", "%3E", "a.b", "a%20b"])
async def test_an_id_is_never_a_pattern(rota: Rota, id_: str) -> None:
    status, problem = await rota.get(f"/jobs/{id_}/events")
    assert (status, problem["type"]) == (404, "https://rota.dev/problems/not-found")


async def test_a_wrong_request_is_answered_with_each_place_and_schedules_nothing(rota: Rota) -> None:
    jobs = [{"spec": "add", "params": {"a": 1}}, {"spec": "add", "params": {"a": "x"}}, {"spec": "ad"}]
    before = (await rota.connection.call("STREAM.INFO.ROTA_COMMANDS"))["state"]["last_seq"]
    async with rota.http.post("/schedule", json={"jobs": jobs}) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert problem == {
        "type": "https://rota.dev/problems/invalid-request",
        "title": "The request is not valid",
        "status": 400,
        "detail": "The request is wrong in 2 places; nothing was done",
        "errors": [
            {"detail": '"x" is not of type "integer"', "pointer": "#/jobs/1/params/a"},
            {"detail": "There is no spec ad", "pointer": "#/jobs/2/spec"},
        ],
    }
    assert (await rota.connection.call("STREAM.INFO.ROTA_COMMANDS"))["state"]["last_seq"] == before


async def test_a_body_that_is_no_json_is_answered_with_the_place(rota: Rota) -> None:
    status, problem = await rota.post("/schedule", b'{"spec": add}')
    assert (status, problem["detail"]) == (400, "The body is no JSON: line 1, column 10: invalid character")


async def test_a_body_over_the_limit_is_too_large(rota: Rota) -> None:
    status, problem = await rota.post("/schedule", {"spec": "add", "params": {"a": "x" * MAX_BODY}})
    assert (status, problem["type"]) == (413, "https://rota.dev/problems/too-large")
    assert str(MAX_BODY) in problem["detail"]


async def test_params_over_the_limit_are_too_large(rota: Rota) -> None:
    status, problem = await rota.post("/schedule", {"spec": "add", "params": {"a": 1, "b": "x" * 70_000}})
    assert (status, problem["errors"][0]["pointer"]) == (413, "#/params")


async def test_a_method_that_is_not_served_is_told_which_are(rota: Rota) -> None:
    async with rota.http.delete("/jobs/x/cancel") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert problem["type"] == "https://rota.dev/problems/method-not-allowed"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", "'colour'"),
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("queue=a.b", "queue"),
    ],
)
async def test_a_wrong_query_parameter_is_named(rota: Rota, query: str, named: str) -> None:
    status, problem = await rota.get(f"/jobs?{query}")
    assert status == 400
    assert f"query parameter {named}" in problem["errors"][0]["detail"]


async def test_the_history_of_a_job_is_shown_with_its_values(rota: Rota) -> None:
    id_ = await rota.schedule(5, labels={"x": "y"})
    assert await rota.get(f"/jobs/{id_}/events") == (200, {"events": []})
    await rota.queue(id_)
    await rota.succeed(id_, value({"sum": 6}))
    status, answer = await rota.get(f"/jobs/{id_}/events")
    assert status == 200
    queued, succeeded = answer["events"]
    assert (queued["type"], queued["id"], queued["version"]) == ("job.queued", id_, 1)
    assert queued["details"]["params"] == {"a": 5}
    assert datetime.fromisoformat(queued["at"]).tzinfo
    assert (succeeded["type"], succeeded["result"]) == ("job.succeeded", {"value": {"sum": 6}})
    assert succeeded["sequence"] == queued["sequence"] + 1
    after = f"/jobs/{id_}/events?after="
    assert await rota.get(f"{after}{queued['sequence']}") == (200, {"events": [succeeded]})
    assert await rota.get(f"{after}{succeeded['sequence']}") == (200, {"events": []})
    assert await rota.get(f"{after}{queued['sequence'] - 1}") == (200, {"events": [queued, succeeded]})


async def test_who_waits_for_an_event_is_answered_when_it_is_stored(rota: Rota) -> None:
    id_ = await rota.schedule()
    await rota.queue(id_)
    after = await rota.log.last_sequence()
    asked = asyncio.create_task(rota.get(f"/jobs/{id_}/events?after={after}&wait=60"))
    await somebody_waits(rota)
    await rota.succeed(id_, value(1))
    status, answer = await asked
    assert (status, [event["type"] for event in answer["events"]]) == (200, ["job.succeeded"])


async def test_who_waits_in_vain_gets_no_events(rota: Rota) -> None:
    id_ = await rota.schedule()
    assert await rota.get(f"/jobs/{id_}/events?wait=0.05") == (200, {"events": []})


async def test_who_waits_for_a_result_is_answered_when_the_job_ends(rota: Rota) -> None:
    id_ = await rota.schedule()
    asked = asyncio.create_task(rota.get(f"/jobs/{id_}/result?wait=60"))
    await somebody_waits(rota)
    await rota.queue(id_)
    await rota.succeed(id_, value({"sum": [1, None, "x"]}))
    assert await asked == (200, {"id": id_, "status": "succeeded", "result": {"sum": [1, None, "x"]}})
    assert await rota.get(f"/jobs/{id_}/result") == (await asked)


async def test_a_job_that_has_not_ended_has_its_status_for_a_result(rota: Rota) -> None:
    id_ = await rota.schedule()
    assert await rota.get(f"/jobs/{id_}/result") == (202, {"id": id_, "status": "scheduled"})
    await rota.queue(id_)
    assert await rota.get(f"/jobs/{id_}/result?wait=0.05") == (202, {"id": id_, "status": "queued"})


async def test_a_job_that_failed_has_its_error_for_a_result(rota: Rota) -> None:
    id_ = await rota.schedule()
    await rota.queue(id_)
    fault = JobFault("ValueError", "a is odd")
    await rota.carry_out("job", FailJob(id=id_, attempt=1, worker="w", started_at=datetime.now(UTC), fault=fault))
    error = {"type": "ValueError", "message": "a is odd"}
    assert await rota.get(f"/jobs/{id_}/result") == (200, {"id": id_, "status": "failed", "error": error})


async def test_a_large_result_is_fetched_from_its_payload(rota: Rota) -> None:
    id_ = await rota.schedule()
    await rota.queue(id_)
    subject, body = f"rota.payload.{id_}.result", msgspec.msgpack.encode("x" * 100_000)
    await Payloads(rota.connection).put([(subject, body)])
    await rota.succeed(id_, Result(payload=Payload.of(subject, body)))
    status, answer = await rota.get(f"/jobs/{id_}/result")
    assert (status, answer["result"]) == (200, "x" * 100_000)


async def test_a_result_that_json_cannot_hold_is_told_as_such(rota: Rota) -> None:
    id_ = await rota.schedule()
    await rota.queue(id_)
    await rota.succeed(id_, value({(1, 2): "x"}))
    status, problem = await rota.get(f"/jobs/{id_}/result")
    assert status == 500
    assert problem["detail"].startswith("The answer cannot be written as JSON")


async def test_to_cancel_sends_a_command_and_does_not_wait_long_for_a_shard(rota: Rota) -> None:
    id_ = await rota.schedule()
    accepted = {"id": id_, "status": "accepted"}
    assert await rota.post(f"/jobs/{id_}/cancel", {"reason": "not needed"}) == (202, accepted)
    await rota.queue(id_)
    await rota.carry_out("job", CancelJob(id=id_, reason="not needed"))
    error = {"type": "Cancelled", "message": "not needed"}
    assert await rota.get(f"/jobs/{id_}/result") == (200, {"id": id_, "status": "cancelled", "error": error})
    assert await rota.post(f"/jobs/{id_}/cancel", b"") == (200, {"id": id_, "status": "done"})


async def test_who_asks_stands_with_the_command(rota: Rota) -> None:
    job = {"spec": "add", "params": {"a": 1}}
    for headers, expected in ({}, "http:127.0.0.1"), ({"Rota-Caller": "billing"}, "client:billing"):
        _, answer = await rota.post("/schedule", job, **headers)
        message = await rota.connection.last("ROTA_COMMANDS", f"rota.command.*.job.{answer['ids'][0]}.schedule")
        assert message
        assert message.headers
        assert message.headers["Rota-Caller"] == expected
    status, problem = await rota.post("/schedule", job, **{"Rota-Caller": "x" * 200})
    assert (status, problem["type"]) == (400, "https://rota.dev/problems/invalid-request")


async def test_what_has_ended_cannot_be_cancelled(rota: Rota) -> None:
    id_ = await rota.schedule()
    await rota.queue(id_)
    await rota.succeed(id_, value(1))
    status, problem = await rota.post(f"/jobs/{id_}/cancel", {})
    assert (status, problem["type"]) == (409, "https://rota.dev/problems/conflict")
    assert (await rota.post("/jobs/no/cancel", {}))[0] == 404


async def test_a_batch_that_was_just_opened_is_known(rota: Rota) -> None:
    body = {"spec": "load", "files": ["a.csv", "b.csv"], "connection": "bucket", "rows_per_job": 10}
    async with rota.http.post("/batches", json=body) as response:
        assert response.status == 202
        id_ = (await response.json())["id"]
        assert response.headers["Location"] == f"/batches/{id_}"
    status, view = await rota.get(f"/batches/{id_}")
    assert (status, view["status"], view["rows"], view["files_total"]) == (200, "reading", 0, 2)
    assert set(view["jobs"].values()) <= {0}
    await rota.carry_out("batch", await rota.bus.find_waiting("batch", id_))
    assert (await rota.get(f"/batches/{id_}"))[0] == 200
    status, answer = await rota.get(f"/batches/{id_}/events?wait=60")
    assert [event["type"] for event in answer["events"]] == ["batch.opened"]


async def failed_batch(rota: Rota, **changes: Any) -> str:
    """Return the id of a batch that has failed after a row of its first file."""
    body = {"spec": "load", "files": ["a.csv", "b.csv"], "connection": "bucket", **changes}
    status, answer = await rota.post("/batches", body)
    assert status == 202
    id_ = str(answer["id"])
    await rota.carry_out("batch", await rota.bus.find_waiting("batch", id_))
    fault = FileFault("a.csv, line 3: no")
    await rota.carry_out("batch", FailFile(id=id_, file_index=0, fault=fault, rows=1, jobs=1))
    return id_


async def redrive(rota: Rota, id_: str, body: Any = b"") -> tuple[int, Any]:
    """Ask for a batch to be read on, and answer as its shard does."""

    async def play(message: Msg) -> None:
        [command] = decode_commands(message.data)
        outcome = Outcome(id=command.id, type="batch.redrive", status="done")
        try:
            await rota.carry_out("batch", command)
        except EndedError as error:
            outcome = msgspec.structs.replace(outcome, status="refused", detail=str(error), slug=error.slug)
        await rota.connection.send((message.headers or {})[REPLY_TO], msgspec.json.encode([outcome]))

    subscription = await rota.connection.client.subscribe("rota.command.batch.*.redrive", cb=play)
    try:
        return await rota.post(f"/batches/{id_}/redrive", body)
    finally:
        await subscription.unsubscribe()


async def test_a_failed_batch_is_redriven(rota: Rota) -> None:
    id_ = await failed_batch(rota)
    assert (await rota.get(f"/batches/{id_}"))[1]["status"] == "failed"

    assert await redrive(rota, id_, {"bad_rows": "quarantine"}) == (200, {"id": id_, "status": "done"})

    status, view = await rota.get(f"/batches/{id_}")
    assert (status, view["status"], view.get("error"), view["rows"]) == (200, "reading", None, 1)
    [*_, event] = (await rota.get(f"/batches/{id_}/events"))[1]["events"]
    assert (event["type"], event["bad_rows"]) == ("batch.redriven", "quarantine")


async def test_a_batch_that_is_completed_is_not_redriven(rota: Rota) -> None:
    id_ = await failed_batch(rota)
    await rota.carry_out("batch", RedriveBatch(id=id_))
    await rota.carry_out("batch", FinishRedrive(id=id_, redrive=4, jobs=0))
    for index in (0, 1):
        await rota.carry_out("batch", FinishFile(id=id_, file_index=index, rows=1, jobs=1))
    await rota.carry_out("batch", CountJobs(id=id_, until=10**9, succeeded=2, failed=0))

    status, problem = await redrive(rota, id_)

    assert (status, problem["type"]) == (409, "https://rota.dev/problems/conflict")
    assert problem["detail"] == f"The batch {id_} is completed: nothing is left to do"


async def test_a_batch_that_there_never_was_is_not_redriven(rota: Rota) -> None:
    status, problem = await rota.post("/batches/no/redrive", b"")
    assert (status, problem["detail"]) == (404, "There is no batch no")


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ({"options": {"delimiter": ";;"}}, "#/options/delimiter"),
        ({"format": "json"}, "#/options"),
        ({"format": "cvs"}, "#/format"),
        ({"bad_rows": "drop"}, "#/bad_rows"),
        ({"files": ["a.csv"]}, "#"),
    ],
    ids=["an option", "options of another format", "a format", "a policy", "a field"],
)
async def test_a_batch_is_not_redriven_with_what_is_wrong(rota: Rota, request_: Any, place: str) -> None:
    id_ = await failed_batch(rota, format="csv", options={"delimiter": ";"})
    status, problem = await rota.post(f"/batches/{id_}/redrive", request_)
    assert (status, [error["pointer"] for error in problem["errors"]]) == (400, [place])


async def test_a_redrive_that_no_shard_answers_is_accepted(rota: Rota) -> None:
    id_ = await failed_batch(rota)
    assert await rota.post(f"/batches/{id_}/redrive", {}) == (202, {"id": id_, "status": "accepted"})


async def test_a_key_names_one_batch(rota: Rota) -> None:
    body = {"spec": "load", "files": ["a.csv"], "connection": "bucket"}
    keyed = await rota.post("/batches", body | {"key": "k"})
    assert keyed == (202, {"id": keyed_group("batch", "load", "k")})
    first = await rota.post("/batches", body, **{"Idempotency-Key": "today"})
    assert first == await rota.post("/batches", body, **{"Idempotency-Key": "today"})
    assert first != keyed


async def test_a_batch_with_an_unknown_connection_names_the_nearest_and_no_secret(rota: Rota) -> None:
    status, problem = await rota.post("/batches", {"spec": "load", "files": ["a"], "connection": "bucke"})
    assert status == 400
    assert problem["errors"] == [
        {"detail": "There is no connection bucke; did you mean bucket?", "pointer": "#/connection"}
    ]


async def test_a_spec_is_known_before_the_views_have_it(rota: Rota) -> None:
    status, view = await rota.get("/specs/add")
    assert (status, view["name"], view["queue"], view["params_schema"]) == (200, "add", "sums", SCHEMA)


async def test_without_views_the_gateway_lives_and_says_what_is_missing(rota: Rota) -> None:
    assert await rota.get("/healthz") == (200, {"status": "ok"})
    async with rota.http.get("/readyz") as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
        problem = await response.json(content_type=None)
    assert len(problem["errors"]) == 1
    assert (await rota.get("/jobs"))[0] == 503


async def test_with_views_there_are_lists_and_nearest_names(rota: Rota, nats_url: str, tmp_path: Path) -> None:
    config = Config(home=tmp_path, nats_url=nats_url)
    ids = [await rota.schedule(queue="listed") for _ in range(3)]
    for id_ in ids:
        await rota.queue(id_)
    await rota.succeed(ids[2], value(1))
    with closing(Tables.open(config.views)) as tables:
        await Runner(rota.log, tables).catch_up()
    async with serving(config, rota.connection) as viewed:
        assert await viewed.get("/readyz") == (200, {"status": "ready"})
        status, page = await viewed.get("/jobs?queue=listed&limit=2")
        assert (status, [job["id"] for job in page["jobs"]]) == (200, [ids[2], ids[1]])
        status, page = await viewed.get(f"/jobs?queue=listed&limit=2&after={page['next']}")
        assert (status, [job["id"] for job in page["jobs"]], page["next"]) == (200, [ids[0]], None)
        status, page = await viewed.get("/jobs?queue=listed&status=succeeded")
        assert [job["id"] for job in page["jobs"]] == [ids[2]]
        assert (await viewed.get("/jobs?after=x"))[0] == 400
        assert (await viewed.get(f"/jobs/{ids[2]}"))[1]["status"] == "succeeded"
        status, listed = await viewed.get("/queues")
        assert {"name": "listed", "jobs": {"queued": 2, "succeeded": 1, "total": 3}} in listed["queues"]
        status, listed = await viewed.get("/specs")
        assert {"add", "load"} <= {spec["name"] for spec in listed["specs"]}
        status, problem = await viewed.post("/schedule", {"spec": "adds"})
        assert problem["errors"][0]["detail"].startswith("There is no spec adds; did you mean add")
        assert (await viewed.get("/specs/loads"))[1]["detail"].startswith(
            "There is no spec loads; did you mean load"
        )


async def test_a_fault_of_the_gateway_shows_nothing_of_itself(rota: Rota, nats_url: str, tmp_path: Path) -> None:
    (tmp_path / "connections.toml").write_text("[bucket]\nkind = 's3'\nsecret = 5\n")
    async with serving(Config(home=tmp_path, nats_url=nats_url), rota.connection) as broken:
        status, problem = await broken.post("/batches", {"spec": "load", "files": ["a"], "connection": "bucket"})
    assert status == 500
    assert "connections.toml: [bucket] Expected `str | null`, got `int` - at `$.secret`" in problem["detail"]
    assert str(tmp_path) not in str(problem)


async def somebody_waits(rota: Rota) -> None:
    """Return when a request waits for news; there is no event to wait for instead."""
    async with asyncio.timeout(10):
        while not rota.runner.app[EDGE]._waits:
            await asyncio.sleep(0.001)


class Process:
    """`python -m gateway` on a free port."""

    def __init__(self, nats_url: str, home: Path, port: int = 0) -> None:
        self._environment = os.environ | {
            "ROTA_NATS_URL": nats_url,
            "ROTA_HOME": str(home),
            "ROTA_PORT": str(port),
        }

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def url(self) -> str:
        assert self.process.stdout
        line = (await self.process.stdout.readline()).decode()
        found = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        return found[1]


async def test_a_stop_lets_those_who_wait_be_answered(rota: Rota, nats_url: str, tmp_path: Path) -> None:
    id_ = await rota.schedule()
    async with serving(Config(home=tmp_path, nats_url=nats_url), rota.connection) as stopped:
        asked = asyncio.create_task(stopped.get(f"/jobs/{id_}/result?wait=60"))
        await somebody_waits(stopped)
        await asyncio.wait_for(stopped.runner.cleanup(), 10)
        assert await asked == (202, {"id": id_, "status": "scheduled"})


async def test_the_process_says_where_it_listens_and_stops_at_a_signal(nats_url: str, tmp_path: Path) -> None:
    async with Process(nats_url, tmp_path) as gateway:
        url = await gateway.url()
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as response:
            assert response.status == 200
        gateway.process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(gateway.process.communicate(), 10)
    assert (gateway.process.returncode, output, errors) == (0, b"", b"")


async def test_a_port_in_use_is_one_clear_line(nats_url: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with Process(nats_url, tmp_path, port) as gateway:
            output, errors = await gateway.process.communicate()
    assert gateway.process.returncode == 1
    assert output == b""
    assert errors.decode() == (
        f"gateway: Something else listens at 127.0.0.1:{port}. "
        "Stop it, or set ROTA_PORT to a free port (0 picks one).\n"
    )
