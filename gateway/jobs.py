"""Jobs over HTTP: schedule, look, wait, cancel."""

from datetime import UTC, datetime
from functools import reduce
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from events.jetstream.log import Recorded
from events.jetstream.status import Watch
from events.job import (
    JOB,
    CancelJob,
    JobCancelled,
    JobEnded,
    JobFailed,
    JobSucceeded,
    JobTimedOut,
)
from gateway.answers import answer
from gateway.bodies import decode, decode_jobs, read_body, read_query, request_group
from gateway.edge import Edge, edge_of
from gateway.history import WaitSeconds, answer_events
from gateway.lookup import ID, find, find_job, find_specs
from gateway.translate import job_commands
from rota.errors import ConflictError
from rota.protocol import ENDED_JOB, CancelRequest, JobFault, JobStatus, Name, Result, ScheduleResponse

routes = web.RouteTableDef()

_cancel_request = msgspec.json.Decoder(CancelRequest)


class JobsQuery(Struct, frozen=True):
    """Which jobs; `after` is the cursor of the page before."""

    status: JobStatus | None = None
    queue: Name | None = None
    spec: Name | None = None
    batch: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


class ResultQuery(Struct, frozen=True):
    """How long to wait for the job's end."""

    wait: WaitSeconds = 0


@routes.post("/schedule")
async def schedule(request: web.Request) -> web.Response:
    """Schedule one job or a list; when it answers, all of them are durable."""
    edge = edge_of(request)
    requests, listed = decode_jobs(await read_body(request))
    specs = await find_specs(edge, (one.spec for one in requests))
    group = request_group(request, "request")
    commands = job_commands(requests, specs, edge.schemas, group, datetime.now(UTC), listed=listed)
    await edge.bus.send(commands)
    ids = [command.id for command in commands]
    headers = {} if listed else {"Location": f"/jobs/{ids[0]}"}
    return answer(ScheduleResponse(ids), 202, headers)


@routes.get("/jobs")
async def list_jobs(request: web.Request) -> web.Response:
    """Answer a page of jobs, newest first."""
    query = read_query(request, JobsQuery)
    return answer(edge_of(request).views().jobs(**msgspec.structs.asdict(query)))


@routes.get(f"/jobs/{ID}")
async def get_job(request: web.Request) -> web.Response:
    """Answer a job's view; an id that was given out is always known."""
    return answer(await find_job(edge_of(request), request.match_info["id"]))


@routes.get(f"/jobs/{ID}/events")
async def get_events(request: web.Request) -> web.Response:
    """Answer a job's history."""
    return await answer_events(request, "job")


@routes.get(f"/jobs/{ID}/result")
async def get_result(request: web.Request) -> web.Response:
    """Answer how a job ended as soon as it has; 202 if it has not by then."""
    query = read_query(request, ResultQuery)
    edge = edge_of(request)
    id_ = request.match_info["id"]
    async with Watch(edge.connection, edge.log, "job", id_) as watch:
        history = (await find(edge, "job", id_)).events
        async with edge.patience(query.wait):
            while not (history and isinstance(history[-1].event, JobEnded)):
                history += await watch.wait(len(history))
    status = _status(history)
    shown: dict[str, Any] = {"id": id_, "status": status}
    if status not in ENDED_JOB:
        return answer(shown, 202)
    match history[-1].event:
        case JobSucceeded() as event:
            shown["result"] = await _value(edge, event.result)
        case JobFailed() | JobTimedOut() as event:
            shown["error"] = event.fault
        case JobCancelled() as event:
            shown["error"] = JobFault("Cancelled", event.reason)
    return answer(shown)


@routes.post(f"/jobs/{ID}/cancel")
async def cancel(request: web.Request) -> web.Response:
    """Ask for a job to be cancelled; ConflictError if it has ended in another way."""
    edge = edge_of(request)
    id_ = request.match_info["id"]
    body = await read_body(request)
    reason = decode(body, _cancel_request).reason if body else ""
    status = _status((await find(edge, "job", id_)).events)
    if status in ENDED_JOB and status != "cancelled":
        raise ConflictError(f"The job {id_} has ended: {status}")
    await edge.bus.send([CancelJob(id=id_, reason=reason)])
    return answer({"id": id_}, 202)


def _status(history: list[Recorded]) -> JobStatus:
    """Return a job's status after its events; a command that waits counts as scheduled."""
    state = reduce(JOB.evolve, (recorded.event for recorded in history), None)
    return state.status if state else "scheduled"


async def _value(edge: Edge, result: Result) -> Any:
    body = await edge.payloads.get(result.payload) if result.payload else result.value
    return None if body is None else msgspec.msgpack.decode(body)
