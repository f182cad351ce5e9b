"""Workflows over HTTP: schedule, look, steer, run again."""

from aiohttp import web
from msgspec import Struct
from msgspec.structs import asdict

from gateway.answers import answer, answer_command
from gateway.bodies import decode_list, read_body, read_optional, read_query
from gateway.callers import http_asker
from gateway.edge import edge_of
from gateway.history import answer_events
from gateway.lookup import ID, find_workflow
from gateway.messages import NoRequest, PageLimit, PauseRequest
from gateway.workflow_operations import (
    cancel_workflow,
    pause_workflow,
    rerun_workflow,
    resume_workflow,
    retry_workflow,
    schedule_workflow,
    workflow_definition,
)
from rota.protocol import CancelRequest, Name
from rota.workflow_protocol import (
    RerunRequest,
    RetryRequest,
    WorkflowJobRequest,
    WorkflowRequest,
    WorkflowResponse,
    WorkflowStatus,
)

routes = web.RouteTableDef()


class WorkflowsQuery(Struct, frozen=True):
    """Which workflows; `after` is the cursor of the page before."""

    status: WorkflowStatus | None = None
    name: Name | None = None
    limit: PageLimit = 100
    after: str | None = None


@routes.post("/workflows")
async def post_workflow(request: web.Request) -> web.Response:
    """Schedule a workflow; when it answers, its jobs will run."""
    asked = decode_list(await read_body(request), WorkflowRequest, WorkflowJobRequest)
    return _scheduled(await schedule_workflow(edge_of(request), asked, http_asker(request)))


@routes.get("/workflows")
async def list_workflows(request: web.Request) -> web.Response:
    """Answer a page of workflows without their jobs, newest first."""
    query = read_query(request, WorkflowsQuery)
    return answer(edge_of(request).views().workflows(**asdict(query)))


@routes.get(f"/workflows/{ID}")
async def get_workflow(request: web.Request) -> web.Response:
    """Answer a workflow's view; an id that was given out is always known."""
    return answer(await find_workflow(edge_of(request), request.match_info["id"]))


@routes.get(f"/workflows/{ID}/definition")
async def get_definition(request: web.Request) -> web.Response:
    """Answer a workflow as it was scheduled, as a request that can be sent again."""
    return answer(await workflow_definition(edge_of(request), request.match_info["id"]))


@routes.get(f"/workflows/{ID}/events")
async def get_events(request: web.Request) -> web.Response:
    """Answer a workflow's history."""
    return await answer_events(request, "workflow")


@routes.post(f"/workflows/{ID}/pause")
async def post_pause(request: web.Request) -> web.Response:
    """Start no more jobs of a workflow until it is resumed."""
    reason = (await read_optional(request, PauseRequest)).reason
    return answer_command(
        await pause_workflow(edge_of(request), request.match_info["id"], reason, http_asker(request))
    )


@routes.post(f"/workflows/{ID}/resume")
async def post_resume(request: web.Request) -> web.Response:
    """Let a paused workflow go on."""
    await read_optional(request, NoRequest)
    return answer_command(await resume_workflow(edge_of(request), request.match_info["id"], http_asker(request)))


@routes.post(f"/workflows/{ID}/cancel")
async def post_cancel(request: web.Request) -> web.Response:
    """Stop a workflow with all that runs of it."""
    reason = (await read_optional(request, CancelRequest)).reason
    return answer_command(
        await cancel_workflow(edge_of(request), request.match_info["id"], reason, http_asker(request))
    )


@routes.post(f"/workflows/{ID}/retry")
async def post_retry(request: web.Request) -> web.Response:
    """Run again what has not succeeded of a workflow that has ended."""
    await read_optional(request, RetryRequest)
    return answer_command(await retry_workflow(edge_of(request), request.match_info["id"], http_asker(request)))


@routes.post(f"/workflows/{ID}/rerun")
async def post_rerun(request: web.Request) -> web.Response:
    """Schedule a workflow again, as another one."""
    asked = await read_optional(request, RerunRequest)
    return _scheduled(await rerun_workflow(edge_of(request), request.match_info["id"], asked, http_asker(request)))


def _scheduled(id_: str) -> web.Response:
    return answer(WorkflowResponse(id_), 202, {"Location": f"/workflows/{id_}"})
