"""The NATS service as any client sees it: plain nats-py against a gateway and a shard."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import nats
import pytest
import pytest_asyncio
from aiohttp import web
from msgspec import to_builtins
from nats.aio.client import Client
from nats.aio.msg import Msg

from actors.shard import Shard
from events.batch import AdvanceFile, BatchRedriven, FailFile, FileFault, Position, QuarantineRows
from events.batch_control import BatchChanged
from events.batch_results import FailResults
from events.config import Config
from events.ids import batch_job_id
from events.jetstream import service as service_module
from events.job import CancelJob, ScheduleJob
from events.subjects import result_subject
from gateway.app import application
from gateway.callers import Asker
from gateway.edge import EDGE, Edge
from gateway.operations import carry_out
from projections.runner import Runner
from projections.tables import Tables
from rota.batch_protocol import Tolerance
from rota.errors import NotFoundError
from rota.protocol import Payload, Rows
from tests.integration.write_side import WriteSide, details, nats_server, restart

MAX_BODY = 200_000
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}


class Caller:
    """A client that knows the service's subjects alone."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, name: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        return await self.client.request(f"rota.api.{name}", body, timeout=15, headers=headers)

    async def ask(self, name: str, request: Any, **headers: str) -> Any:
        """Ask in JSON and return the answer, which must be no error."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        message = await self.send(name, json.dumps(request).encode(), named or None)
        assert error_of(message) is None, message.data
        return json.loads(message.data)

    async def refused(self, name: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Send what is refused; return the code and the problem document."""
        message = await self.send(name, body, headers)
        code = error_of(message)
        assert code is not None, message.data
        problem = json.loads(message.data)
        assert (message.headers or {})["Content-Type"] == "application/problem+json"
        assert problem["status"] == code
        return code, problem

    async def register(self, name: str = "add", **spec: Any) -> None:
        assert await self.ask("spec.register", {"id": name, "params_schema": SCHEMA, **spec}) == {
            "id": name,
            "status": "done",
        }

    async def schedule(self, a: int = 1, **job: Any) -> str:
        answer = await self.ask("job.schedule", {"spec": "add", "params": {"a": a}, **job})
        [id_] = answer["ids"]
        return str(id_)


def error_of(message: Msg) -> int | None:
    code = (message.headers or {}).get("Nats-Service-Error-Code")
    return int(code) if code else None


def jobs(*numbers: int) -> bytes:
    return json.dumps({"jobs": [{"spec": "add", "params": {"a": a}} for a in numbers]}).encode()


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(nats_url: str, write_side: WriteSide, tmp_path: Path) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(application(Config(home=tmp_path, nats_url=nats_url, max_body_bytes=MAX_BODY)))
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def caller(nats_url: str, gateway: web.AppRunner, shard: Shard) -> AsyncIterator[Caller]:
    client = await nats.connect(nats_url)
    yield Caller(client)
    await client.close()


async def test_a_request_schedules_a_job_and_answers_its_id(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    id_ = await caller.schedule(a=7)
    [event] = await write_side.until(id_, "job.queued")
    assert msgpack.unpackb(event.details.params) == {"a": 7}  # type: ignore[union-attr]
    assert (await caller.ask("job.get", {"id": id_}))["status"] in ("scheduled", "queued")


async def test_a_list_is_scheduled_as_over_http(caller: Caller) -> None:
    await caller.register()
    answer = await caller.ask("job.schedule", {"jobs": [{"spec": "add", "params": {"a": a}} for a in range(3)]})
    assert len(set(answer["ids"])) == 3


async def test_messagepack_is_answered_in_messagepack(caller: Caller) -> None:
    await caller.register()
    body = msgpack.packb({"spec": "add", "params": {"a": 1}})
    message = await caller.send("job.schedule", body, {"content-type": "application/msgpack"})
    assert error_of(message) is None
    assert message.headers == MSGPACK
    [id_] = msgpack.unpackb(message.data)["ids"]
    view = await caller.send("job.get", msgpack.packb({"id": id_}), MSGPACK)
    assert msgpack.unpackb(view.data, timestamp=3)["params"] == {"a": 1}
    refused = await caller.send("job.get", msgpack.packb({"id": 5}), MSGPACK)
    assert error_of(refused) == 400
    assert msgpack.unpackb(refused.data)["errors"] == [
        {"detail": "Expected `str`, got `int`", "pointer": "#/id"},
    ]


async def test_the_result_comes_as_soon_as_the_job_has_ended(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    id_ = await caller.schedule()
    assert (await caller.ask("job.result", {"id": id_})).keys() == {"id", "status"}
    waiting = asyncio.create_task(caller.ask("job.result", {"id": id_, "wait": 20}))
    await write_side.until(id_, "job.queued")
    report = {
        "type": "job.succeed",
        "id": id_,
        "attempt": 1,
        "worker": "w",
        "started_at": datetime.now(UTC).isoformat(),
        "result": {"value": {"sum": 3}},
    }
    await caller.client.request(
        f"rota.command.job.{id_}.report",
        json.dumps([report]).encode(),
        headers=JSON,
    )
    assert await waiting == {"id": id_, "status": "succeeded", "result": {"sum": 3}}


async def test_waiting_requests_do_not_hold_up_others(caller: Caller) -> None:
    await caller.register()
    id_ = await caller.schedule()
    waiting = [asyncio.create_task(caller.ask("job.result", {"id": id_, "wait": 60})) for _ in range(300)]
    assert (await caller.ask("job.result", {"id": id_}))["id"] == id_
    assert not any(task.done() for task in waiting)
    await caller.ask("job.cancel", {"id": id_, "reason": "enough"})
    error = {"type": "Cancelled", "message": "enough"}
    assert await asyncio.gather(*waiting) == [{"id": id_, "status": "cancelled", "error": error}] * 300


async def test_more_waiting_requests_than_there_is_room_for_are_refused(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, nats_url: str, tmp_path: Path
) -> None:
    await caller.register()
    id_ = await caller.schedule()
    places = service_module.WAITS_AT_ONCE
    waiting = [
        asyncio.create_task(caller.send("job.result", json.dumps({"id": id_, "wait": 60}).encode()))
        for _ in range(places + 1)
    ]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [error_of(task.result()) for task in done] == [503]
    await caller.ask("job.cancel", {"id": id_})
    answers = await asyncio.gather(*waiting)
    assert sorted(str(error_of(answer)) for answer in answers) == ["503"] + ["None"] * places


async def test_a_job_is_cancelled_and_one_that_has_ended_is_not(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    id_ = await caller.schedule()
    assert await caller.ask("job.cancel", {"id": id_, "reason": "old"}) == {"id": id_, "status": "done"}
    assert await caller.ask("job.cancel", {"id": id_}) == {"id": id_, "status": "done"}
    ended = await caller.schedule()
    await write_side.until(ended, "job.queued")
    fault = {"type": "E", "message": "no"}
    report = {"type": "job.fail", "id": ended, "attempt": 1, "worker": "w", "fault": fault, "final": True}
    report["started_at"] = datetime.now(UTC).isoformat()
    await caller.client.request(
        f"rota.command.job.{ended}.report",
        json.dumps(report).encode(),
        headers=JSON,
    )
    await write_side.until(ended, "job.failed")
    code, problem = await caller.refused("job.cancel", json.dumps({"id": ended}).encode())
    assert (code, problem["type"]) == (409, "https://rota.dev/problems/conflict")
    assert (await caller.refused("job.cancel", b'{"id": "no-such-job"}'))[0] == 404


async def test_what_a_shard_refuses_is_refused(caller: Caller, gateway: web.AppRunner) -> None:
    edge: Edge = gateway.app[EDGE]
    with pytest.raises(NotFoundError, match="nobody"):
        await carry_out(edge, CancelJob(id="nobody"), Asker("test"))


async def test_who_asks_stands_in_the_event(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    answer = await caller.ask("job.schedule", {"spec": "add", "params": {"a": 1}}, Rota_Caller="billing")
    [event] = await write_side.until(answer["ids"][0], "job.queued")
    assert event.origin
    assert event.origin.caller == "client:billing"
    [event] = await write_side.until(await caller.schedule(), "job.queued")
    assert event.origin
    assert event.origin.caller == "nats"


async def test_the_same_key_gives_the_same_ids(caller: Caller) -> None:
    await caller.register()
    job = {"spec": "add", "params": {"a": 1}}
    first = await caller.ask("job.schedule", job, Idempotency_Key="k1")
    assert await caller.ask("job.schedule", job, Idempotency_Key='"k1"') == first
    assert await caller.ask("job.schedule", job, Idempotency_Key="k2") != first


async def test_the_same_key_with_another_job_is_refused(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    for key, headers in (("key", {}), (None, {"Idempotency-Key": "k1"})):
        job: dict[str, Any] = {"spec": "add", "params": {"a": 1}, "labels": {"x": "y"}} | (
            {"key": "k"} if key else {}
        )
        asked = await caller.send("job.schedule", json.dumps(job).encode(), headers)
        [id_] = json.loads(asked.data)["ids"]
        await write_side.until(id_, "job.queued")
        other = job | {"params": {"a": 2}, "queue": "fast", "labels": {}}
        code, problem = await caller.refused("job.schedule", json.dumps(other).encode(), headers)
        assert (code, problem["type"]) == (422, "https://rota.dev/problems/key-reused")
        places = [error["pointer"] for error in problem["errors"]]
        assert places == ["#/params", "#/queue", "#/labels"]
        again = await caller.send("job.schedule", json.dumps(job).encode(), headers)
        assert json.loads(again.data)["ids"] == [id_]


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ([1, 2, 3], None),
        ([1, 5, 3], ["#/jobs/1/params"]),
        ([1, 2], ["#/jobs"]),
        ([1, 2, 3, 4], ["#/jobs/3"]),
    ],
    ids=["same", "other", "shorter", "longer"],
)
async def test_a_list_under_the_same_key_is_compared_job_by_job(
    caller: Caller, write_side: WriteSide, numbers: list[int], places: list[str] | None
) -> None:
    await caller.register()
    headers = {"Idempotency-Key": "list"}
    first = await caller.send("job.schedule", jobs(1, 2, 3), headers)
    ids = json.loads(first.data)["ids"]
    for id_ in ids:
        await write_side.until(id_, "job.queued")
    if places is None:
        assert json.loads((await caller.send("job.schedule", jobs(*numbers), headers)).data)["ids"] == ids
        return
    code, problem = await caller.refused("job.schedule", jobs(*numbers), headers)
    assert code == 422
    assert [error["pointer"] for error in problem["errors"]] == places


async def test_the_same_key_with_another_batch_is_refused(caller: Caller, write_side: WriteSide) -> None:
    await caller.register("rows", rows="dicts", params_schema={})
    batch = {"spec": "rows", "files": ["http://127.0.0.1:9/x.csv"], "key": "night"}
    id_ = (await caller.ask("batch.open", batch))["id"]
    await write_side.until(id_, "batch.opened", "batch")
    assert (await caller.ask("batch.open", batch))["id"] == id_
    other = batch | {"files": ["http://127.0.0.1:9/y.csv"], "rows_per_job": 7}
    code, problem = await caller.refused("batch.open", json.dumps(other).encode())
    assert (code, [error["pointer"] for error in problem["errors"]]) == (422, ["#/files", "#/rows_per_job"])


async def test_a_batch_is_opened_and_shown(caller: Caller) -> None:
    await caller.register("rows", rows="dicts", params_schema={})
    answer = await caller.ask("batch.open", {"spec": "rows", "files": ["http://127.0.0.1:9/x.csv"]})
    view = await caller.ask("batch.get", {"id": answer["id"]})
    assert (view["spec"], view["files_total"]) == ("rows", 1)


async def test_a_failed_batch_is_redriven(caller: Caller, write_side: WriteSide) -> None:
    await caller.register("rows", rows="dicts", params_schema={})
    id_ = (await caller.ask("batch.open", {"spec": "rows", "files": ["https://example.org/x.csv"]}))["id"]
    await write_side.until(id_, "batch.opened", "batch")
    fail = FailFile(id=id_, file_index=0, fault=FileFault("x.csv: no"), rows=0, jobs=0)
    await write_side.bus.send([fail])
    await write_side.until(id_, "batch.failed", "batch")

    options = {"csv": {"delimiter": ";"}}
    answer = await caller.ask("batch.redrive", {"id": id_, "options": options, "bad_rows": "skip"})

    assert answer == {"id": id_, "status": "done"}
    *_, event = await write_side.until(id_, "batch.redriven", "batch")
    assert isinstance(event, BatchRedriven)
    assert (event.options, event.bad_rows) == (options, "skip")
    assert (await caller.ask("batch.get", {"id": id_}))["status"] == "reading"


async def open_batch(caller: Caller, write_side: WriteSide, **changes: Any) -> str:
    await caller.register("rows", rows="dicts", params_schema={})
    body = {"spec": "rows", "files": ["https://example.org/x.csv"], **changes}
    id_ = str((await caller.ask("batch.open", body))["id"])
    await write_side.until(id_, "batch.opened", "batch")
    return id_


async def test_a_batch_is_paused_resumed_changed_and_cancelled(caller: Caller, write_side: WriteSide) -> None:
    id_ = await open_batch(caller, write_side)
    done = {"id": id_, "status": "done"}

    assert await caller.ask("batch.pause", {"id": id_, "reason": "lunch"}) == done
    assert (await caller.ask("batch.get", {"id": id_}))["status"] == "paused"
    assert await caller.ask("batch.resume", {"id": id_}) == done
    assert await caller.ask("batch.change", {"id": id_, "max_readers": 2, "tolerance": {"bad_rows": 5}}) == done
    assert await caller.ask("batch.cancel", {"id": id_, "reason": "wrong file"}) == done

    assert (await write_side.tags(id_, "batch"))[1:] == [
        "batch.paused",
        "batch.resumed",
        "batch.changed",
        "batch.cancelling",
    ]
    changed = (await write_side.log.load("batch", id_))[3].event
    assert isinstance(changed, BatchChanged)
    assert (changed.max_readers, changed.max_jobs_in_flight, changed.tolerance) == (2, None, Tolerance(bad_rows=5))
    code, problem = await caller.refused("batch.pause", json.dumps({"id": id_}).encode())
    assert (code, problem["detail"]) == (409, f"The batch {id_} has ended: cancelling")
    assert (await caller.refused("batch.resume", b'{"id": "no"}'))[0] == 404


async def test_rows_are_traced_and_bad_ones_listed(caller: Caller, write_side: WriteSide, tmp_path: Path) -> None:
    id_ = await open_batch(caller, write_side, bad_rows="quarantine")
    rows = Rows(id_, "https://example.org/x.csv", 0, 0, 0, 5, Payload("s", 1, ""))
    job = batch_job_id(id_, 0, 0)
    await write_side.send(ScheduleJob(id=job, details=details("rows", rows=rows)))
    faults = (FileFault("x.csv, line 3: no", 3), FileFault("x.csv, line 4: no", 4))
    await write_side.send(QuarantineRows(id=id_, file_index=0, bad_before=0, faults=faults))
    await write_side.send(AdvanceFile(id=id_, file_index=0, position=Position(), rows=5, jobs=1))
    await write_side.until(job, "job.queued")
    await write_side.until(id_, "batch.advanced", "batch")
    with closing(Tables.open(tmp_path / "views.sqlite")) as tables:
        await Runner(write_side.log, tables).catch_up()

    assert (await caller.ask("batch.row", {"id": id_, "row": 4}))["job"] == job
    code, problem = await caller.refused("batch.row", json.dumps({"id": id_, "row": 5}).encode())
    assert (code, "not read as far as row 5" in problem["detail"]) == (404, True)
    page = await caller.ask("batch.bad_rows", {"id": id_, "limit": 1})
    assert ([row["line"] for row in page["bad_rows"]], page["next"]) == ([3], "0.0")
    page = await caller.ask("batch.bad_rows", {"id": id_, "after": page["next"], "file": rows.file})
    assert ([row["line"] for row in page["bad_rows"]], page["next"]) == ([4], None)


async def test_a_stream_takes_messages_larger_than_other_requests(caller: Caller, write_side: WriteSide) -> None:
    id_ = await open_batch(caller, write_side, files=[], stream={}, format="ndjson")
    data = b'{"a": 1}\n' * (3 * MAX_BODY // 9)

    message = await caller.send("batch.append", msgpack.packb({"id": id_, "offset": 0, "data": data}), MSGPACK)
    assert msgpack.unpackb(message.data) == {"id": id_, "offset": len(data), "complete": False}
    again = {"id": id_, "offset": 0, "data": base64.b64encode(data[:90]).decode()}
    assert (await caller.ask("batch.append", again))["offset"] == len(data)
    code, problem = await caller.refused(
        "batch.append", json.dumps({"id": id_, "offset": len(data) + 1, "data": "aaaa"}).encode()
    )
    assert (code, problem["offset"]) == (409, len(data))
    sealed = {"id": id_, "offset": len(data), "complete": True}
    assert await caller.ask("batch.seal", {"id": id_}) == sealed
    assert await caller.ask("batch.data", {"id": id_}) == sealed


async def test_results_are_asked_for_and_told_of(caller: Caller, write_side: WriteSide) -> None:
    id_ = await open_batch(caller, write_side)

    collection = (await caller.ask("batch.results", {"id": id_, "format": "parquet"}))["id"]

    view = await caller.ask("batch.results_of", {"id": id_, "collection": collection})
    assert view == {"id": collection, "status": "collecting", "format": "parquet"}
    fail = FailResults(id=id_, collection=collection, reason="no room")
    await write_side.send(fail)
    await write_side.until(id_, "batch.results_failed", "batch")
    view = await caller.ask("batch.results_of", {"id": id_, "collection": collection})
    assert (view["status"], view["error"]) == ("failed", "no room")
    assert (await caller.refused("batch.results", b'{"id": "no"}'))[0] == 404


async def test_a_dry_run_that_no_actor_answers_is_told_so(caller: Caller, write_side: WriteSide) -> None:
    await caller.register("rows", rows="dicts", params_schema={})
    body = json.dumps({"spec": "rows", "files": ["https://example.org/x.csv"]}).encode()
    assert (await caller.refused("batch.dry_run", body))[0] == 503


async def test_a_spec_with_a_broken_schema_is_refused(caller: Caller) -> None:
    body = json.dumps({"id": "bad", "params_schema": {"type": "nonsense"}}).encode()
    code, problem = await caller.refused("spec.register", body)
    assert (code, problem["errors"][0]["pointer"]) == (400, "#/params_schema")


async def test_specs_need_the_views(caller: Caller) -> None:
    assert (await caller.refused("spec.list", b""))[0] == 503


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("job.get", b"", "#"),
        ("job.get", b"{", None),
        ("job.get", b"\xff\xfe", None),
        ("job.get", b"[]", "#"),
        ("job.get", b'{"id": "a b"}', "#/id"),
        ("job.get", b'{"id": ">"}', "#/id"),
        ("job.result", b'{"id": "a", "wait": 61}', "#/wait"),
        ("job.cancel", b'{"id": "a", "why": 1}', "#"),
        ("job.schedule", b'{"jobs": []}', "#/jobs"),
        ("job.schedule", b'{"jobs": [{"spec": "add"}, {"spec": 5}]}', "#/jobs/1/spec"),
        ("job.schedule", b'{"spec": "add", "params": {"a": ' + b"[" * 5000, None),
        ("batch.open", b'{"spec": "add", "files": [5]}', "#/files/0"),
        ("batch.redrive", b'{"options": {}}', "#"),
        ("batch.redrive", b'{"id": "a", "bad_rows": "drop"}', "#/bad_rows"),
        ("spec.register", b'{"id": "1"}', "#/id"),
        ("spec.register", b'{"id": "a", "type": "job.cancel"}', "#/type"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_body_that_is_not_as_it_should_be_is_a_problem(
    caller: Caller, name: str, body: bytes, pointer: str | None
) -> None:
    code, problem = await caller.refused(name, body)
    assert code == 400
    assert [error["pointer"] for error in problem.get("errors", [])] == ([pointer] if pointer else [])
    assert await caller.refused("job.get", b'{"id": "none"}')


@pytest.mark.parametrize(
    "value",
    [b"bytes", {"x": [{1: 2}]}, msgpack.Timestamp(1, 0), msgpack.ExtType(5, b"x")],
    ids=["bytes", "key", "timestamp", "extension"],
)
async def test_params_are_what_json_can_hold(caller: Caller, value: Any) -> None:
    await caller.register("any", params_schema={})
    for request in ({"spec": "any", "params": {"v": value}}, {"jobs": [{"spec": "any", "params": {"v": value}}]}):
        message = await caller.send("job.schedule", msgpack.packb(request), MSGPACK)
        assert error_of(message) == 400
        [error] = msgpack.unpackb(message.data)["errors"]
        assert "/params/v" in error["pointer"]


async def test_what_is_too_large_or_in_another_encoding_is_a_problem(caller: Caller) -> None:
    assert (await caller.refused("job.schedule", b" " * (MAX_BODY + 1)))[0] == 413
    code, problem = await caller.refused("job.get", b"id=5", {"Content-Type": "text/plain"})
    assert code == 400
    assert "text/plain" in problem["detail"]
    assert (await caller.refused("job.get", b"{}", {"Idempotency-Key": "\u00e9"}))[0] == 400


async def test_a_request_without_a_reply_subject_is_carried_out(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    body = json.dumps({"spec": "add", "params": {"a": 1}, "key": "silent"}).encode()
    await caller.client.publish("rota.api.job.schedule", body)
    id_ = await caller.schedule(a=1, key="silent")
    assert await write_side.until(id_, "job.queued")


async def test_the_service_is_discovered_and_counts(caller: Caller) -> None:
    await caller.register()
    await caller.refused("job.get", b"{}")
    ping = json.loads((await caller.client.request("$SRV.PING.rota")).data)
    assert (ping["name"], ping["type"]) == ("rota", "io.nats.micro.v1.ping_response")
    info = json.loads((await caller.client.request(f"$SRV.INFO.rota.{ping['id']}")).data)
    assert {endpoint["subject"] for endpoint in info["endpoints"]} == {
        "rota.api.batch.append",
        "rota.api.batch.bad_rows",
        "rota.api.batch.cancel",
        "rota.api.batch.change",
        "rota.api.batch.data",
        "rota.api.batch.dry_run",
        "rota.api.batch.get",
        "rota.api.batch.open",
        "rota.api.batch.pause",
        "rota.api.batch.redrive",
        "rota.api.batch.results",
        "rota.api.batch.results_list",
        "rota.api.batch.results_of",
        "rota.api.batch.resume",
        "rota.api.batch.row",
        "rota.api.batch.seal",
        "rota.api.job.cancel",
        "rota.api.job.get",
        "rota.api.job.result",
        "rota.api.job.schedule",
        "rota.api.spec.list",
        "rota.api.spec.register",
        "rota.api.workflow.cancel",
        "rota.api.workflow.definition",
        "rota.api.workflow.get",
        "rota.api.workflow.pause",
        "rota.api.workflow.rerun",
        "rota.api.workflow.resume",
        "rota.api.workflow.retry",
        "rota.api.workflow.schedule",
    }
    stats = json.loads((await caller.client.request("$SRV.STATS.rota")).data)
    [counted] = [endpoint for endpoint in stats["endpoints"] if endpoint["name"] == "job-get"]
    assert (counted["num_requests"], counted["num_errors"]) == (1, 1)
    assert counted["last_error"].startswith("400:")
    assert counted["processing_time"] > 0


async def test_an_answer_that_is_too_large_is_a_problem(caller: Caller, write_side: WriteSide) -> None:
    await caller.register()
    id_ = await caller.schedule()
    await write_side.until(id_, "job.queued")
    body = msgpack.packb(b"x" * 7_000_000)
    payload = Payload.of(result_subject(id_), body)
    await write_side.connection.publish(payload.subject, body)
    report = {
        "type": "job.succeed",
        "id": id_,
        "attempt": 1,
        "worker": "w",
        "started_at": datetime.now(UTC).isoformat(),
    }
    report["result"] = {"payload": to_builtins(payload)}
    await caller.client.request(f"rota.command.job.{id_}.report", json.dumps(report).encode(), headers=JSON)
    await write_side.until(id_, "job.succeeded")
    code, problem = await caller.refused("job.result", json.dumps({"id": id_}).encode())
    assert code == 413
    assert "The answer has 93" in problem["detail"]
    message = await caller.send("job.result", msgpack.packb({"id": id_}), MSGPACK)
    assert len(msgpack.unpackb(message.data)["result"]) == 7_000_000


async def test_the_service_is_there_again_after_the_server_was_killed(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as (server, url):
        runner = web.AppRunner(application(Config(home=tmp_path, nats_url=url)))
        await runner.setup()
        for _ in range(2):
            client = await nats.connect(url)
            message = None
            while message is None:
                # The gateway comes back a moment after the server.
                with suppress(nats.errors.NoRespondersError):
                    message = await Caller(client).send("job.get", b'{"id": "none"}')
            assert error_of(message) == 404
            await client.close()
            await restart(server, url)
        await runner.cleanup()


async def test_two_gateways_share_the_requests(caller: Caller, nats_url: str, tmp_path: Path) -> None:
    other = web.AppRunner(application(Config(home=tmp_path, nats_url=nats_url)))
    await other.setup()
    try:
        for _ in range(40):
            await caller.refused("job.get", b"{}")
        inbox = caller.client.new_inbox()
        answers = await caller.client.subscribe(inbox)
        await caller.client.publish("$SRV.STATS.rota", reply=inbox)
        counts = []
        for _ in range(2):
            stats = json.loads((await answers.next_msg(timeout=5)).data)
            counts += [one["num_requests"] for one in stats["endpoints"] if one["name"] == "job-get"]
        assert sum(counts) == 40
        assert min(counts) > 0
    finally:
        await other.cleanup()


async def test_what_waits_is_answered_when_the_gateway_stops(caller: Caller, gateway: web.AppRunner) -> None:
    await caller.register()
    id_ = await caller.schedule()
    waiting = [asyncio.create_task(caller.ask("job.result", {"id": id_, "wait": 60})) for _ in range(10)]
    await caller.ask("job.get", {"id": id_})
    await gateway.cleanup()
    answers = await asyncio.gather(*waiting)
    assert {answer["status"] for answer in answers} <= {"scheduled", "queued"}
    with pytest.raises(nats.errors.NoRespondersError):
        await caller.send("job.get", b"{}")
