"""Jobs over HTTP: schedule, look, wait, cancel."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.answers import answer, answer_command
from gateway.bodies import decode_jobs, read_body, read_optional, read_query
from gateway.callers import http_asker
from gateway.edge import edge_of
from gateway.history import answer_events
from gateway.lookup import ID, find_job
from gateway.messages import WaitSeconds
from gateway.operations import cancel_job, job_result, schedule
from rota.protocol import ENDED_JOB, CancelRequest, JobStatus, Name, ScheduleResponse

routes = web.RouteTableDef()


class JobsQuery(Struct, frozen=True):
    """Which jobs; `after` is the cursor of the page before."""

    status: JobStatus | None = None
    queue: Name | None = None
    spec: Name | None = None
    batch: str | None = None
    workflow: str | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


class ResultQuery(Struct, frozen=True):
    """How long to wait for the job's end."""

    wait: WaitSeconds = 0


@routes.post("/schedule")
async def schedule_jobs(request: web.Request) -> web.Response:
    """Schedule one job or a list; when it answers, all of them are durable."""
    requests, listed = decode_jobs(await read_body(request))
    ids = await schedule(edge_of(request), requests, http_asker(request), listed=listed)
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
    result = await job_result(edge_of(request), request.match_info["id"], query.wait)
    return answer(result, 200 if result.status in ENDED_JOB else 202)


@routes.post(f"/jobs/{ID}/cancel")
async def cancel(request: web.Request) -> web.Response:
    """Cancel a job; ConflictError if it has ended in another way, 202 if it is not known yet."""
    reason = (await read_optional(request, CancelRequest)).reason
    return answer_command(await cancel_job(edge_of(request), request.match_info["id"], reason, http_asker(request)))
