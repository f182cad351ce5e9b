"""Batches over HTTP: open, look, find rows, steer, redrive."""

from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import asdict

from gateway.answers import answer, answer_command
from gateway.batch_operations import (
    cancel_batch,
    change_batch,
    open_batch,
    pause_batch,
    redrive_batch,
    resume_batch,
)
from gateway.bodies import decode, read_body, read_optional, read_query
from gateway.callers import http_asker
from gateway.edge import edge_of
from gateway.history import answer_events
from gateway.lookup import ID, find_batch, find_row
from gateway.messages import NoRequest, PauseRequest
from rota.batch_protocol import BatchRequest, BatchResponse, ChangeRequest, RedriveRequest
from rota.errors import InvalidRequestError
from rota.protocol import BatchStatus, CancelRequest, Name

routes = web.RouteTableDef()


class BatchesQuery(Struct, frozen=True):
    """Which batches; `after` is the cursor of the page before."""

    status: BatchStatus | None = None
    spec: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


class RowQuery(Struct, frozen=True):
    """Which row of which file; the file may be left out where there is but one."""

    row: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    file: str | None = None


@routes.post("/batches")
async def post_batch(request: web.Request) -> web.Response:
    """Open a batch; when it answers, its files will be read."""
    asked = decode(await read_body(request), BatchRequest)
    id_ = await open_batch(edge_of(request), asked, http_asker(request))
    return answer(BatchResponse(id_), 202, {"Location": f"/batches/{id_}"})


@routes.get("/batches")
async def list_batches(request: web.Request) -> web.Response:
    """Answer a page of batches without their files, newest first."""
    query = read_query(request, BatchesQuery)
    return answer(edge_of(request).views().batches(**asdict(query), now=datetime.now(UTC)))


@routes.get(f"/batches/{ID}")
async def get_batch(request: web.Request) -> web.Response:
    """Answer a batch's view; an id that was given out is always known."""
    return answer(await find_batch(edge_of(request), request.match_info["id"]))


@routes.patch(f"/batches/{ID}")
async def patch_batch(request: web.Request) -> web.Response:
    """Let a batch go on with other limits."""
    asked = decode(await read_body(request), ChangeRequest)
    return answer_command(
        await change_batch(edge_of(request), request.match_info["id"], asked, http_asker(request))
    )


@routes.post(f"/batches/{ID}/pause")
async def post_pause(request: web.Request) -> web.Response:
    """Schedule no more jobs of a batch until it is resumed."""
    reason = (await read_optional(request, PauseRequest)).reason
    return answer_command(
        await pause_batch(edge_of(request), request.match_info["id"], reason, http_asker(request))
    )


@routes.post(f"/batches/{ID}/resume")
async def post_resume(request: web.Request) -> web.Response:
    """Let a paused batch go on."""
    await read_optional(request, NoRequest)
    return answer_command(await resume_batch(edge_of(request), request.match_info["id"], http_asker(request)))


@routes.post(f"/batches/{ID}/cancel")
async def post_cancel(request: web.Request) -> web.Response:
    """Stop a batch with its jobs."""
    reason = (await read_optional(request, CancelRequest)).reason
    return answer_command(
        await cancel_batch(edge_of(request), request.match_info["id"], reason, http_asker(request))
    )


@routes.post(f"/batches/{ID}/redrive")
async def post_redrive(request: web.Request) -> web.Response:
    """Let a batch go on that has failed, or completed with failures."""
    asked = await read_optional(request, RedriveRequest)
    return answer_command(
        await redrive_batch(edge_of(request), request.match_info["id"], asked, http_asker(request))
    )


@routes.get(f"/batches/{ID}/rows")
async def get_row(request: web.Request) -> web.Response:
    """Answer which job had a row, and what became of it."""
    query = read_query(request, RowQuery)
    if query.row is None:
        raise InvalidRequestError("Say which row with the query parameter `row`: its number in the file, from 0")
    return answer(await find_row(edge_of(request), request.match_info["id"], query.file, query.row))


@routes.get(f"/batches/{ID}/events")
async def get_events(request: web.Request) -> web.Response:
    """Answer a batch's history."""
    return await answer_events(request, "batch")
