import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from rota import Client, Job, JobFailedError, JobRequest, RotaError
from rota.batch_protocol import BatchRequest
from rota.errors import BY_SLUG, ConflictError, InvalidRequestError, NotFoundError, Problem, UnavailableError
from rota.protocol import ENDED_BATCH, JobFault

DROP = object()
"""The connection is cut in place of an answer."""

NOW = "2025-06-01T12:00:00Z"


class PlayedGateway:
    """An HTTP server that gives the answers which the gateway documents, and keeps what it was asked.

    The answers of a path are given in turn, the last one again and again; bytes are server-sent events.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, Any]] = []
        """Each request: method and target, and the body."""
        self.resumed: list[str | None] = []
        """The Last-Event-ID of each request."""
        self.keys: list[str | None] = []
        """The Idempotency-Key of each request."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    def play(self, method_and_path: str, *answers: Any, status: int = 200) -> None:
        self.answers[method_and_path] = [one if isinstance(one, tuple) else (status, one) for one in answers]

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        told: Any = body if request.content_type == "application/octet-stream" else json.loads(body or b"null")
        self.asked.append((f"{request.method} {request.raw_path}", told if body else None))
        self.keys.append(request.headers.get("Idempotency-Key"))
        self.resumed.append(request.headers.get("Last-Event-ID"))
        answers = self.answers.get(f"{request.method} {request.raw_path.partition('?')[0]}")
        if not answers:
            status, content = problem("not-found", 404)
        else:
            status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        if content is DROP:
            assert request.transport
            request.transport.close()
        if isinstance(content, bytes):
            return web.Response(status=status, body=content, content_type="text/event-stream")
        if isinstance(content, str):
            return web.Response(status=status, text=content)
        kind = "application/json" if status < 400 else "application/problem+json"
        return web.Response(status=status, text=json.dumps(content, default=str), content_type=kind)


def problem(slug: str, status: int, **more: Any) -> tuple[int, Any]:
    document = {"type": f"https://rota.dev/problems/{slug}", "title": "A title", "status": status, "detail": "Why"}
    return status, document | more


def job(id_: str = "j1", status: str = "queued") -> dict[str, Any]:
    return {"id": id_, "spec": "add", "queue": "default", "status": status, "scheduled_at": NOW}


def event(version: int, type_: str) -> dict[str, Any]:
    return {"type": type_, "id": "j1", "version": version, "at": NOW, "sequence": 10 + version}


def sent(type_: str, data: Any, id_: int | None = None) -> bytes:
    """Return a server-sent event."""
    place = "" if id_ is None else f"id: {id_}\n"
    return f"{place}event: {type_}\ndata: {json.dumps(data)}\n\n".encode()


def streamed(*events: dict[str, Any]) -> bytes:
    """Return events as the gateway streams them."""
    frames = [b"retry: 3000\nid: 10\n\n"]
    for event in events:
        sequence = event["sequence"]
        data = {name: value for name, value in event.items() if name != "sequence"}
        frames.append(sent(event["type"], {"sequence": f"{sequence:020}", "data": data}, sequence))
    return b"".join(frames)


END = sent("end", {"id": "j1", "status": "succeeded"})
CLOSED = sent("closed", {"reason": "server shutdown"})


def batch(status: str, **jobs: int) -> dict[str, Any]:
    return {
        "id": "b1",
        "spec": "load",
        "status": status,
        "files": [{"path": "a.csv", "status": "finished", "rows": 20, "jobs": 2}],
        "files_total": 1,
        "rows": 20,
        "jobs": jobs,
        "opened_at": NOW,
        "ended_at": NOW if status in ENDED_BATCH else None,
    }


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: PlayedGateway) -> AsyncIterator[Client]:
    async with Client(gateway.url) as client:
        yield client


async def test_a_scheduled_job_is_sent_with_what_was_given_and_nothing_else(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    run_at = datetime(2030, 1, 2, tzinfo=UTC)
    assert await client.schedule("add", {"a": 1}, queue="fast", run_at=run_at) == "j1"
    body = {"spec": "add", "params": {"a": 1}, "queue": "fast", "run_at": "2030-01-02T00:00:00Z"}
    assert gateway.asked == [("POST /schedule", body)]


async def test_a_job_object_stands_for_its_spec(client: Client, gateway: PlayedGateway) -> None:
    def add(a: int) -> int:
        return a

    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    await client.schedule(Job(add, name="adder"))
    await client.batches.open(spec=Job(add, name="adder"), files=["a.csv"])
    assert [body["spec"] for _, body in gateway.asked] == ["adder", "adder"]


async def test_a_list_of_jobs_is_one_request_and_gives_their_ids_in_order(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("POST /schedule", {"ids": ["j1", "j2"]}, status=202)
    ids = await client.schedule_many([JobRequest(spec="add"), JobRequest(spec="sub", key="k")])
    assert ids == ["j1", "j2"]
    assert gateway.asked == [("POST /schedule", {"jobs": [{"spec": "add"}, {"spec": "sub", "key": "k"}]})]


async def test_each_call_has_an_idempotency_key_of_its_own(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    await client.schedule("add")
    await client.schedule("add")
    first, second = gateway.keys
    assert first
    assert second
    assert first != second


async def test_a_post_is_repeated_with_the_same_key_while_the_gateway_is_unavailable(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("POST /schedule", problem("unavailable", 503), (200, DROP), (202, {"ids": ["j1"]}))
    assert await client.schedule("add") == "j1"
    assert len(gateway.keys) == 3
    assert len(set(gateway.keys)) == 1


async def test_a_get_is_repeated_when_its_connection_breaks(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", DROP, (502, "Bad Gateway"), job())
    assert (await client.get("j1")).status == "queued"


async def test_repeating_ends_when_patience_does(gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", problem("unavailable", 503))
    async with Client(gateway.url, patience_seconds=0.4) as client:
        with pytest.raises(UnavailableError, match="Why"):
            await client.get("j1")
    assert len(gateway.asked) == 3


async def test_a_refusal_is_not_repeated(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /schedule", problem("invalid-request", 400))
    with pytest.raises(InvalidRequestError):
        await client.schedule("add")
    assert len(gateway.asked) == 1


async def test_a_refusal_names_each_place_that_is_wrong(client: Client, gateway: PlayedGateway) -> None:
    wrong = [
        {"detail": "not an integer", "pointer": "#/params/a"},
        {"detail": "too small", "pointer": "#/params/b"},
    ]
    gateway.play("POST /schedule", problem("invalid-request", 400, errors=wrong))
    with pytest.raises(InvalidRequestError) as refusal:
        await client.schedule("add")
    assert refusal.value.problems == [
        Problem("not an integer", "#/params/a"),
        Problem("too small", "#/params/b"),
    ]
    assert str(refusal.value) == "Why\n  #/params/a: not an integer\n  #/params/b: too small"


@pytest.mark.parametrize("error", BY_SLUG.values(), ids=BY_SLUG)
async def test_a_problem_document_becomes_the_error_of_its_slug(
    gateway: PlayedGateway, error: type[RotaError]
) -> None:
    gateway.play("GET /jobs/j1", problem(error.slug, error.status))
    async with Client(gateway.url, patience_seconds=0) as client:
        with pytest.raises(error, match="Why"):
            await client.get("j1")


async def test_an_unknown_problem_is_an_error_of_rota(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", problem("too-many-requests", 429))
    with pytest.raises(RotaError, match="Why"):
        await client.get("j1")


@pytest.mark.parametrize("answer", [(200, "<html>Welcome</html>"), (404, "404: Not Found")])
async def test_a_server_that_is_no_gateway_is_said_to_be_none(
    client: Client, gateway: PlayedGateway, answer: tuple[int, str]
) -> None:
    gateway.play("GET /specs", answer)
    with pytest.raises(RotaError, match="as no gateway of Rota does"):
        await client.specs()


async def test_a_gateway_that_is_not_there_is_an_error_that_says_what_to_do(unused_tcp_port: int) -> None:
    async with Client(f"http://127.0.0.1:{unused_tcp_port}", patience_seconds=0) as client:
        with pytest.raises(UnavailableError, match=r"No gateway answers at .*scripts/up.*ROTA_URL"):
            await client.get("j1")


async def test_a_password_in_the_address_is_not_told(unused_tcp_port: int) -> None:
    async with Client(f"http://ann:secret@127.0.0.1:{unused_tcp_port}", patience_seconds=0) as client:
        with pytest.raises(UnavailableError) as error:
            await client.get("j1")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["localhost:8080", "nonsense", "ftp://127.0.0.1", "http://"])
async def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    async with Client(url) as client:
        with pytest.raises(InvalidRequestError, match="not the address of a gateway"):
            await client.get("j1")


async def test_the_address_comes_from_the_environment_if_none_is_given(
    gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROTA_URL", gateway.url)
    gateway.play("GET /jobs/j1", job())
    async with Client() as client:
        assert (await client.get("j1")).id == "j1"


async def test_a_client_that_was_not_entered_says_so(gateway: PlayedGateway) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client(gateway.url).get("j1")


async def test_an_id_cannot_leave_its_place_in_the_path(client: Client, gateway: PlayedGateway) -> None:
    with pytest.raises(NotFoundError):
        await client.get("../specs?x#y")
    assert gateway.asked == [("GET /jobs/..%2Fspecs%3Fx%23y", None)]


async def test_jobs_are_asked_for_page_by_page(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs", {"jobs": [job("j3"), job("j2")], "next": "c/1"}, {"jobs": [job("j1")]})
    ids = [one.id async for one in client.jobs(status="queued", spec="add", page_size=2)]
    assert ids == ["j3", "j2", "j1"]
    assert [target for target, _ in gateway.asked] == [
        "GET /jobs?status=queued&spec=add&limit=2",
        "GET /jobs?status=queued&spec=add&limit=2&after=c/1",
    ]


async def test_waiting_gives_the_result_once_there_is_one(client: Client, gateway: PlayedGateway) -> None:
    running = (202, {"id": "j1", "status": "running"})
    gateway.play("GET /jobs/j1/result", running, running, {"id": "j1", "status": "succeeded", "result": {"sum": 3}})
    assert await client.wait("j1", timeout=10) == {"sum": 3}
    assert len(gateway.asked) == 3


async def test_waiting_for_a_job_that_failed_raises_its_facts(client: Client, gateway: PlayedGateway) -> None:
    fault = {"type": "ValueError", "message": "bad", "traceback": "Traceback ..."}
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": "timed_out", "error": fault})
    with pytest.raises(JobFailedError, match="Job j1 ended as timed_out, ValueError: bad") as failed:
        await client.wait("j1")
    assert failed.value.facts == {
        "job": "j1",
        "status": "timed_out",
        "error": JobFault("ValueError", "bad", "Traceback ..."),
    }


async def test_waiting_ends_with_its_time(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": "running"}, status=202)
    gateway.play("GET /batches/b1/events", {"events": []})
    with pytest.raises(TimeoutError, match="Job j1 has not ended after"):
        await client.wait("j1", timeout=0.1)
    with pytest.raises(TimeoutError, match="Batch b1 has not ended after"):
        await client.batches.wait("b1", timeout=0.1)


async def test_watching_a_job_goes_on_where_it_was_until_the_job_has_ended(
    client: Client, gateway: PlayedGateway
) -> None:
    pages = [
        {"events": [event(1, "job.queued"), event(2, "job.started")]},
        {"events": []},
        {"events": [event(3, "job.attempt_failed"), event(4, "job.queued"), event(5, "job.failed")]},
    ]
    gateway.play("GET /jobs/j1/events", *pages)
    assert [one["version"] async for one in client.watch("j1")] == [1, 2, 3, 4, 5]
    assert [target.partition("?")[2] for target, _ in gateway.asked] == [
        "after=0&wait=30",
        "after=12&wait=30",
        "after=12&wait=30",
    ]


async def test_events_are_asked_for_by_their_filters_and_end_with_what_they_are_about(
    client: Client, gateway: PlayedGateway
) -> None:
    gateway.play("GET /events", streamed(event(1, "job.queued"), event(2, "job.succeeded")) + END)
    found = [one async for one in client.events(job="j1", queue=["a", "b"], type="job.*", after=0)]
    assert found == [event(1, "job.queued"), event(2, "job.succeeded")]
    assert gateway.asked == [("GET /events?job=j1&queue=a&queue=b&type=job.*&after=0", None)]


async def test_events_go_on_after_the_last_one_when_the_connection_is_lost(
    client: Client, gateway: PlayedGateway
) -> None:
    cut = streamed(event(2, "job.started")) + b"id: 13\nevent: job.prog"
    heartbeat = streamed() + b": heartbeat\nid: 20\n\n"
    last = streamed(event(11, "job.succeeded")) + END
    gateway.play(
        "GET /events",
        streamed(event(1, "job.queued")) + CLOSED,
        DROP,
        problem("unavailable", 503),
        cut,
        heartbeat,
        last,
    )
    found = [one async for one in client.events(job="j1", after=10)]
    assert [one["sequence"] for one in found] == [11, 12, 21]
    assert gateway.resumed == [None, "11", "11", "11", "12", "20"]


async def test_events_end_if_the_gateway_says_that_nothing_follows(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /events", streamed(event(1, "job.succeeded")), (204, ""))
    assert [one["sequence"] async for one in client.events(job="j1", after=10)] == [11]


async def test_a_gap_is_an_event_of_its_own(client: Client, gateway: PlayedGateway) -> None:
    gap = {"after": 10, "first": 15, "reason": "removed"}
    gateway.play("GET /events", streamed() + sent("gap", gap, 10) + streamed(event(5, "job.succeeded")) + END)
    first, second = [one async for one in client.events(job="j1", after=10)]
    assert first == {"type": "gap", **gap}
    assert second["sequence"] == 15


async def test_events_that_cannot_be_had_end_with_patience(gateway: PlayedGateway) -> None:
    gateway.play("GET /events", streamed() + CLOSED)
    async with Client(gateway.url, patience_seconds=0.4) as client:
        with pytest.raises(UnavailableError, match="server shutdown"):
            await anext(client.events())
    assert len(gateway.asked) == 3


async def test_a_refused_filter_is_told_at_once(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /events", problem("invalid-request", 400))
    with pytest.raises(InvalidRequestError):
        await anext(client.events(type="nothing"))
    assert len(gateway.asked) == 1


async def test_a_history_ends_with_what_there_is(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1/events", {"events": [event(1, "job.scheduled")]}, {"events": []})
    assert await client.history("j1") == [event(1, "job.scheduled")]
    assert gateway.asked[0][0] == "GET /jobs/j1/events?after=0"


async def test_a_job_is_cancelled_with_a_reason(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /jobs/j1/cancel", {"id": "j1"}, status=202)
    await client.cancel("j1", "not needed")
    assert gateway.asked == [("POST /jobs/j1/cancel", {"reason": "not needed"})]


async def test_a_batch_can_be_opened_by_its_fields_or_by_a_request(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    assert await client.batches.open(spec="load", files=["a.csv"], connection="lake") == "b1"
    assert await client.batches.open(BatchRequest(spec="load", files=["a.csv"], connection="lake")) == "b1"
    body = {"spec": "load", "files": ["a.csv"], "connection": "lake"}
    assert [body for _, body in gateway.asked] == [body, body]


async def test_a_failed_batch_is_redriven(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", {"id": "b1", "status": "done"})
    await client.batches.redrive("b1")
    await client.batches.redrive("b1", format="csv", options={}, bad_rows="skip")
    assert [body for _, body in gateway.asked] == [{}, {"format": "csv", "options": {}, "bad_rows": "skip"}]


async def test_a_batch_that_is_completed_is_not_redriven(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", problem("conflict", 409))
    with pytest.raises(ConflictError):
        await client.batches.redrive("b1")


async def test_the_events_of_a_batch_go_on_after_it_was_redriven(client: Client, gateway: PlayedGateway) -> None:
    before = [event(1, "batch.opened"), event(2, "batch.failed"), event(3, "batch.redriven")]
    gateway.play("GET /batches/b1/events", {"events": before}, {"events": [event(4, "batch.failed")]})
    assert [one["type"] async for one in client.batches.watch("b1")] == [
        "batch.opened",
        "batch.failed",
        "batch.redriven",
        "batch.failed",
    ]


async def test_waiting_for_a_batch_ends_when_its_view_has_ended(client: Client, gateway: PlayedGateway) -> None:
    events = [event(1, "batch.opened"), event(2, "batch.file_failed"), event(3, "batch.completed")]
    gateway.play("GET /batches/b1/events", {"events": events[:2]}, {"events": events[2:]})
    gateway.play("GET /batches/b1", batch("sealed", succeeded=1, total=2), batch("completed", succeeded=2, total=2))
    view = await client.batches.wait("b1", timeout=10)
    assert (view.status, view.jobs) == ("completed", {"succeeded": 2, "total": 2})


async def test_specs_are_listed(client: Client, gateway: PlayedGateway) -> None:
    spec: dict[str, Any] = {
        "name": "add",
        "description": "",
        "params_schema": {},
        "rows": None,
        "queue": "default",
        "retry": {},
        "timeout_seconds": None,
    }
    gateway.play("GET /specs", {"specs": [spec]})
    assert [one.name for one in await client.specs()] == ["add"]


async def test_many_calls_may_share_a_client(client: Client, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", job())
    views = await asyncio.gather(*(client.get("j1") for _ in range(50)))
    assert {view.id for view in views} == {"j1"}
