"""Workflows over HTTP and the NATS service: a gateway with views, and where it is wanted a shard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from events.base import Kind
from events.config import Config
from events.subjects import aggregate_filter
from events.workflow import ScheduleWorkflow
from events.workflow_ids import job_id
from projections.runner import Runner
from projections.tables import Tables
from rota.jetstream import Connection
from rota.protocol import FailJob, JobFault, RegisterSpec, Result, RetryPolicy, SucceedJob
from tests.integration.conftest import purge
from tests.integration.test_gateway import Rota, serving
from tests.integration.write_side import WAIT_SECONDS, sharding

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
RESULT = {"type": "object", "properties": {"sum": {"type": "integer"}}}
CHAIN: list[dict[str, Any]] = [
    {"name": "one", "spec": "add", "inputs": {"a": {"from": "$params", "output": "n"}}},
    {"name": "two", "spec": "add", "inputs": {"a": {"from": "one", "output": "sum"}}},
]


class Viewed(Rota):
    """A gateway with views, which are brought to the end of the log when that is asked for."""

    home: Path

    async def fold(self) -> None:
        with closing(Tables.open(self.home / "views.sqlite")) as tables:
            await Runner(self.log, tables).catch_up()

    async def plan(self, *jobs: Any, key: str = "", **workflow: Any) -> str:
        """Schedule a workflow, by default a chain of two jobs."""
        body = {"jobs": jobs or CHAIN, "params": {"n": 1}, **workflow}
        headers = {"Idempotency-Key": key} if key else {}
        status, answer = await self.post("/workflows", body, **headers)
        assert status == 202, answer
        return str(answer["id"])

    async def view(self, id_: str) -> Any:
        await self.fold()
        status, view = await self.get(f"/workflows/{id_}")
        assert status == 200, view
        return view

    async def until(self, id_: str, name: str) -> None:
        """Wait until there is an event of this name."""
        kind: Kind = "job" if "-" in id_ else "workflow"
        async with asyncio.timeout(WAIT_SECONDS), self.log.follow([aggregate_filter(kind, id_)]) as follower:
            while True:
                if any(message.subject.split(".")[4] == name for message in await follower.take()):
                    return

    async def succeed_job(self, id_: str, value: Any) -> None:
        await self.until(id_, "queued")
        result = Result(msgspec.Raw(msgspec.msgpack.encode(value)))
        report = SucceedJob(id=id_, attempt=1, worker="w", started_at=datetime.now(UTC), result=result)
        await self.bus.send([report])

    async def fail_job(self, id_: str) -> None:
        await self.until(id_, "queued")
        fault = JobFault("ValueError", "bad")
        await self.bus.send([FailJob(id=id_, attempt=1, worker="w", started_at=datetime.now(UTC), fault=fault)])

    async def ask(self, name: str, request: Any) -> Any:
        """Ask the NATS service."""
        body = json.dumps(request).encode()
        message = await self.connection.client.request(f"rota.api.workflow.{name}", body, timeout=WAIT_SECONDS)
        return json.loads(message.data)

    async def stored(self) -> int:
        return int((await self.connection.call("STREAM.INFO.ROTA_COMMANDS"))["state"]["last_seq"])


@pytest_asyncio.fixture(loop_scope="session")
async def rota(nats_url: str, tmp_path: Path) -> AsyncIterator[Viewed]:
    (tmp_path / "connections.toml").write_text('[bucket]\nkind = "s3"\nkey = "k"\nsecret = "s"\n')
    config = Config(home=tmp_path, nats_url=nats_url)
    async with await Connection.open(nats_url, name="test") as connection, serving(config, connection) as found:
        await purge(connection)
        viewed = Viewed(found.http, connection, found.runner)
        viewed.home = tmp_path
        once = RetryPolicy(max_attempts=1)
        await viewed.carry_out(
            "spec", RegisterSpec(id="add", params_schema=SCHEMA, result_schema=RESULT, queue="sums", retry=once)
        )
        await viewed.carry_out("spec", RegisterSpec(id="load", rows="dicts"))
        yield viewed
        await purge(connection)


async def test_a_scheduled_workflow_is_a_durable_command_and_its_place_is_told(rota: Viewed) -> None:
    async with rota.http.post("/workflows", json={"jobs": CHAIN, "params": {"n": 1}, "name": "sums"}) as response:
        assert response.status == 202
        id_ = (await response.json())["id"]
        assert response.headers["Location"] == f"/workflows/{id_}"
    command = await rota.bus.find_waiting("workflow", id_)
    assert isinstance(command, ScheduleWorkflow)
    assert [(job.name, job.queue, job.needs) for job in command.details.jobs] == [
        ("one", "sums", ()),
        ("two", "sums", (0,)),
    ]


async def test_a_workflow_is_known_before_a_shard_or_a_view_has_it(rota: Viewed) -> None:
    id_ = await rota.plan(name="sums")
    status, view = await rota.get(f"/workflows/{id_}")
    assert (status, view["name"], view["status"]) == (200, "sums", "running")
    assert [(job["name"], job["status"]) for job in view["jobs"]] == [("one", "waiting"), ("two", "waiting")]
    async with sharding(rota.connection):
        await rota.until(job_id(id_, 0), "queued")
        assert [job["status"] for job in (await rota.get(f"/workflows/{id_}"))[1]["jobs"]] == ["queued", "waiting"]


async def test_what_is_wrong_is_told_with_all_places_and_nothing_is_stored(rota: Viewed) -> None:
    jobs = [
        {"name": "one", "spec": "add", "inputs": {"a": "x"}},
        {"name": "two", "spec": "ad", "inputs": {"a": {"from": "one", "output": "total"}}},
        {"name": "three", "spec": "add", "inputs": {"a": {"from": "four"}}, "after": ["three"]},
        {"name": "four", "spec": "add", "inputs": {"a": {"from": "three", "output": "total"}}},
        {"name": "five", "batch": {"spec": "load", "connection": "bucke", "files": ["a.csv"]}},
    ]
    before = await rota.stored()
    status, problem = await rota.post("/workflows", {"jobs": jobs})
    assert (status, problem["type"]) == (400, "https://rota.dev/problems/invalid-request")
    assert {error["pointer"]: error["detail"] for error in problem["errors"]} == {
        "#/jobs/0/inputs/a": '"x" is not of type "integer"',
        "#/jobs/1/spec": "There is no spec ad",
        "#/jobs/1/inputs/a": "one: total is missing: the object there has sum",
        "#/jobs/2/inputs/a": "It is an object, and an integer is wanted",
        "#/jobs/2/after/0": "three would wait for itself",
        "#/jobs/3": "The jobs wait for each other: four -> three -> four",
        "#/jobs/3/inputs/a": "three: total is missing: the object there has sum",
        "#/jobs/4/batch/connection": "There is no connection bucke; did you mean bucket?",
    }
    assert await rota.stored() == before


async def test_a_malformed_job_is_told_with_its_place(rota: Viewed) -> None:
    status, problem = await rota.post("/workflows", {"jobs": [{"name": "one"}, {"name": "two", "retries": 3}]})
    assert status == 400
    assert [error["pointer"] for error in problem["errors"]] == ["#/jobs/1"]


async def test_a_workflow_over_the_size_of_a_message_is_too_large(rota: Viewed) -> None:
    many = {"spec": "add", "inputs": {"a": 1}, "labels": {"x": "y" * 60_000}}
    body = json.dumps({"jobs": [{"name": f"j{number}", **many} for number in range(150)]}).encode()
    async with rota.http.post("/workflows", data=BytesIO(body)) as response:
        assert response.status == 413
        problem = await response.json(content_type=None)
    assert problem["type"] == "https://rota.dev/problems/too-large"


async def test_a_key_names_one_workflow(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = await rota.plan(name="sums", key="today")
        await rota.until(id_, "scheduled")
        assert await rota.plan(name="sums", key="today") == id_

        other = [CHAIN[0], {**CHAIN[1], "inputs": {"a": 5}, "queue": "fast"}]
        body = {"jobs": other, "params": {"n": 2}, "name": "sums"}
        status, problem = await rota.post("/workflows", body, **{"Idempotency-Key": "today"})
        assert (status, problem["type"]) == (422, "https://rota.dev/problems/key-reused")
        assert [error["pointer"] for error in problem["errors"]] == [
            "#/params",
            "#/jobs/1/inputs",
            "#/jobs/1/queue",
        ]
        status, problem = await rota.post("/workflows", {**body, "jobs": other[:1]}, **{"Idempotency-Key": "today"})
        assert (status, problem["errors"][1]["pointer"]) == (422, "#/jobs")

        keyed = {"jobs": CHAIN, "params": {"n": 1}, "name": "sums", "key": "today"}
        first = (await rota.post("/workflows", keyed))[1]["id"]
        assert first != id_
        assert (await rota.post("/workflows", keyed))[1]["id"] == first
        assert (await rota.post("/workflows", {**keyed, "name": "more"}))[1]["id"] != first


async def test_a_spec_that_has_changed_since_makes_no_other_workflow(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = await rota.plan(key="k")
        await rota.until(id_, "scheduled")
        await rota.carry_out("spec", RegisterSpec(id="add", params_schema=SCHEMA, queue="others"))
        assert await rota.plan(key="k") == id_


async def test_workflows_are_listed_newest_first_page_by_page(rota: Viewed) -> None:
    async with sharding(rota.connection):
        ids = []
        for name in ("sums", "more", "sums"):
            ids.append(await rota.plan(name=name))
            await rota.until(ids[-1], "job_released")
        assert (await rota.post(f"/workflows/{ids[0]}/cancel", b""))[0] == 200
    await rota.fold()

    status, page = await rota.get("/workflows?limit=2")
    assert (status, [one["id"] for one in page["workflows"]]) == (200, [ids[2], ids[1]])
    assert "jobs" not in page["workflows"][0]
    status, page = await rota.get(f"/workflows?limit=2&after={page['next']}")
    assert ([one["id"] for one in page["workflows"]], page["next"]) == ([ids[0]], None)
    assert [one["id"] for one in (await rota.get("/workflows?name=sums"))[1]["workflows"]] == [ids[2], ids[0]]
    assert [one["id"] for one in (await rota.get("/workflows?status=cancelled"))[1]["workflows"]] == [ids[0]]
    assert [one["id"] for one in (await rota.get(f"/jobs?workflow={ids[1]}"))[1]["jobs"]] == [job_id(ids[1], 0)]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=ready", "status is 'ready'"),
        ("limit=0", "limit is '0'"),
        ("name=a b", "name is 'a b'"),
        ("spec=add", "no query parameter 'spec'"),
    ],
)
async def test_a_wrong_query_for_workflows_is_named(rota: Viewed, query: str, named: str) -> None:
    status, problem = await rota.get(f"/workflows?{query}")
    assert status == 400
    assert named in problem["errors"][0]["detail"]


async def test_a_workflow_is_paused_resumed_and_cancelled(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = await rota.plan()
        done = (200, {"id": id_, "status": "done"})
        assert await rota.post(f"/workflows/{id_}/pause", {"reason": "lunch"}) == done
        assert (await rota.view(id_))["status"] == "paused"
        assert await rota.post(f"/workflows/{id_}/resume", b"") == done
        assert (await rota.view(id_))["status"] == "running"
        assert await rota.post(f"/workflows/{id_}/cancel", {"reason": "wrong day"}) == done
        view = await rota.view(id_)
        assert (view["status"], view["error"]) == ("cancelled", "wrong day")
        assert await rota.post(f"/workflows/{id_}/cancel", b"") == done
        status, problem = await rota.post(f"/workflows/{id_}/pause", b"")
        assert (status, problem["type"]) == (409, "https://rota.dev/problems/conflict")

    events = (await rota.get(f"/workflows/{id_}/events"))[1]["events"]
    types = [event["type"] for event in events]
    assert types[:2] == ["workflow.scheduled", "workflow.job_released"]
    assert {"workflow.paused", "workflow.resumed", "workflow.stopping"} <= set(types)
    assert types[-1] == "workflow.cancelled"
    paused = next(event for event in events if event["type"] == "workflow.paused")
    assert (paused["id"], paused["reason"]) == (id_, "lunch")


async def test_a_failed_workflow_runs_again_from_what_has_failed(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = await rota.plan()
        status, problem = await rota.post(f"/workflows/{id_}/retry", b"")
        assert (status, problem["type"]) == (409, "https://rota.dev/problems/conflict")
        await rota.succeed_job(job_id(id_, 0), {"sum": 3})
        await rota.fail_job(job_id(id_, 1))
        await rota.until(id_, "failed")
        again = {"Idempotency-Key": "once"}
        assert await rota.post(f"/workflows/{id_}/retry", {}, **again) == (200, {"id": id_, "status": "done"})
        assert await rota.post(f"/workflows/{id_}/retry", b"", **again) == (200, {"id": id_, "status": "done"})
        view = await rota.view(id_)
        assert (view["status"], view["retries"]) == ("running", 1)
        assert view["jobs"][0]["status"] == "succeeded"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry", "rerun"])
async def test_a_workflow_that_there_never_was_cannot_be_steered(rota: Viewed, verb: str) -> None:
    status, problem = await rota.post(f"/workflows/no/{verb}", b"")
    assert (status, problem["type"]) == (404, "https://rota.dev/problems/not-found")


@pytest.mark.parametrize("path", ["", "/definition", "/events"])
async def test_a_workflow_that_there_never_was_is_not_found(rota: Viewed, path: str) -> None:
    status, problem = await rota.get(f"/workflows/no{path}")
    assert (status, problem["detail"]) == (404, "There is no workflow no")


@pytest.mark.parametrize(
    ("verb", "body", "place"),
    [
        ("pause", {"why": "lunch"}, "#"),
        ("resume", {"reason": "back"}, "#"),
        ("retry", {"jobs": []}, "#"),
        ("rerun", {"params": 1}, "#/params"),
    ],
)
async def test_what_is_wrong_with_steering_is_named(rota: Viewed, verb: str, body: Any, place: str) -> None:
    status, problem = await rota.post(f"/workflows/w/{verb}", body)
    assert (status, [error["pointer"] for error in problem["errors"]]) == (400, [place])


async def test_a_workflow_is_run_again_with_other_params(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = await rota.plan(name="sums", params={"n": 1, "rest": True})
        await rota.until(id_, "scheduled")
        async with rota.http.post(f"/workflows/{id_}/rerun", json={"params": {"n": 7}, "key": "k"}) as response:
            assert response.status == 202
            other = (await response.json())["id"]
            assert response.headers["Location"] == f"/workflows/{other}"
        await rota.until(other, "job_released")
        view = await rota.view(other)
        assert (view["name"], view["params"], view["rerun_of"]) == ("sums", {"n": 7, "rest": True}, id_)

        assert (await rota.post(f"/workflows/{id_}/rerun", {"params": {"n": 7}, "key": "k"}))[1] == {"id": other}
        status, problem = await rota.post(f"/workflows/{id_}/rerun", {"params": {"n": 8}, "key": "k"})
        assert (status, [error["pointer"] for error in problem["errors"]]) == (422, ["#/params"])
        status, problem = await rota.post(
            "/workflows", {"jobs": CHAIN, "params": {"n": 7}, "name": "sums", "key": "k"}
        )
        assert (status, problem["errors"][-1]["pointer"]) == (422, "#")
        assert (await rota.post(f"/workflows/{id_}/rerun", b""))[1]["id"] not in {id_, other}


async def test_params_of_a_rerun_that_jobs_cannot_use_are_refused(rota: Viewed) -> None:
    jobs = [{"name": "one", "spec": "add", "inputs": {"a": {"from": "$params", "output": "day.n"}}}]
    id_ = await rota.plan(*jobs, params={"day": {"n": 1}})
    status, problem = await rota.post(f"/workflows/{id_}/rerun", {"params": {"day": {"m": 1}}})
    assert (status, problem["errors"]) == (
        400,
        [{"detail": "day.n is missing: the object there has m: one uses it", "pointer": "#/params"}],
    )


async def test_a_workflow_as_it_was_scheduled_can_be_sent_again(rota: Viewed) -> None:
    jobs = [
        *CHAIN,
        {"name": "three", "spec": "add", "for_each": [1, 2], "inputs": {"a": {"from": "$item"}}, "max_parallel": 1},
        {"name": "four", "batch": {"spec": "load", "connection": "bucket", "files": ["a.csv"]}, "after": ["three"]},
    ]
    id_ = await rota.plan(*jobs, name="nightly")
    waiting = await rota.get(f"/workflows/{id_}/definition")
    async with sharding(rota.connection):
        await rota.until(id_, "scheduled")
    status, definition = await rota.get(f"/workflows/{id_}/definition")
    assert (status, definition) == waiting
    assert (definition["name"], definition["params"], definition["jobs"][0]["queue"]) == (
        "nightly",
        {"n": 1},
        "sums",
    )
    again = str((await rota.post("/workflows", definition))[1]["id"])
    assert (await rota.get(f"/workflows/{again}/definition"))[1] == definition


async def test_the_nats_service_does_the_same(rota: Viewed) -> None:
    async with sharding(rota.connection):
        id_ = (await rota.ask("schedule", {"jobs": CHAIN, "params": {"n": 1}}))["id"]
        await rota.until(id_, "job_released")
        assert (await rota.ask("get", {"id": id_}))["status"] == "running"
        done = {"id": id_, "status": "done"}
        assert await rota.ask("pause", {"id": id_, "reason": "lunch"}) == done
        assert await rota.ask("resume", {"id": id_}) == done
        assert (await rota.ask("retry", {"id": id_}))["status"] == 409
        assert await rota.ask("cancel", {"id": id_}) == done
        assert await rota.ask("retry", {"id": id_}) == done
        assert (await rota.ask("rerun", {"id": id_, "params": {"n": 2}})).keys() == {"id"}
        assert (await rota.ask("definition", {"id": id_}))["params"] == {"n": 1}
        refused = await rota.ask("schedule", {"jobs": [{"name": "one", "spec": "no"}]})
        assert (refused["status"], refused["errors"][0]["pointer"]) == (400, "#/jobs/0/spec")
        assert (await rota.ask("get", {"id": "no"}))["status"] == 404


async def test_a_spec_says_what_its_jobs_return_by_a_schema(rota: Viewed) -> None:
    assert (await rota.get("/specs/add"))[1]["result_schema"] == RESULT
    body = json.dumps({"id": "sub", "result_schema": {"type": "objekt"}}).encode()
    message = await rota.connection.client.request("rota.api.spec.register", body, timeout=WAIT_SECONDS)
    problem = json.loads(message.data)
    assert (problem["status"], problem["errors"][0]["pointer"]) == (400, "#/result_schema")


async def test_what_json_cannot_hold_is_refused_over_nats_too(rota: Viewed) -> None:
    body = msgspec.msgpack.encode({"jobs": [{"name": "one", "spec": "add", "inputs": {"a": b"\x00"}}]})
    message = await rota.connection.client.request(
        "rota.api.workflow.schedule", body, timeout=WAIT_SECONDS, headers={"Content-Type": "application/msgpack"}
    )
    problem = msgspec.msgpack.decode(message.data)
    assert (problem["status"], problem["errors"]) == (
        400,
        [{"detail": "JSON has no bytes", "pointer": "#/jobs/0/inputs/a"}],
    )
