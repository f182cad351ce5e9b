"""Batches over HTTP: open, look."""

import msgspec
from aiohttp import web

from events.config import Connection
from events.ids import keyed_group
from gateway.answers import answer
from gateway.bodies import decode, read_body, request_group
from gateway.edge import Edge, edge_of
from gateway.history import answer_events
from gateway.lookup import ID, find_batch, find_specs
from gateway.translate import batch_command
from rota.errors import InvalidRequestError, RotaError
from rota.protocol import BatchRequest, BatchResponse

routes = web.RouteTableDef()

_batch_request = msgspec.json.Decoder(BatchRequest)


@routes.post("/batches")
async def open_batch(request: web.Request) -> web.Response:
    """Open a batch; when it answers, its files will be read."""
    edge = edge_of(request)
    asked = decode(await read_body(request), _batch_request)
    specs = await find_specs(edge, [asked.spec])
    group = request_group(request, "batch")
    id_ = keyed_group("batch", asked.spec, asked.key) if asked.key else group
    await edge.bus.send([batch_command(asked, specs, edge.schemas, _connections(edge), id_)])
    return answer(BatchResponse(id_), 202, {"Location": f"/batches/{id_}"})


@routes.get(f"/batches/{ID}")
async def get_batch(request: web.Request) -> web.Response:
    """Answer a batch's view; an id that was given out is always known."""
    return answer(await find_batch(edge_of(request), request.match_info["id"]))


@routes.get(f"/batches/{ID}/events")
async def get_events(request: web.Request) -> web.Response:
    """Answer a batch's history."""
    return await answer_events(request, "batch")


def _connections(edge: Edge) -> dict[str, Connection]:
    # Read each time, so that a new connection needs no restart.
    try:
        return edge.config.connections()
    except InvalidRequestError as error:
        raise RotaError("connections.toml cannot be read; the gateway's log says more") from error
