"""Batches over HTTP: open, look, redrive."""

from aiohttp import web

from gateway.answers import answer
from gateway.batch_operations import open_batch, redrive_batch
from gateway.bodies import decode, read_body
from gateway.callers import http_asker
from gateway.edge import edge_of
from gateway.history import answer_events
from gateway.lookup import ID, find_batch
from rota.batch_protocol import BatchRequest, BatchResponse, RedriveRequest

routes = web.RouteTableDef()


@routes.post("/batches")
async def post_batch(request: web.Request) -> web.Response:
    """Open a batch; when it answers, its files will be read."""
    asked = decode(await read_body(request), BatchRequest)
    id_ = await open_batch(edge_of(request), asked, http_asker(request))
    return answer(BatchResponse(id_), 202, {"Location": f"/batches/{id_}"})


@routes.get(f"/batches/{ID}")
async def get_batch(request: web.Request) -> web.Response:
    """Answer a batch's view; an id that was given out is always known."""
    return answer(await find_batch(edge_of(request), request.match_info["id"]))


@routes.post(f"/batches/{ID}/redrive")
async def post_redrive(request: web.Request) -> web.Response:
    """Let the reading of a failed batch go on where it stopped."""
    body = await read_body(request)
    asked = decode(body, RedriveRequest) if body else RedriveRequest()
    response = await redrive_batch(edge_of(request), request.match_info["id"], asked, http_asker(request))
    return answer(response, 200 if response.status == "done" else 202)


@routes.get(f"/batches/{ID}/events")
async def get_events(request: web.Request) -> web.Response:
    """Answer a batch's history."""
    return await answer_events(request, "batch")
