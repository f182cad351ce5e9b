"""The client's workflows, against a server that gives the answers which the gateway documents."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rota import Client, Workflow
from rota.errors import ConflictError, InvalidRequestError
from rota.http import PAGE_EVENTS
from rota.workflow_protocol import WorkflowJobRequest, WorkflowRequest
from tests.unit.test_client import NOW, PlayedGateway, event, problem

DONE = {"id": "w1", "status": "done"}
LATER = "2025-06-01T12:00:07.123456Z"


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: PlayedGateway) -> AsyncIterator[Client]:
    async with Client(gateway.url) as client:
        yield client


def workflow(status: str = "running", **more: Any) -> dict[str, Any]:
    ended = {} if status in {"running", "paused", "stopping"} else {"ended_at": NOW}
    return {
        "id": "w1",
        "name": "nightly",
        "status": status,
        "counts": {"succeeded": 1, "running": 1, "total": 2},
        "progress": 0.5,
        "scheduled_at": NOW,
        **ended,
        **more,
    }


async def test_a_workflow_is_scheduled_with_params_in_place_of_its_own(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("POST /workflows", {"id": "w1"}, status=202)
    flow = Workflow("nightly", params={"date": "2026-01-01", "limit": 5})
    flow.job("fetch", "fetch", {"date": flow.params["date"]})
    assert await client.workflows.schedule(flow, params={"date": "2026-01-02"}, key="k") == "w1"
    await client.workflows.schedule(flow)
    await client.workflows.schedule(WorkflowRequest(jobs=[WorkflowJobRequest(name="a", spec="a")]))
    jobs = [{"name": "fetch", "spec": "fetch", "inputs": {"date": {"from": "$params", "output": "date"}}}]
    assert [body for _, body in gateway.asked] == [
        {"name": "nightly", "params": {"date": "2026-01-02", "limit": 5}, "jobs": jobs, "key": "k"},
        {"name": "nightly", "params": {"date": "2026-01-01", "limit": 5}, "jobs": jobs},
        {"jobs": [{"name": "a", "spec": "a"}]},
    ]


async def test_a_refusal_names_the_places_in_the_workflow(client: Client, gateway: PlayedGateway) -> None:
    wrong = [{"detail": "There is no spec fetch", "pointer": "#/jobs/0/spec"}]
    gateway.play("POST /workflows", problem("invalid-request", 400, errors=wrong))
    flow = Workflow()
    flow.job("fetch", "fetch")
    with pytest.raises(InvalidRequestError) as info:
        await client.workflows.schedule(flow)
    assert info.value.problems[0].pointer == "#/jobs/0/spec"


async def test_workflows_are_listed_by_the_page(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /workflows", {"workflows": [workflow()], "next": "c"}, {"workflows": [workflow(id="w0")]})
    found = [one.id async for one in client.workflows.list(status="running", name="nightly")]
    assert found == ["w1", "w0"]
    assert [target for target, _ in gateway.asked] == [
        "GET /workflows?status=running&name=nightly&limit=100",
        "GET /workflows?status=running&name=nightly&limit=100&after=c",
    ]


async def test_a_workflow_is_shown_with_its_jobs_and_as_it_was_scheduled(
    client: Client, gateway: PlayedGateway
) -> None:
    job = {"name": "fetch", "spec": "fetch", "status": "running", "critical": True}
    gateway.play("GET /workflows/w%2F1", workflow(jobs=[job]))
    gateway.play("GET /workflows/w1/definition", {"name": "nightly", "jobs": [{"name": "fetch", "spec": "fetch"}]})
    assert (await client.workflows.get("w/1")).jobs[0].critical
    assert (await client.workflows.definition("w1")).jobs[0].spec == "fetch"


async def test_a_workflow_is_paused_resumed_cancelled_and_retried(client: Client, gateway: PlayedGateway) -> None:
    for action in ("pause", "resume", "cancel", "retry"):
        gateway.play(f"POST /workflows/w1/{action}", DONE)
    await client.workflows.pause("w1", "the table is full")
    await client.workflows.resume("w1")
    await client.workflows.cancel("w1")
    await client.workflows.retry("w1")
    assert gateway.asked == [
        ("POST /workflows/w1/pause", {"reason": "the table is full"}),
        ("POST /workflows/w1/resume", None),
        ("POST /workflows/w1/cancel", {"reason": ""}),
        ("POST /workflows/w1/retry", {}),
    ]
    assert all(gateway.keys)


async def test_a_retry_of_what_has_succeeded_is_a_conflict(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /workflows/w1/retry", problem("conflict", 409))
    with pytest.raises(ConflictError):
        await client.workflows.retry("w1")


async def test_a_workflow_runs_again_as_another_one_with_other_params(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("POST /workflows/w1/rerun", {"id": "w2"}, status=202)
    assert await client.workflows.rerun("w1", params={"date": "2026-01-02"}, key="k") == "w2"
    assert await client.workflows.rerun("w1") == "w2"
    assert [body for _, body in gateway.asked] == [{"params": {"date": "2026-01-02"}, "key": "k"}, {}]


@pytest.mark.parametrize("end", ["succeeded", "partly_failed", "failed", "timed_out", "cancelled"])
async def test_waiting_ends_however_the_workflow_does(client: Client, gateway: PlayedGateway, end: str) -> None:
    events = [event(1, "workflow.job_failed"), event(2, f"workflow.{end}")]
    gateway.play("GET /workflows/w1/events", {"events": events})
    gateway.play("GET /workflows/w1", workflow(), workflow(end))
    assert (await client.workflows.wait("w1", timeout=10)).status == end


async def test_waiting_does_not_take_the_end_before_a_retry_for_that_after_it(
    client: Client, gateway: PlayedGateway
) -> None:
    types = ["workflow.failed", "workflow.retried", "workflow.succeeded"]
    events = [event(n, type_) for n, type_ in enumerate(types)]
    gateway.play("GET /workflows/w1/events", {"events": [*events[:2], events[2] | {"at": LATER}]})
    ended = workflow("succeeded") | {"ended_at": LATER}
    gateway.play("GET /workflows/w1", workflow("failed"), workflow(), ended)
    assert (await client.workflows.wait("w1", timeout=10)).status == "succeeded"


async def test_watching_goes_on_after_a_retry_and_tells_what_is_late(
    client: Client, gateway: PlayedGateway
) -> None:
    first = ["workflow.failed", "workflow.job_succeeded", "workflow.retried", "workflow.job_released"]
    pages = [
        {"events": [event(n, type_) for n, type_ in enumerate(first)]},
        {"events": [event(PAGE_EVENTS, "workflow.succeeded"), event(PAGE_EVENTS + 1, "workflow.job_succeeded")]},
    ]
    gateway.play("GET /workflows/w1/events", *pages)
    async with asyncio.timeout(10):
        types = [one["type"] async for one in client.workflows.watch("w1")]
    assert types == [*first, "workflow.succeeded", "workflow.job_succeeded"]


async def test_waiting_can_be_limited(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /workflows/w1/events", {"events": []})
    with pytest.raises(TimeoutError, match=r"Workflow w1 has not ended after 0\.2 seconds"):
        await client.workflows.wait("w1", timeout=0.2)
