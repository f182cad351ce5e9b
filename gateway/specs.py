"""Job specs over HTTP."""

from aiohttp import web

from gateway.answers import answer
from gateway.edge import edge_of
from gateway.lookup import find_spec, spec_names
from gateway.problems import unknown
from rota.errors import NotFoundError

routes = web.RouteTableDef()


@routes.get("/specs")
async def list_specs(request: web.Request) -> web.Response:
    """Answer all specs, by name."""
    return answer({"specs": edge_of(request).views().specs()})


@routes.get("/specs/{name:[A-Za-z0-9_-]+}")
async def get_spec(request: web.Request) -> web.Response:
    """Answer a spec."""
    edge = edge_of(request)
    name = request.match_info["name"]
    if spec := await find_spec(edge, name):
        return answer(spec)
    raise NotFoundError(unknown("spec", name, spec_names(edge)))
